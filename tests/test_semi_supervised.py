"""Few labels: the bound with the label summed over, against closed forms; parts, engines and the classifier's term."""

import itertools
import math
from dataclasses import dataclass
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from linear_models import SHAPE, LinearDecoder, make_known
from pyro.infer import TraceEnum_ELBO
from test_parts import CLASSES, LIKELIHOODS, POSTERIORS, PRIORS, Row
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyrovae import CVAE, FreeBits, ImportanceWeighted, Renyi, SemiSupervisedVAE, TraceELBO, TraceMeanField, networks
from pyrovae.contracts import NotApplicable
from pyrovae.data import HIDDEN, LinearGaussian, Split
from pyrovae.engine import SVI
from pyrovae.inference import (
    classify,
    estimate_elbo,
    importance_weighted,
    predict_labels,
    quadrature,
    with_predicted_labels,
)
from pyrovae.likelihoods import Normal
from pyrovae.objectives import FewLabels
from pyrovae.runtime import frozen

SHIFT = 0.7
SHARES = (0.5, 0.3, 0.2)
"""p(y) of a mixture of three linear-Gaussian models, whose offsets differ by the shift."""


class GivenLabel(nn.Module):
    """p(z | x, y) of the mixture."""

    def __init__(self, truth: LinearGaussian) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, x: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        weight, eye = self.truth.weight, torch.eye(self.truth.latent_dim)
        covariance = torch.linalg.inv(weight.T @ weight / self.truth.scale**2 + eye)
        away = x.flatten(-3) - self.truth.offset - SHIFT * y[..., None]
        return dist.MultivariateNormal(away @ weight @ covariance / self.truth.scale**2, covariance)


@dataclass(frozen=True, eq=False)
class Mixture:
    truth: LinearGaussian
    x: Tensor
    y: Tensor

    def given_labels(self) -> Tensor:
        """log p(x | y) of every class, (images, classes)."""
        return torch.stack([self.truth.log_evidence(self.x - SHIFT * y) for y in range(3)], 1).double()

    def joint(self) -> Tensor:
        return self.given_labels() + torch.tensor(SHARES).double().log()

    def model(self, alpha: float = 0.1) -> SemiSupervisedVAE:
        torch.manual_seed(0)
        return SemiSupervisedVAE(
            SHAPE,
            3,
            self.truth.latent_dim,
            decoder=lambda shapes, channels: LinearDecoder(self.truth, SHIFT),
            likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=self.truth.scale),
            posterior=lambda shapes, encoder: GivenLabel(self.truth),
            classifier=partial(networks.MLPEncoder, hidden=(5,)),
            class_probabilities=SHARES,
            alpha=alpha,
        )


@pytest.fixture
def mixture() -> Mixture:
    truth = make_known(2, 1).truth
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(12) % 3
    return Mixture(truth, truth.sample(12, generator) + SHIFT * y.reshape(-1, 1, 1, 1), y)


def bound_by_hand(mixture: Mixture, logs: Tensor) -> Tensor:
    """-U(x) = sum_y q(y | x) [log p(x, y) - log q(y | x)]: q(z | x, y) is exact, so nothing is left of the codes."""
    return (logs.exp() * (mixture.joint() - logs)).sum(1)


def test_the_enumerated_bound_is_the_sum_by_hand(mixture: Mixture) -> None:
    model = mixture.model()
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, mixture.x)
    with torch.no_grad():
        logs = model.classifier(mixture.x).logits.double()
    assert loss == pytest.approx(-float(bound_by_hand(mixture, logs).sum()), rel=1e-5)
    labelled = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)
    expected = -mixture.joint()[torch.arange(12), mixture.y].sum()
    assert labelled.loss(model.model, model.guide, mixture.x, mixture.y) == pytest.approx(float(expected), rel=1e-5)


def test_the_bound_meets_the_evidence_where_the_guide_is_exact(mixture: Mixture) -> None:
    model = mixture.model()

    class Exact(nn.Module):
        def forward(self, x: Tensor) -> dist.Categorical:
            return dist.Categorical(logits=mixture.joint().float())

    model.classifier = Exact()
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, mixture.x)
    assert loss == pytest.approx(-float(mixture.joint().logsumexp(1).sum()), rel=1e-5)


@pytest.mark.parametrize("engine", ["pyro", "graph", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 2.0])
def test_a_step_of_a_mixed_batch_is_the_loss_by_hand(mixture: Mixture, engine: str, alpha: float) -> None:
    """Value and gradient of a step: four of twelve images have labels, and a third of a hundredth of all do."""
    model = mixture.model(alpha)
    few, share = FewLabels(4, 0.003), 0.003
    programs = TraceELBO().programs(model, few)
    before = {name: value.detach().clone() for name, value in model.classifier.named_parameters()}
    svi = SVI(programs.model, programs.guide, torch.optim.SGD(model.classifier.parameters(), lr=1.0),
              loss=programs.elbo, engine=engine)  # fmt: skip
    logits = model.classifier(mixture.x).logits
    unlabelled = -bound_by_hand(mixture, logits.double())[4:].mean()
    labelled = -mixture.joint()[torch.arange(4), mixture.y[:4]].mean()
    wrong = cross_entropy(logits[:4], mixture.y[:4])
    expected = share * labelled + (1 - share) * unlabelled + alpha * wrong
    gradients = torch.autograd.grad(expected, list(model.classifier.parameters()))
    expected, wrong = expected.item(), wrong.item()

    step = svi.update(torch.tensor(1.0), mixture.x, mixture.y[:4])
    assert float(step.loss) == pytest.approx(expected, rel=1e-5)
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        moved = old - model.classifier.get_parameter(name).detach()
        torch.testing.assert_close(moved, gradient.float(), rtol=1e-3, atol=1e-5)
    reconstruction, kl = programs.terms(step.log_probs, torch.tensor(12))
    assert float(reconstruction + kl + alpha * wrong) == pytest.approx(expected, rel=1e-5)


def test_with_all_labels_it_is_a_cvae_and_a_classifier() -> None:
    """The same parts, the same draws: the CVAE's bound, -log p(y), and alpha times the cross-entropy."""
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 6, 5), 4, 3, alpha=0.5)
    cvae = CVAE((1, 6, 5), 4, 3, prior=model.prior, likelihood=model.likelihood, posterior=model.posterior)
    x, y = torch.rand(8, 1, 6, 5).round(), torch.arange(8) % 4
    losses = []
    for each in (model, cvae):
        programs = TraceELBO(beta=1.0).programs(each)
        torch.manual_seed(3)
        losses.append(programs.elbo.loss(programs.model, programs.guide, torch.tensor(1.0), x, y))
    term = 0.5 * cross_entropy(model.classifier(x).logits, y).item()
    assert losses[0] == pytest.approx(losses[1] + torch.tensor(4.0).log().item() + term, rel=1e-6)


@pytest.mark.parametrize("particles", [1, 3])
def test_beta_and_particles_count_as_they_say(particles: int) -> None:
    """With beta 0 the reconstruction alone is left, and -log p(y) of known labels; more codes change its noise only."""
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 6, 5), 4, 3, alpha=0.0)
    programs = TraceELBO(particles=particles).programs(model, FewLabels(2, 0.25))
    x, y = torch.rand(8, 1, 6, 5).round(), torch.tensor([1, 3])
    svi = SVI(programs.model, programs.guide, torch.optim.SGD(model.parameters(), lr=0.0), loss=programs.elbo,
              engine="pyro")  # fmt: skip
    for beta in (0.0, 1.0, 2.5):
        step = svi.update(torch.tensor(beta), x, y)
        reconstruction, kl = programs.terms(step.log_probs, torch.tensor(8))
        known = (1 - beta) * 0.25 * math.log(4)  # what is observed is not weighted by beta
        assert float(step.loss) == pytest.approx(float(reconstruction + beta * kl) + known, rel=1e-5)


# -- parts -----------------------------------------------------------------------------------------------------------


def each_label(part: object, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    every = torch.arange(CLASSES).unsqueeze(-1)
    return every, [torch.full((len(x),), label) for label in range(CLASSES)]


ENCODERS = [
    networks.MLPEncoder,
    networks.GatedMLPEncoder,
    networks.ResidualMLPEncoder,
    networks.ConvEncoder,
    networks.FourLayerConvEncoder,
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("posterior", POSTERIORS, ids=repr)
def test_a_posterior_of_every_label_at_once_is_that_of_each(encoder: type, posterior: Row) -> None:
    if encoder is not networks.MLPEncoder and posterior is not POSTERIORS[0]:
        return  # the families see features alone
    torch.manual_seed(0)
    prior = next(
        (row for row in PRIORS if row.part.__name__ == {"Beta": "Uniform", "WrappedNormal": "VonMises"}.get(
            posterior.part.__name__)), PRIORS[0])  # fmt: skip
    if posterior.part.__name__ == "Delta":
        return
    model = SemiSupervisedVAE(
        (1, 8, 8), CLASSES, 2, encoder=encoder, posterior=posterior.factory(), prior=prior.factory()
    )
    x = torch.rand(5, 1, 8, 8)
    with frozen(model):
        every, labels = each_label(model.posterior, x)
        q = model.posterior(x, every)
        assert q.batch_shape == (CLASSES, 5)
        z = q.sample()
        apart = [model.posterior(x, y).log_prob(each) for y, each in zip(labels, z, strict=True)]
    torch.testing.assert_close(q.log_prob(z), torch.stack(apart), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_a_likelihood_of_every_label_at_once_is_that_of_each(likelihood: Row) -> None:
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 8, 8), CLASSES, 2, likelihood=likelihood.factory())
    z = torch.randn(CLASSES, 5, 2)
    with frozen(model):
        every, labels = each_label(model.likelihood, z[0])
        p = model.likelihood(z, every)
        apart = [model.likelihood(each, y) for y, each in zip(labels, z, strict=True)]
        x = apart[0].sample()
        torch.testing.assert_close(
            p.log_prob(x), torch.stack([each.log_prob(x) for each in apart]), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_every_prior_trains_with_the_label_summed_over(prior: Row) -> None:
    """Loss and gradients are finite; with labels as components the prior of each class is its own."""
    posterior = {"Uniform": "Beta", "VonMises": "WrappedNormal"}.get(prior.part.__name__, "DiagonalNormal")
    row = next(row for row in POSTERIORS if row.part.__name__ == posterior)
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 8, 8), CLASSES, 2, prior=prior.factory(), posterior=row.factory())
    programs = TraceELBO().programs(model, FewLabels(3, 0.5))
    svi = SVI(programs.model, programs.guide, torch.optim.Adam(model.parameters()), loss=programs.elbo, engine="pyro")
    step = svi.update(torch.tensor(1.0), torch.rand(8, 1, 8, 8).round(), torch.arange(3) % CLASSES)
    assert bool(step.loss.isfinite())
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in model.parameters())


# -- inference -------------------------------------------------------------------------------------------------------


def test_estimates_meet_the_closed_forms(mixture: Mixture) -> None:
    model = mixture.model()
    split = Split(mixture.x, mixture.y)
    logs = torch.from_numpy(predict_labels(model, split).log_probabilities)
    bound = estimate_elbo(model, split.without_labels())
    assert bound.negative_elbo.value == pytest.approx(-float(bound_by_hand(mixture, logs).mean()), rel=1e-5)
    assert bound.dimensions == 2
    given = estimate_elbo(model, split).negative_elbo.value
    assert given == pytest.approx(-float(mixture.joint()[torch.arange(12), mixture.y].mean()), rel=1e-5)
    evidence = importance_weighted(model, split.without_labels(), 4000)
    assert evidence.mean == pytest.approx(float(mixture.joint().logsumexp(1).mean()), abs=6 * evidence.mean_error)
    posterior = torch.from_numpy(classify(model, split, 3).log_probabilities)
    torch.testing.assert_close(posterior, mixture.joint().log_softmax(1), rtol=1e-3, atol=1e-4)
    assert quadrature(model, split, 120).mean == pytest.approx(
        float(mixture.given_labels()[torch.arange(12), mixture.y].mean()), rel=1e-3
    )


def test_the_kl_of_a_hidden_label_has_its_own_term() -> None:
    """With a closed form of the codes' KL: U(x) = reconstruction + KL(q(y | x) || p(y)) + E KL(q(z | x, y) || p(z))."""
    torch.manual_seed(0)
    model = SemiSupervisedVAE((1, 8, 8), 3, 2)
    split = Split(torch.randint(0, 2, (40, 1, 8, 8), dtype=torch.uint8) * 255, torch.full((40,), HIDDEN))
    found = estimate_elbo(model, split)
    x = split.images.float() / 255
    with torch.no_grad():
        q = model.classifier(x).probs
        of_label = (q * (q.log() + torch.tensor(3.0).log())).sum(1)
        each = [
            torch.distributions.kl_divergence(model.posterior(x, torch.full((40,), y)), model.prior()).reshape(40)
            for y in range(3)
        ]
    expected = of_label + (q * torch.stack(each, 1)).sum(1)
    assert found.kl.value == pytest.approx(float(expected.mean()), rel=1e-5)
    assert found.kl_per_dim.sum() == pytest.approx(float((expected - of_label).mean()), rel=1e-4)


def test_predictions_say_error_and_calibration(mixture: Mixture) -> None:
    model = mixture.model()
    split = Split(mixture.x, mixture.y)
    found = predict_labels(model, split)
    wrong = float((model.classifier(mixture.x).logits.argmax(1) != mixture.y).double().mean())
    assert found.error.value == pytest.approx(wrong)
    assert found.error.sampling == pytest.approx((wrong * (1 - wrong) / 12) ** 0.5)
    assert f"q(y | x) names the class of {found.accuracy.percent} of" in str(found)
    assert 0 <= found.to_dict()["expected_calibration_error"] <= 1
    half = Split(mixture.x, torch.where(torch.arange(12) < 6, mixture.y, HIDDEN))
    filled = with_predicted_labels(model, half)
    assert torch.equal(filled.labels[:6], mixture.y[:6])
    assert filled.labels[6:].tolist() == found.predicted[6:].tolist()
    with pytest.raises(ValueError, match="labels of 6 of 12 images are hidden: fill them"):
        estimate_elbo(model, half)
    with pytest.raises(NotApplicable, match=r"a CVAE has no q\(y \| x\)"):
        predict_labels(CVAE((1, 2, 3), 3), split)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [TraceMeanField(), FreeBits(), ImportanceWeighted(), Renyi()], ids=repr)
def test_other_bounds_are_refused(objective: object) -> None:
    with pytest.raises(NotApplicable, match=r"no sum over the classes of images without labels.*: use TraceELBO"):
        objective.check(SemiSupervisedVAE((1, 8, 8), 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 1}, "needs images of at least two classes, got 1: use a VAE"),
        ({"alpha": -0.1}, "alpha, the weight of the classifier's term, must be at least 0, got -0.1"),
        ({"alpha": float("nan")}, "must be at least 0, got nan"),
        ({"alpha": "much"}, "must be a number, got 'much'"),
        ({"class_probabilities": [0.5, 0.5]}, "must be 3 numbers above 0 that add up to 1"),
        ({"class_probabilities": [0.5, 0.6, -0.1]}, "must be 3 numbers above 0 that add up to 1"),
        ({"class_probabilities": "abc"}, "must be 3 numbers above 0 that add up to 1"),
        ({"classifier": 3}, "classifier must be a class, a function that builds the part"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        SemiSupervisedVAE((1, 8, 8), **({"num_classes": 3} | settings))
    assert "\n" not in str(caught.value)


def test_parts_that_cannot_take_every_label_at_once_are_refused() -> None:
    class OfOneLabel(nn.Module):
        out_features = 65

        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            return torch.cat([x.flatten(1), y[:, None].float()], 1)

    with pytest.raises(
        ValueError, match=r"the posterior DiagonalNormal must take labels \(classes, 1\) beside"
    ) as caught:
        SemiSupervisedVAE((1, 8, 8), 3, 2, encoder=lambda shapes: OfOneLabel())
    assert "\n" not in str(caught.value)


def test_missing_values_reach_neither_encoder_nor_classifier() -> None:
    torch.manual_seed(0)
    for missing, with_labels in itertools.product(("zeros", "mask"), (True, False)):
        model = SemiSupervisedVAE((1, 1, 6), 3, 2, likelihood=Normal, missing=missing)
        x = torch.randn(9, 1, 1, 6)
        x[torch.rand(x.shape) < 0.4] = torch.nan
        split = Split(x, torch.arange(9) % 3)
        assert torch.isfinite(torch.tensor(predict_labels(model, split).log_probabilities)).all()
        found = estimate_elbo(model, split if with_labels else split.without_labels())
        assert torch.tensor(found.negative_elbo.value).isfinite()
