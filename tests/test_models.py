"""The Pyro programs: what they say, what they compute, and how they are built."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

from pyrovae.data.synthetic import LinearGaussian
from pyrovae.engine import SVI
from pyrovae.likelihoods import Bernoulli, Normal
from pyrovae.models import CVAE, VAE, Autoencoder, LatentVariableModel
from pyrovae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from pyrovae.objectives import TraceELBO
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import StandardNormal
from pyrovae.shapes import Shapes

SHAPE = (1, 6, 5)


def models() -> list[LatentVariableModel]:
    return [VAE(SHAPE, 3), CVAE(SHAPE, 4, 3), Autoencoder(SHAPE, 3)]


def batch(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, *SHAPE).round(), torch.arange(n) % 4


@pytest.mark.parametrize("model", models(), ids=lambda m: type(m).__name__)
def test_programs_have_the_sites_and_the_plate(model: LatentVariableModel) -> None:
    x, y = batch()
    guide = poutine.trace(model.guide).get_trace(x, y)
    trace = poutine.trace(poutine.replay(model.model, guide)).get_trace(x, y)
    trace.compute_log_prob()
    assert set(trace.stochastic_nodes) - {"images"} == {"z"}
    assert trace.observation_nodes == ["x"]
    assert trace.nodes["z"]["log_prob"].shape == trace.nodes["x"]["log_prob"].shape == (7,)
    assert [frame.name for frame in trace.nodes["z"]["cond_indep_stack"]] == ["images"]
    assert torch.equal(trace.nodes["z"]["value"], guide.nodes["z"]["value"])


def test_elbo_of_the_programs_is_the_formula() -> None:
    """log p(x|z) + log p(z) - log q(z|x), summed over the batch, by hand from the three parts."""
    vae = VAE(SHAPE, 3)
    x, _ = batch()
    torch.manual_seed(5)
    loss = Trace_ELBO().loss(vae.model, vae.guide, x)
    torch.manual_seed(5)
    q = vae.posterior(x)
    z = q.rsample()
    elbo = vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(torch.tensor(loss), -elbo.sum().detach(), rtol=1e-5, atol=1e-4)


def test_an_autoencoder_has_no_prior_term() -> None:
    model = Autoencoder(SHAPE, 3)
    x, _ = batch()
    loss = Trace_ELBO().loss(model.model, model.guide, x)
    z = model.posterior(x).mean
    torch.testing.assert_close(
        torch.tensor(loss), -model.likelihood(z).log_prob(x).sum().detach(), rtol=1e-5, atol=1e-4
    )
    assert model.prior().sample().shape == (3,)


def test_a_vae_does_not_look_at_labels_and_a_cvae_does() -> None:
    x, y = batch()
    vae, cvae = VAE(SHAPE, 3), CVAE(SHAPE, 4, 3)
    assert torch.equal(vae.posterior(x, y).mean, vae.posterior(x).mean)
    assert not torch.allclose(cvae.posterior(x, y).mean, cvae.posterior(x, (y + 1) % 4).mean)
    assert not torch.allclose(cvae.likelihood(x[:, 0, 0, :3], y).mean, cvae.likelihood(x[:, 0, 0, :3], y.flip(0)).mean)


def test_parts_are_classes_functions_or_finished_modules() -> None:
    shapes = Shapes(SHAPE, 3)

    class MyDecoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 30)

        def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return self.linear(z).unflatten(-1, SHAPE)

    encoder, prior = MLPEncoder(shapes, hidden=(9,)), StandardNormal(shapes)
    posterior = DiagonalNormal(shapes, encoder)
    vae = VAE(
        SHAPE,
        3,
        decoder=MyDecoder(),
        prior=prior,
        posterior=posterior,
        likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=0.3),
    )
    assert vae.prior is prior
    assert vae.posterior is posterior
    assert isinstance(vae.likelihood, Normal)
    assert isinstance(vae.likelihood.decoder, MyDecoder)
    assert VAE(SHAPE, 3, encoder=encoder).posterior.encoder is encoder
    assert isinstance(VAE((1, 8, 8), 3, encoder=ConvEncoder, decoder=ConvDecoder).likelihood.decoder, ConvDecoder)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VAE(SHAPE, 0), "latent_dim must be a whole number of at least 1, got 0"),
        (
            lambda: VAE((28, 28), 2),
            r"image_shape must be three positive whole numbers .* for MNIST it is \(1, 28, 28\)",
        ),
        (lambda: CVAE(SHAPE, 1, 2), "needs images of at least two classes, got 1: use a VAE"),
        (lambda: CVAE(SHAPE, 4, 2).posterior(torch.rand(2, *SHAPE)), "conditional on a label: pass y"),
        (lambda: VAE(SHAPE, 2, encoder=ConvEncoder), "need images of at least 8x8 pixels, got 6x5"),
        (lambda: Shapes(SHAPE, 2, -1), "num_classes must be a whole number of at least 0"),
        (lambda: VAE(8), "image_shape must be three positive whole numbers .*, got 8; for MNIST"),
        (lambda: VAE("abc"), "image_shape must be three positive whole numbers .*, got 'abc'; for MNIST"),
        (lambda: VAE(SHAPE, True), "latent_dim must be a whole number of at least 1, got True"),
        (lambda: VAE(SHAPE, 2.0), r"latent_dim must be a whole number of at least 1, got 2\.0"),
        (lambda: CVAE(SHAPE, "10"), "num_classes must be a whole number of at least 0, got '10'"),
        (
            lambda: VAE(SHAPE).posterior(torch.zeros(2, *SHAPE, dtype=torch.uint8)),
            r"of shape \(B, 1, 6, 5\), got torch.uint8 of shape \(2, 1, 6, 5\): pyrovae.data.to_unit",
        ),
        (lambda: VAE(SHAPE).posterior(torch.rand(2, 1, 6, 6)), r"of shape \(B, 1, 6, 5\), got torch.float32 of shape"),
        (
            lambda: VAE((1, 8, 8), encoder=ConvEncoder).posterior(torch.rand(2, 1, 28, 28)),
            r"of shape \(B, 1, 8, 8\), got torch.float32 of shape \(2, 1, 28, 28\)",
        ),
    ],
)
def test_wrong_sizes_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"prior": "StandardNormal"}, "prior must be a class, .*, got 'StandardNormal': .* prior=pyrovae.priors"),
        ({"encoder": "MLPEncoder"}, "encoder must be a class, .*, got 'MLPEncoder': .* encoder=pyrovae.networks"),
        ({"decoder": 3}, "decoder must be a class, .*, got 3: .* decoder=pyrovae.networks"),
        ({"likelihood": "Bernoulli"}, "likelihood must be a class, .*, got 'Bernoulli': .* likelihood=pyrovae"),
        ({"posterior": None}, "posterior must be a class, .*, got None: .* posterior=pyrovae.posteriors"),
        ({"encoder": nn.Linear(30, 4)}, r"module for encoder must have forward\(x, y\), which Linear has not"),
        ({"decoder": nn.Linear(2, 30)}, r"module for decoder must have forward\(z, y\), which Linear has not"),
        ({"encoder": nn.Linear}, r"encoder must be built from \(shapes\), which Linear is not \(missing a required"),
        ({"posterior": lambda shapes: None}, r"posterior must be built from \(shapes, encoder\), which <lambda> is"),
        ({"prior": lambda shapes: None}, "prior must be a module when it is built, got None"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_no_part_is_refused(parts: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        VAE(SHAPE, 2, **parts)
    assert "\n" not in str(caught.value)


def test_a_step_equals_pyros_own() -> None:
    """The same step through `pyro.infer.SVI` gives the same loss and the same new weights at the same seed."""
    x, y = batch()
    beta = torch.tensor(0.7)
    objective = TraceELBO(reconstruction_weight=1.3)
    torch.manual_seed(1)
    ours = CVAE(SHAPE, 4, 3)
    theirs = CVAE(SHAPE, 4, 3)
    theirs.load_state_dict(ours.state_dict())

    svi = SVI(
        objective.weighted(ours.model),
        objective.weighted(ours.guide),
        torch.optim.Adam(ours.parameters(), lr=1e-2),
        loss=objective.elbo(),
        engine="pyro",
    )

    def registered(program: object) -> object:
        def run(*args: torch.Tensor) -> None:
            pyro.module("cvae", theirs)
            program(*args)

        return run

    reference = pyro.infer.SVI(
        registered(objective.weighted(theirs.model)),
        registered(objective.weighted(theirs.guide)),
        pyro.optim.Adam({"lr": 1e-2}),
        loss=objective.elbo(),
    )
    for seed in range(3):
        torch.manual_seed(seed)
        mine = svi.step(beta, x, y)
        torch.manual_seed(seed)
        assert mine == pytest.approx(reference.step(beta, x, y), rel=1e-6)
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], rtol=1e-5, atol=1e-6)
    pyro.clear_param_store()


class LinearDecoder(nn.Module):
    """The decoder of probabilistic PCA."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.linear = nn.Linear(latent_dim, image_shape[1] * image_shape[2])

    def forward(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return self.linear(z).unflatten(-1, self.image_shape)


class LinearEncoder(nn.Module):
    """Pixels as features, so that the posterior's location is linear in them."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.out_features = shapes.image_shape[1] * shapes.image_shape[2]

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return x.flatten(1)


@pytest.mark.slow
def test_svi_reaches_the_exact_evidence_and_posterior_of_a_linear_gaussian_model() -> None:
    """Probabilistic PCA: with a linear decoder the diagonal posterior can be exact, so the ELBO reaches log p(x)."""
    shape = (1, 2, 3)
    truth = LinearGaussian.random(shape, 2, scale=0.5, generator=torch.Generator().manual_seed(0))
    x = truth.sample(4000, torch.Generator().manual_seed(1))
    vae = VAE(
        shape,
        2,
        encoder=LinearEncoder,
        decoder=LinearDecoder(shape, 2),
        likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=0.5),
    )
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1500)
    svi = SVI(vae.model, vae.guide, optimizer, engine="pyro")
    for _ in range(1500):
        svi.step(x)
        schedule.step()

    linear = vae.likelihood.decoder.linear
    learned = LinearGaussian(linear.weight.detach(), linear.bias.detach(), 0.5, shape)
    evidence = learned.log_evidence(x)
    with torch.no_grad():
        q = vae.posterior(x)
        z = q.sample([200])
        terms = vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z) - q.log_prob(z)
    elbo, error = terms.mean().item(), (terms.mean(0).std() / len(x) ** 0.5 / 200**0.5).item()
    draws_error = (terms.std(0).mean() / (200 * len(x)) ** 0.5).item()

    assert elbo < evidence.mean().item() + 5 * (draws_error + error), "no bound may exceed the evidence"
    assert elbo == pytest.approx(evidence.mean().item(), abs=0.01)
    # The learned evidence is the maximum of the likelihood, so above the truth's on the same data, by little.
    gain = (evidence - truth.log_evidence(x)).mean().item()
    assert -0.005 < gain < 0.02
    mean, covariance = learned.posterior(x)
    torch.testing.assert_close(q.mean.double(), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(q.variance.mean(0).double(), covariance.diagonal(), atol=0, rtol=0.05)


def test_bernoulli_and_normal_are_the_defaults() -> None:
    vae = VAE((1, 28, 28))
    assert isinstance(vae.likelihood, Bernoulli)
    assert isinstance(vae.prior, StandardNormal)
    assert isinstance(vae.posterior, DiagonalNormal)
    assert isinstance(vae.likelihood.decoder, MLPDecoder)
