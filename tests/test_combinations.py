"""Every prior with every likelihood, posterior, objective and model: trained, or refused with the reason.

All combinations of parts are built and have a loss with gradients, or are refused. Of those that can be, every prior
and posterior meets every objective, and every likelihood some of them in a few real steps on two engines. On the
compiled engine each part is trained once.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from pyro.infer import Trace_ELBO
from test_parts import CLASSES, LIKELIHOODS, POSTERIORS, PRIORS, Row
from torch import Tensor, nn

from pyrovae import CVAE, VAE, LatentVariableModel, likelihoods, networks, posteriors, priors
from pyrovae.data import ImageSet
from pyrovae.engine import SVI
from pyrovae.objectives import (
    DIPVAE,
    BetaTCVAE,
    Contractive,
    FreeBits,
    ImportanceWeighted,
    InfoVAE,
    Objective,
    Renyi,
    Sparse,
    TraceELBO,
    TraceMeanField,
    kl_per_dimension,
)

IMAGE_SHAPE = (1, 8, 8)
OBJECTIVES: list[Objective] = [
    TraceELBO(beta=0.5, warmup=0.2, schedule="cyclical"),
    TraceELBO(particles=3),
    TraceMeanField(),
    FreeBits(nats=0.1),
    FreeBits(nats=0.5, per="code"),
    ImportanceWeighted(k=3),
    ImportanceWeighted(k=3, gradient="stl"),
    ImportanceWeighted(k=3, gradient="dreg"),
    Renyi(alpha=0.5, k=3),
    BetaTCVAE(),
    DIPVAE(kind="I"),
    InfoVAE(),
    Sparse(),
    Contractive(),
]
MODELS = [VAE, CVAE]
ADAM = partial(torch.optim.Adam, lr=0.01)


def build(
    cls: type, prior: Row, likelihood: Row, posterior: Row, finished: dict[str, nn.Module] | None = None
) -> LatentVariableModel:
    torch.manual_seed(0)
    parts = {"prior": prior.factory(), "likelihood": likelihood.factory(), "posterior": posterior.factory()}
    return cls(
        IMAGE_SHAPE,
        **({"num_classes": CLASSES} if cls is CVAE else {}),
        latent_dim=2,
        encoder=partial(networks.MLPEncoder, hidden=(4,)),
        decoder=partial(networks.MLPDecoder, hidden=(4,)),
        **(parts | (finished or {})),
    )


def reason_against(cls: type, prior: Row, posterior: Row) -> str | None:
    """The rule, said once more: why these do not go together, or None."""
    if prior.labels and cls is VAE:
        return "looks at labels"
    if posterior.part is posteriors.Delta:
        return "density|densities"
    vamp = prior.part is priors.VampPrior
    if not vamp and (prior.part is priors.VonMises) != (posterior.part is posteriors.WrappedNormal):
        return "angles"
    if prior.part is priors.Uniform and posterior.part is not posteriors.Beta:
        return "no density"
    return None


PAIRS = list(itertools.product(MODELS, PRIORS, POSTERIORS))
ALLOWED = [pair for pair in PAIRS if reason_against(*pair) is None]


def batch(digits: ImageSet, likelihood: Row) -> tuple[Tensor, Tensor]:
    """Digits of the kind of pixels that the likelihood scores, with labels."""
    x = digits.images[:32].float() / 255
    if likelihood.part is likelihoods.Bernoulli:
        x = x.round()
    elif likelihood.part is likelihoods.Beta and not likelihood.arguments:
        x = 0.05 + 0.9 * x
    elif likelihood.arguments.get("levels") == 1:
        x = (16 * x).round()
    return x, digits.labels[:32] % CLASSES


@pytest.mark.parametrize("cls", MODELS)
@pytest.mark.parametrize("posterior", POSTERIORS, ids=repr)
def test_every_combination_has_a_loss_or_is_refused(cls: type, posterior: Row, digits: ImageSet) -> None:
    """Every prior with every likelihood: Pyro's loss and its gradients are finite, or the constructor says why not."""
    data = {repr(likelihood): batch(digits, likelihood) for likelihood in LIKELIHOODS}
    for prior in PRIORS:
        reason = reason_against(cls, prior, posterior)
        finished: dict[str, nn.Module] = {}
        for likelihood in LIKELIHOODS:
            if reason is None:
                model = build(cls, prior, likelihood, posterior, finished)
                check_loss(model, *data[repr(likelihood)])
                finished = {"prior": model.prior, "posterior": model.posterior}  # built once, the first time
                continue
            with pytest.raises(ValueError, match=reason) as caught:
                build(cls, prior, likelihood, posterior)
            assert "\n" not in str(caught.value)


def check_loss(model: LatentVariableModel, x: Tensor, y: Tensor) -> None:
    model.zero_grad()
    loss = Trace_ELBO(max_plate_nesting=1).differentiable_loss(model.model, model.guide, x[:4], y[:4])
    loss.backward()
    parts = f"{type(model).__name__}: {model.prior}, {model.likelihood}, {model.posterior}"
    assert math.isfinite(loss.item()), parts
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in gradients), parts
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients), parts


def train(
    model: LatentVariableModel,
    objective: Objective,
    x: Tensor,
    y: Tensor,
    steps: int,
    engine: str,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
) -> list[float]:
    objective.check(model)
    svi = SVI(
        objective.weighted(model.model),
        objective.weighted(model.guide),
        optimizer(model.parameters()),
        loss=objective.elbo(),
        engine=engine,
    )
    torch.manual_seed(1)
    return [float(svi.update(torch.tensor(1.0), x, y).loss) for _ in range(steps)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_every_objective_meets_every_prior_and_posterior(objective: Objective, digits: ImageSet) -> None:
    """One step with a quarter of the pairs that go together, the quarters taking turns over the objectives."""
    (bernoulli,) = [row for row in LIKELIHOODS if row.part is likelihoods.Bernoulli]
    x, y = batch(digits, bernoulli)
    for cls, prior, posterior in ALLOWED[OBJECTIVES.index(objective) % 4 :: 4]:
        model = build(cls, prior, bernoulli, posterior)
        if is_refused(objective, model):
            continue
        (loss,) = train(model, objective, x, y, 1, "pyro")
        assert math.isfinite(loss), (cls, prior, posterior)
        assert loss > 10


def is_refused(objective: Objective, model: LatentVariableModel) -> bool:
    """Whether the objective does not exist for the model's posterior, the rule said once more; then it must say so."""
    y = torch.zeros(2, dtype=torch.int64) if model.shapes.num_classes else None
    q, p = model.posterior(torch.zeros(2, *model.shapes.image_shape), y), model.prior(y)
    dependent = not isinstance(q, torch.distributions.Independent)
    reason = None
    if isinstance(objective, FreeBits) and objective.estimator.per != "code" and kl_per_dimension(q, p) is None:
        reason = "give the allowance to the whole code"
    elif isinstance(objective, BetaTCVAE) and dependent:
        reason = "posterior of independent dimensions"
    elif isinstance(objective, DIPVAE | InfoVAE) and model.posterior.periodic:
        reason = "angles have none"
    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            objective.check(model)
    return reason is not None


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_training_lowers_the_loss(likelihood: Row, digits: ImageSet) -> None:
    """Each likelihood with some of the pairs and every second objective, on Pyro and as a traced graph in turn."""
    x, y = batch(digits, likelihood)
    first = LIKELIHOODS.index(likelihood)
    pairs = ALLOWED[first :: len(LIKELIHOODS)]
    for i, (cls, prior, posterior) in enumerate(pairs[:3]):
        objective = OBJECTIVES[(first + i) % len(OBJECTIVES)]
        model = build(cls, prior, likelihood, posterior)
        if is_refused(objective, model):
            continue
        losses = train(model, objective, x, y, 12, ("pyro", "graph")[i % 2])
        assert all(map(math.isfinite, losses)), (cls, prior, posterior, objective)
        assert sum(losses[-3:]) < sum(losses[:3]), (cls, prior, posterior, objective)


def covering(without: str = "") -> list[tuple[type, Row, Row, Row]]:
    """Programs in which every part has its turn at least once: as few as there are parts of one kind, or nearly.

    One posterior may be left out by its name.
    """
    allowed = [pair for pair in ALLOWED if pair[2].part.__name__ != without]
    pairs: list[tuple[type, Row, Row]] = []
    left = {f"{side} {pair[side]}" for pair in allowed for side in (1, 2)}
    while left:
        pairs.append(max(allowed, key=lambda pair: sum(f"{side} {pair[side]}" in left for side in (1, 2))))
        left -= {f"{side} {pairs[-1][side]}" for side in (1, 2)}
    count = max(len(pairs), len(LIKELIHOODS))
    turns = zip(itertools.cycle(pairs), itertools.cycle(LIKELIHOODS), range(count), strict=False)
    return [(cls, prior, likelihood, posterior) for (cls, prior, posterior), likelihood, _ in turns]


@pytest.mark.slow  # the compiler takes minutes over steps within a step, which have a test of their own
@pytest.mark.parametrize(
    "program", covering(without="SemiAmortised"), ids=lambda program: "-".join(map(repr, program[1:]))
)
def test_every_part_is_compiled_to_the_losses_of_pyro(program: tuple[type, Row, Row, Row], digits: ImageSet) -> None:
    """Plain gradient descent, whose steps are the gradients; of flows a single transform, to compile less."""
    cls, *rows = program
    short = [
        replace(row, arguments=row.arguments | {"transforms": 1}) if row.part.__name__ == "Flow" else row
        for row in rows
    ]
    prior, likelihood, posterior = short
    results = []
    for engine in ("pyro", "compiled"):
        model = build(cls, prior, likelihood, posterior)
        losses = train(model, TraceELBO(), *batch(digits, likelihood), 3, engine, partial(torch.optim.SGD, lr=1e-3))
        results.append((losses, list(model.parameters())))
    (by_pyro, expected), (compiled, found) = results
    assert compiled == pytest.approx(by_pyro, rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
