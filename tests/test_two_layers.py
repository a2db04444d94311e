"""Two layers in one code: closed forms of a linear hierarchy, engines, and every analysis."""

import itertools
import runpy
import sys
from functools import partial
from pathlib import Path

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import pyrovae
from pyrovae import SVI, VAE, HierarchicalVAE, likelihoods, posteriors, priors
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.distributions import TwoLayers
from pyrovae.inference import importance_weighted, quadrature
from pyrovae.latent import encode
from pyrovae.shapes import Shapes

SHAPE, SCALE = (1, 2, 3), 0.6


class Pixels(nn.Module):
    """Features of an image: itself."""

    out_features = 6

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x.flatten(1)


class Linear(nn.Module):
    """x = W bottom + b."""

    def __init__(self, shapes: Shapes, channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(shapes.latent_dim, 6)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layer(z).unflatten(-1, SHAPE)


def linear(top: int, bottom: int) -> HierarchicalVAE:
    """A hierarchy of linear maps with constant scales, in float64."""
    torch.manual_seed(0)
    model = HierarchicalVAE(
        SHAPE, top + bottom, top, (), Pixels, Linear, partial(likelihoods.Normal, scale=SCALE)
    ).double()
    with torch.no_grad():
        for part in (model.prior.given_top[0], model.posterior.given_top[0], model.posterior.head):
            part.weight.normal_(0, 0.7)
            part.bias.normal_(0, 0.3)
        model.prior.given_top[0].weight[bottom:] = 0.0  # scales that do not depend on the top
        model.likelihood.scale.fill_(SCALE)
    return model


def joint(model: HierarchicalVAE) -> tuple[Tensor, Tensor]:
    """Mean and covariance of z = (top, bottom), by the rules of linear maps."""
    top, below = model.top_dim, model.prior.given_top[0]
    weight, log_scale = below.weight[: model.prior.bottom_dim], below.bias[model.prior.bottom_dim :]
    mean = torch.cat([torch.zeros(top, dtype=torch.float64), below.bias[: model.prior.bottom_dim]])
    inside = weight @ weight.T + torch.diag((2 * log_scale).exp())
    upper = torch.cat([torch.eye(top, dtype=torch.float64), weight.T], 1)
    return mean.detach(), torch.cat([upper, torch.cat([weight, inside], 1)]).detach()


def evidence(model: HierarchicalVAE, x: Tensor) -> Tensor:
    """log p(x) in closed form."""
    mean, covariance = joint(model)
    layer = model.likelihood.decoder.decoder.layer
    weight = torch.cat([torch.zeros(6, model.top_dim, dtype=torch.float64), layer.weight], 1).detach()
    noise = SCALE**2 * torch.eye(6, dtype=torch.float64)
    p = torch.distributions.MultivariateNormal(
        weight @ mean + layer.bias.detach(), weight @ covariance @ weight.T + noise
    )
    return p.log_prob(x.flatten(1))


def set_exact(model: HierarchicalVAE) -> None:
    """Gives the posterior of layers of one dimension each the exact p(top | x) and p(bottom | top, x)."""
    mean, covariance = joint(model)
    layer, q = model.likelihood.decoder.decoder.layer, model.posterior
    weight = torch.cat([torch.zeros(6, 1, dtype=torch.float64), layer.weight.detach()], 1)
    precision = torch.linalg.inv(covariance) + weight.T @ weight / SCALE**2
    posterior = torch.linalg.inv(precision)
    gain = posterior @ weight.T / SCALE**2  # of x - W mean - b
    offset = mean - gain @ (weight @ mean + layer.bias.detach())
    slope = posterior[1, 0] / posterior[0, 0]
    with torch.no_grad():
        q.head.weight.zero_()
        q.head.bias.zero_()
        q.head.weight[0], q.head.bias[0] = gain[0], offset[0]
        q.head.bias[1] = 0.5 * posterior[0, 0].log()
        q.head.weight[2], q.head.bias[2] = gain[1] - slope * gain[0], offset[1] - slope * offset[0]
        below = q.given_top[0]
        below.weight.zero_()
        below.bias.zero_()
        below.weight[0, 0], below.weight[0, 1] = slope, 1.0
        below.bias[1] = 0.5 * (posterior[1, 1] - posterior[1, 0] ** 2 / posterior[0, 0]).log()


def images(n: int = 5) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# -- closed forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "bottom"), [(1, 1), (2, 3), (3, 1)])
def test_the_prior_of_a_linear_hierarchy_is_its_normal(top: int, bottom: int) -> None:
    model = linear(top, bottom)
    mean, covariance = joint(model)
    exact, z = torch.distributions.MultivariateNormal(mean, covariance), torch.randn(50, top + bottom).double()
    torch.testing.assert_close(model.prior().log_prob(z), exact.log_prob(z))
    draws = model.prior().sample([40_000])
    torch.testing.assert_close(draws.mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(draws.T), covariance, atol=0.08, rtol=0.05)
    torch.testing.assert_close(model.prior().mean, mean, atol=0.02, rtol=0)
    torch.testing.assert_close(model.prior().variance, covariance.diagonal(), atol=0.02, rtol=0.05)


def test_the_exact_posterior_has_the_evidence_as_its_bound_at_every_code() -> None:
    model, x = linear(1, 1), images()
    set_exact(model)
    for _ in range(3):
        q = model.posterior(x)
        z = q.sample()
        log_w = model.likelihood(z).log_prob(x) + model.prior().log_prob(z) - q.log_prob(z)
        torch.testing.assert_close(log_w, evidence(model, x))


def test_quadrature_and_importance_weights_find_the_evidence() -> None:
    """One dimension a layer by quadrature; three by codes of a guide that is not exact."""
    model, deep = linear(1, 1).float(), linear(1, 2).float()
    pixels = (images(4) * 255).round().to(torch.uint8)
    split = Split(pixels, torch.zeros(4, dtype=torch.int64))
    x = pixels.double() / 255
    found = quadrature(model, split, 200)
    torch.testing.assert_close(torch.tensor(found.log_likelihood), evidence(linear(1, 1), x), atol=1e-3, rtol=0)
    with torch.no_grad():  # wide enough to cover the posterior
        deep.posterior.head.weight.mul_(0.1)
        deep.posterior.head.bias[1] = 0.0
        deep.posterior.given_top[0].weight.zero_()
        deep.posterior.given_top[0].bias.fill_(0.2)
    weighted = importance_weighted(deep, split, 40_000)
    torch.testing.assert_close(torch.tensor(weighted.log_likelihood), evidence(linear(1, 2), x), atol=0.1, rtol=0)


def test_the_decoder_sees_the_bottom_alone() -> None:
    model = linear(2, 3)
    z = torch.randn(4, 5).double()
    other = z.clone()
    other[:, :2] += 1.0
    assert torch.equal(model.likelihood(z).mean, model.likelihood(other).mean)
    other[:, 2:] += 1.0
    assert not torch.equal(model.likelihood(z).mean, model.likelihood(other).mean)


def test_draws_of_the_bottom_follow_their_top() -> None:
    """The second vector is drawn given the first of the same draw, with axes of particles and images."""
    top = dist.Normal(torch.zeros(3, 1), torch.ones(3, 1)).to_event(1)
    both = TwoLayers(top, lambda t: dist.Normal(5 * t.expand(*t.shape[:-1], 2), 0.01).to_event(1), 2)
    z = both.expand([7, 3]).rsample([4])
    assert z.shape == (4, 7, 3, 3)
    torch.testing.assert_close(z[..., 1:], 5 * z[..., :1].expand(*z.shape[:-1], 2), atol=0.06, rtol=0)
    with pytest.raises(ValueError, match="within the support"):
        TwoLayers(dist.Normal(torch.zeros(1), 1.0, validate_args=True).to_event(1), both.given, 2).log_prob(
            torch.full((3,), torch.nan)
        )


# -- the model -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["graph", pytest.param("compiled", marks=pytest.mark.slow)])
def test_engines_agree(engine: str) -> None:
    x, results = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round(), []
    for name in ("pyro", engine):
        torch.manual_seed(0)
        model = HierarchicalVAE((1, 4, 4), 4, 2)
        svi = SVI(model.model, model.guide, torch.optim.SGD(model.parameters(), 1e-3), engine=name)
        torch.manual_seed(1)
        results.append(([svi.step(x) for _ in range(3)], list(model.parameters())))
    (losses, expected), (found, weights) = results
    assert found == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


def test_the_parts_serve_other_models(digits: ImageSet) -> None:
    """A VAE whose decoder sees both layers, with a prior or a posterior of two layers or both."""
    x = (digits.images[:8].float() / 255).round()
    kinds = itertools.product(
        (priors.Hierarchical, priors.StandardNormal), (posteriors.Hierarchical, posteriors.FullNormal)
    )
    for prior, posterior in kinds:
        model = VAE(digits.image_shape, 3, prior=prior, posterior=posterior)
        svi = SVI(model.model, model.guide, torch.optim.Adam(model.parameters()), engine="pyro")
        assert 0 < svi.step(x) < 8 * 100


def test_from_the_command_line_to_every_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], digits: ImageSet
) -> None:
    """Trained, resumed, loaded, evaluated, drawn from, traversed: one code, so all that is there takes it."""
    monkeypatch.chdir(tmp_path)
    scripts = Path(__file__).parents[1] / "scripts"
    shared = ["--progress", "false", "--engine", "graph"]
    model = ["--data", "digits", "--model", "HierarchicalVAE", "--model.latent_dim", "5", "--model.top_dim", "2"]
    for script, *argv in (
        ["svi_train.py", *model, "--name", "two", "--epochs", "2", *shared],
        ["svi_train.py", "--resume", "runs/two", "--epochs", "3", *shared],
        ["evaluate.py", "runs/two", "--images", "5", "--samples", "20", "--others", "50"],
        ["generate.py", "runs/two", "--rows", "2"],
        ["latent_space.py", "runs/two"],
        ["traverse.py", "runs/two", "--rows", "2"],
        ["reconstruct.py", "runs/two", "--images", "[0,1]"],
    ):
        monkeypatch.setattr(sys, "argv", [script, *argv])
        runpy.run_path(str(scripts / script), run_name="__main__")
    capsys.readouterr()
    loaded = pyrovae.load("runs/two")
    assert (type(loaded).__name__, loaded.top_dim) == ("HierarchicalVAE", 2)
    codes = encode(loaded, fixed_split(digits.split("test"), "dynamic").take(range(20)))
    assert codes.means.shape == (20, 5)
    assert not codes.exact  # the moments of the bottom layer have no closed form


@pytest.mark.parametrize("top", [0, 4, 1.5])
def test_layers_need_a_dimension_each(top: float) -> None:
    with pytest.raises(ValueError, match=r"top_dim must be .* below latent_dim, 4, which counts both layers, got"):
        HierarchicalVAE((1, 4, 4), 4, top)
