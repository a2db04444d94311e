"""Predictive intervals, completions and class probabilities, against closed forms."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from pyrovae import CVAE, VAE
from pyrovae.data import ImageSet, Split, fixed_split
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.inference.classes import ClassPosterior, classify
from pyrovae.inference.draws import guide_draws
from pyrovae.inference.inpainting import half, inpaint
from pyrovae.likelihoods import CrossEntropy, Normal
from pyrovae.posteriors import DiagonalNormal


def test_intervals_are_those_of_the_closed_form(many, exact) -> None:
    """x* given x is Normal(W m + b, W S W' + scale² I)."""
    found = predictive_check(exact, many.split, guide_draws(exact, many.split, 4000), draws=4000)
    weight = many.truth.weight.double()
    centre = many.mean @ weight.T + many.truth.offset
    scale = (weight @ many.covariance @ weight.T).diagonal().add(0.36).sqrt()
    lower, upper = (norm.ppf(p, centre, scale).reshape(found.lower.shape) for p in (0.05, 0.95))
    error = float(scale.max()) * np.sqrt(0.05 * 0.95 / 4000) / norm.pdf(norm.ppf(0.05))
    assert np.abs(found.lower - lower).max() < 5 * error
    assert np.abs(found.upper - upper).max() < 5 * error
    np.testing.assert_allclose(found.mean.reshape(20, -1), centre, atol=0.05)
    inside = (found.x >= lower) & (found.x <= upper)
    assert np.abs(found.coverage - inside.mean((1, 2, 3))).max() <= 1 / 6 + 1e-9
    assert found.to_dict()["source"] == "guide"


def test_what_is_not_seen_is_covered_as_often_as_promised(drawn) -> None:
    """Images of the model, half of each unseen: 90 % intervals hold 90 % of the unseen pixels."""
    model, seen = drawn.model(DiagonalNormal), half((1, 2, 3), "top")
    found = inpaint(model, drawn.split, seen)
    check = predictive_check(model, drawn.split, found.posterior, counted=~seen, draws=1000)
    assert check.coverage.shape == (100,)
    assert abs(check.coverage.mean() - 0.9) < 3.5 * check.coverage.std() / 10
    assert (check.counted == ~seen.numpy()).all()


def test_completions_agree_and_do_not_peek(known) -> None:
    model = known.model(DiagonalNormal)
    seen = half((1, 2, 3), "left")
    other = Split(torch.where(seen, known.split.images, 255 - known.split.images), known.split.labels)
    exact = inpaint(model, known.split, seen, completions=4)
    assert exact.completions.shape == (3, 4, 1, 2, 3)
    assert exact.grid().shape == (3, 7, 1, 2, 3)
    for found in (exact, inpaint(model, other, seen, completions=4)):
        where = found.seen[:, None].repeat(4, 1)
        np.testing.assert_array_equal(found.completions[where], found.x[:, None].repeat(4, 1)[where])
        np.testing.assert_allclose(found.posterior.mean, exact.posterior.mean, atol=1e-6)
    fits = [inpaint(model, split, seen, method="svi").posterior for split in (known.split, other)]
    assert np.array_equal(fits[0].z, fits[1].z)
    np.testing.assert_allclose(fits[0].mean, exact.posterior.mean, atol=0.15)


def test_masks_and_methods() -> None:
    assert half((3, 5, 4), "right")[:, :, 2:].all()
    assert half((3, 5, 4), "right").sum() == 3 * 5 * 2
    assert half((1, 5, 4), "bottom").sum() + half((1, 5, 4), "top").sum() == 20
    with pytest.raises(ValueError, match="must be one of left, right, top, bottom, got 'middle'"):
        half((1, 4, 4), "middle")


class _Shifted(nn.Module):
    """Pixels of class y around 0.3 y whatever the code: p(x | y) is a Normal."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        mean = 0.3 * y + self.zero
        return mean[..., None, None, None].expand(*z.shape[:-1], 1, 2, 2) + 0 * z.sum(-1)[..., None, None, None]


def test_class_probabilities_are_bayes_rule() -> None:
    model = CVAE((1, 2, 2), 3, 2, decoder=lambda s, c: _Shifted(), likelihood=lambda s, d: Normal(s, d, scale=0.5))
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    noise = 0.2 * torch.randn(200, 1, 2, 2, generator=generator)
    images = ((0.3 * labels[:, None, None, None] + noise).clamp(0, 1) * 255).to(torch.uint8)
    prior = np.array([0.5, 0.3, 0.2])
    model.posterior = nn.Module()
    model.posterior.forward = lambda x, y=None: model.prior(y).expand([len(x)])  # q = p(z | x), as x says nothing of z
    found = classify(model, Split(images, labels), 3, prior=prior)
    x = (images / 255.0).flatten(1).numpy()
    logs = np.stack([norm.logpdf(x, 0.3 * k, 0.5).sum(1) for k in range(3)], 1) + np.log(prior)
    expected = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)
    assert found.accuracy.value == pytest.approx((expected.argmax(1) == labels.numpy()).mean())
    assert found.log_score.value == pytest.approx(-np.log(expected[np.arange(200), labels]).mean(), abs=1e-4)
    assert "k = 3" in str(found)


def test_reliability_of_probabilities_that_are_right() -> None:
    """Labels drawn from the probabilities themselves: the curve is the diagonal within its errors."""
    rng = np.random.default_rng(0)
    logs = 2 * rng.normal(size=(4000, 4))
    draft = ClassPosterior(logs, np.full(4, 0.25), np.zeros(4000, int), 1)
    labels = (draft.probabilities.cumsum(1) < rng.random((4000, 1))).sum(1)
    curve = ClassPosterior(logs, np.full(4, 0.25), labels, 1).reliability()
    assert curve.counts.sum() == 4000
    assert np.abs((curve.accuracy - curve.confidence) / curve.error).max() < 3.5
    assert curve.expected_error < 0.03


def test_what_cannot_be_is_said(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic").take([0, 1])
    vae = VAE((1, 8, 8), 2)
    with pytest.raises(ValueError, match=r"no p\(x \| y\): use a CVAE"):
        classify(vae, split)
    with pytest.raises(ValueError, match="the prior must be 10 probabilities that add up to 1"):
        classify(CVAE((1, 8, 8), 10, 2), split, prior=[0.5, 0.5])
    with pytest.raises(ValueError, match="which is no density"):
        predictive_check(VAE((1, 8, 8), 2, likelihood=CrossEntropy), split, guide_draws(vae, split))
    with pytest.raises(ValueError, match="draws of the same images"):
        predictive_check(vae, split, guide_draws(vae, split.take([0])))
    with pytest.raises(ValueError, match="method must be one of auto, quadrature, nuts, svi"):
        inpaint(vae, split, half((1, 8, 8), "left"), method="magic")
