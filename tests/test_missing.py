"""Missing values: what is seen is scored exactly, encoders are told, imputation meets the truth."""

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from linear_models import LinearDecoder
from torch import nn
from torch.distributions import Independent

import pyrovae
from pyrovae import CVAE, VAE, Autoencoder, ImportanceWeighted, TraceELBO, Trainer, likelihoods, priors
from pyrovae.contracts import NotApplicable, name_of
from pyrovae.data import LinearGaussian, Split, from_values
from pyrovae.inference import estimate_elbo, importance_weighted, impute, quadrature
from pyrovae.latent import encode
from pyrovae.likelihoods import Normal, OfSeen
from pyrovae.networks import MLPEncoder, SeenEncoder
from pyrovae.shapes import Shapes

SHAPE = (1, 2, 3)
LIKELIHOODS = {
    "Bernoulli": {},
    "CrossEntropy": {},
    "ContinuousBernoulli": {},
    "Normal": {"noise": "per_pixel"},
    "Laplace": {"noise": "decoder"},
    "Beta": {},
    "Categorical": {"levels": 3},
    "DiscretizedLogistic": {"levels": 3},
    "Poisson": {"levels": 1},
    "NegativeBinomial": {"levels": 1},
}
"""Every likelihood there is; a new one that is left out fails a test below."""


def truth_with_holes(rows: int = 12, seed: int = 0) -> tuple[LinearGaussian, Split]:
    generator = torch.Generator().manual_seed(seed)
    truth = LinearGaussian.random(SHAPE, 2, scale=0.5, generator=generator)
    x = truth.sample(rows, generator)
    x[torch.rand(x.shape, generator=generator) < 0.4] = torch.nan
    return truth, Split(x, torch.zeros(rows, dtype=torch.int64))


class PosteriorOfSeen(nn.Module):
    """p(z | x_seen) itself, or one of another width."""

    def __init__(self, truth: LinearGaussian, width: float = 1.0) -> None:
        super().__init__()
        self.truth, self.width = truth, width

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> dist.MultivariateNormal:
        means, factors = [], []
        for row in x.flatten(1):
            seen = ~row.isnan()
            weight = self.truth.weight[seen] / self.truth.scale
            covariance = torch.linalg.inv(weight.T @ weight + torch.eye(self.truth.latent_dim))
            means.append(covariance @ weight.T @ (row[seen] - self.truth.offset[seen]) / self.truth.scale)
            factors.append(self.width * torch.linalg.cholesky(covariance))
        return dist.MultivariateNormal(torch.stack(means), scale_tril=torch.stack(factors))


def linear_vae(truth: LinearGaussian, width: float = 1.0) -> VAE:
    return VAE(
        SHAPE,
        2,
        decoder=lambda shapes, channels: LinearDecoder(truth),
        likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=truth.scale),
        posterior=lambda shapes, encoder: PosteriorOfSeen(truth, width),
        missing="zeros",
    )


def test_every_likelihood_is_listed() -> None:
    from pyrovae.factory import part_names

    assert set(LIKELIHOODS) == set(part_names("likelihood"))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_score_is_that_of_the_seen_coordinates_and_so_are_its_gradients(name: str) -> None:
    settings = LIKELIHOODS[name]

    def make(missing):
        torch.manual_seed(0)
        return VAE(SHAPE, 2, missing=missing, likelihood=lambda s, d: getattr(likelihoods, name)(s, d, **settings))

    model, whole = make("zeros"), make(None)
    assert name_of(model.likelihood) == name
    assert model.likelihood.score == whole.likelihood.score
    model.likelihood.module.load_state_dict(whole.likelihood.state_dict())
    z = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(1))
    p = whole.likelihood(z)
    assert isinstance(p, Independent)
    x = (p.base_dist.sample()[0] if name not in ("CrossEntropy",) else torch.rand(4, *SHAPE)).clamp(max=5)
    if name == "Beta":
        x = x.clamp(0.01, 0.99)
    missing = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    missing[0] = True
    holes = torch.where(missing, torch.nan, x)
    expected = (p.base_dist.log_prob(x) * ~missing).sum((-1, -2, -3))
    q = model.likelihood(z)
    assert bool(q.support.check(holes).all())
    torch.testing.assert_close(q.log_prob(holes), expected)
    assert not q.log_prob(holes)[:, 0].any()
    q.log_prob(holes).sum().backward()
    expected.sum().backward()
    for (label, one), other in zip(model.likelihood.named_parameters(), whole.likelihood.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=label)
    if name == "Normal":
        torch.testing.assert_close(q.log_prob(x), p.log_prob(x))
        torch.manual_seed(3)
        draw = q.rsample()
        torch.manual_seed(3)
        assert torch.equal(draw, p.rsample())
    assert torch.equal(q.mean, p.mean)
    assert torch.equal(q.variance, p.variance) or name == "CrossEntropy"
    assert q.base_dist.expand([2, *q.base_dist.batch_shape]).batch_shape == (2, 5, 4, *SHAPE)


def test_values_that_are_wrong_are_still_refused() -> None:
    p = OfSeen(dist.Bernoulli(torch.full((3,), 0.2)))
    with pytest.raises(ValueError, match="support"):
        p.log_prob(torch.tensor([0.5, torch.nan, 1.0]))
    assert p.support.check(torch.tensor([0.5, torch.nan, 1.0])).tolist() == [False, True, True]


def test_linear_gaussian_data_with_missing_values_has_its_exact_evidence() -> None:
    truth, split = truth_with_holes()
    exact = truth.log_evidence_of_seen(split.images).numpy()
    whole = truth.sample(5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(truth.log_evidence_of_seen(whole), truth.log_evidence(whole))
    # Posterior known: the ELBO, and every importance weight, is the evidence itself.
    bound = estimate_elbo(linear_vae(truth), split)
    assert bound.negative_elbo.value == pytest.approx(-exact.mean(), abs=0.2 + 5 * bound.negative_elbo.monte_carlo)
    found = importance_weighted(linear_vae(truth), split, 50)
    np.testing.assert_allclose(found.log_likelihood, exact, atol=1e-4)
    # A guide that is too wide: MIWAE's bound closes in, and quadrature is there.
    wide = linear_vae(truth, 1.5)
    found = importance_weighted(wide, split, 5000)
    assert (np.abs(found.log_likelihood - exact) < 5 * found.error + 1e-3).all()
    np.testing.assert_allclose(quadrature(wide, split, 100).log_likelihood, exact, atol=1e-3)


def test_imputation_meets_the_closed_form() -> None:
    truth, split = truth_with_holes(8)
    mean, scale = (each.reshape(8, *SHAPE).numpy() for each in truth.completion(split.images))
    found = impute(linear_vae(truth, 1.3), split, samples=20_000, draws=4000, mass=0.9)
    missing = found.missing
    error = scale[missing] / np.sqrt(found.effective.min())
    assert (np.abs(found.mean[missing] - mean[missing]) < 5 * error).all()
    assert np.array_equal(found.mean[~missing], split.images.numpy()[~missing])
    assert (np.abs(found.draws.std(0)[missing] / scale[missing] - 1) < 0.1).all()
    for ends, sign in ((found.low, -1), (found.high, 1)):
        np.testing.assert_allclose(ends[missing], (mean + sign * 1.6449 * scale)[missing], atol=0.1 * scale.max())
    assert "effective codes" in found.diagnosis()
    again = impute(linear_vae(truth, 1.3), split, samples=20_000, draws=10)
    assert np.array_equal(again.mean, found.mean)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("seed", range(3))
def test_rows_held_out_correct_intervals_that_are_too_narrow_or_too_wide(scale: float, seed: int) -> None:
    """A model whose noise is `scale` times that of the data: what is hidden is held as often as is said."""
    generator = torch.Generator().manual_seed(seed)
    truth = LinearGaussian.random(SHAPE, 2, scale=0.5, generator=generator)
    wrong = replace(truth, scale=scale * truth.scale)
    rows = [truth.sample(300, generator) for _ in range(2)]
    away = [torch.rand(x.shape, generator=generator) < 0.3 for x in rows]
    few, held_out = (Split(x.masked_fill(gone, torch.nan), torch.zeros(300, dtype=torch.int64))
                     for x, gone in zip(rows, away, strict=True))  # fmt: skip
    found = {}
    for name, own in (("own", None), ("calibrated", held_out)):
        filled = impute(linear_vae(wrong), few, samples=1000, draws=1, held_out=own)
        x = rows[0].numpy()
        found[name] = ((filled.low <= x) & (x <= filled.high))[away[0].numpy()].mean()
        assert (filled.nominal == 0.9) == (own is None)
        assert ("by rows held out, where the model by itself says" in filled.diagnosis()) == (own is not None)
    assert found["calibrated"] == pytest.approx(0.9, abs=0.045)
    if scale != 1.0:
        assert abs(found["calibrated"] - 0.9) < abs(found["own"] - 0.9)


class OfLabel(nn.Module):
    """The mean of each value, by the class alone."""

    def __init__(self, means: torch.Tensor) -> None:
        super().__init__()
        self.means = means

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.means[torch.broadcast_to(y, z.shape[:-1])][..., None, None, :]


class Odds(nn.Module):
    """A classifier's features that do not look at the row."""

    out_features = 1

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        return torch.ones(len(x), 1)


def two_classes() -> pyrovae.SemiSupervisedVAE:
    """p(x | y) = N(0 or 4 in the first value, -3 or 3 in the second; 1), with a q(y | x) that is 0.8 for class 0."""
    model = pyrovae.SemiSupervisedVAE(
        (1, 1, 2),
        2,
        1,
        decoder=lambda shapes, channels: OfLabel(torch.tensor([[0.0, -3.0], [4.0, 3.0]])),
        classifier=lambda shapes: Odds(),
        likelihood=lambda shapes, decoder: Normal(shapes, decoder, scale=1.0),
        missing="zeros",
        class_probabilities=[0.3, 0.7],
    )
    head = next(layer for layer in model.classifier.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.8, 0.2]).log())
    return model


def test_a_hidden_label_is_drawn_from_its_posterior() -> None:
    """A row between two classes has values of both, as often as p(y | x_seen) says, not those of the likelier alone."""
    first = torch.tensor([1.0, 1.8, 2.3, 3.0])
    rows = torch.stack([first, torch.full((4,), torch.nan)], 1)[:, None, None]
    found = impute(two_classes(), Split(rows, torch.tensor([-1, -1, -1, 0])), samples=20_000, draws=20_000)
    odds = 0.7 / 0.3 * torch.exp(4 * first - 8)
    share = (odds / (1 + odds)).numpy()
    share[3] = 0.0  # its label is known
    error = np.sqrt(0.25 / found.effective)
    assert (np.abs((found.draws[..., 1] > 0).mean(0).squeeze() - share) < 5 * error).all()
    assert (np.abs(found.mean[..., 1].squeeze() - (6 * share - 3)) < 6 * 5 * error).all()
    assert found.low[1, 0, 0, 1] < -3 < 3 < found.high[1, 0, 0, 1]


def test_intervals_of_hidden_labels_are_calibrated_by_what_is_left() -> None:
    """Two classes that are far apart: a label that knew a row's hidden values would make its intervals too narrow."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(400, generator=generator) < 0.7).long()
    x = torch.tensor([[0.0, -3.0], [4.0, 3.0]])[y] + torch.randn(400, 2, generator=generator)
    split = Split(x[:, None, None], torch.full((400,), -1))
    found = impute(two_classes(), split.take(range(5)), samples=2000, draws=2, held_out=split)
    assert found.nominal == pytest.approx(0.9, abs=0.04)  # the model is the truth


def test_too_few_values_calibrate_nothing() -> None:
    truth, split = truth_with_holes(12)
    with pytest.raises(ValueError, match=r"by at least 225 values of rows that are held out, and these have 4\d: hold"):
        impute(linear_vae(truth), split, samples=50, held_out=split)


def test_an_encoder_is_given_zeros_and_told_which_they_are() -> None:
    x = torch.tensor([[1.0, torch.nan, 0.0]])[:, None, None]
    shapes = Shapes((1, 1, 3), 2)
    seen: list[torch.Tensor] = []

    class Spy(MLPEncoder):
        def forward(self, x, y=None):
            seen.append(x)
            return super().forward(x, y)

    for missing, channels in (("zeros", 1), ("mask", 2)):
        model = VAE(shapes.image_shape, 2, encoder=Spy, likelihood=Normal, missing=missing)
        seen.clear()
        assert torch.isfinite(model.posterior(x).mean).all()
        assert seen[0].shape == (1, channels, 1, 3)
    assert seen[0].flatten().tolist() == [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert isinstance(model.posterior.encoder, SeenEncoder)
    with pytest.raises(ValueError, match="missing must be one of zeros, mask, or None, got 'yes'"):
        VAE((1, 1, 3), missing="yes")


def holes(rows: int = 200, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 6)) + 0.2 * rng.normal(size=(rows, 6))
    return np.where(rng.random(x.shape) < 0.3, np.nan, x)


@pytest.mark.parametrize("engine", ["pyro", "graph"])
@pytest.mark.parametrize("objective", [TraceELBO(), ImportanceWeighted(k=5), ImportanceWeighted(k=5, gradient="dreg")])
def test_models_of_holes_learn(objective, engine) -> None:
    data = from_values(holes(), np.arange(200) % 2)
    torch.manual_seed(0)
    model = VAE(data.image_shape, 2, likelihood=lambda s, d: Normal(s, d, noise="per_pixel"), missing="mask")
    history = Trainer(objective=objective, epochs=8, engine=engine).fit(model, data, progress=False)
    assert history.rows[-1]["validation_negative_elbo"] < history.rows[0]["validation_negative_elbo"]
    assert np.isfinite(encode(model, data.split("test")).means).all()


@pytest.mark.parametrize("make", [VAE, CVAE, Autoencoder])
def test_every_model_takes_holes(make) -> None:
    data = from_values(holes(60), np.arange(60) % 2)
    settings = {"num_classes": 2} if make is CVAE else {}
    model = make(data.image_shape, likelihood=Normal, missing="mask", **settings)
    if make is not Autoencoder:
        model.prior = (vamp := priors.VampPrior(model.shapes, 10))
        vamp.attach(model.posterior)
    Trainer(epochs=1, engine="pyro").fit(model, data, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if make is Autoencoder:
        with pytest.raises(NotApplicable, match="autoencoder has no density"):
            impute(model, data.split("test"))
    else:
        assert np.isfinite(impute(model, data.split("test"), samples=50).mean).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 5, "draws": 6}, "draws must be at most samples"),
        ({"draws": 0}, "draws must be a whole number of at least 1"),
        ({"mass": 1.0}, "mass must be a number between 0 and 1"),
    ],
)
def test_bad_imputations_get_one_line(settings, message) -> None:
    truth, split = truth_with_holes(4)
    with pytest.raises(ValueError, match=message):
        impute(linear_vae(truth), split, **settings)
    with pytest.raises(NotApplicable, match="not built for missing values"):
        impute(VAE(SHAPE, likelihood=Normal), split)
    with pytest.raises(ValueError, match="no rows to impute"):
        impute(linear_vae(truth), Split(split.images[:0], split.labels[:0]))


def test_holes_are_refused_by_a_model_without_them() -> None:
    data = from_values(holes(60))
    with pytest.raises(ValueError, match="values that are missing, and the model was not built for them: give missing"):
        pyrovae.Trainer(epochs=1).fit(VAE(data.image_shape, likelihood=Normal), data, progress=False)
