"""The inference gap and its two parts, against closed forms."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from intervals import hold

from pyrovae import VAE
from pyrovae.data import ImageSet, fixed_split
from pyrovae.diagnostics.gap import compare
from pyrovae.inference.annealing import Annealing, annealed
from pyrovae.inference.draws import guide_draws
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.inference.local import fed_by_encoder, fit_local
from pyrovae.inference.nuts import nuts_posterior
from pyrovae.likelihoods import CrossEntropy
from pyrovae.posteriors import DiagonalNormal, Flow, FullNormal, Mixture


def normal_kl(mean: np.ndarray, cov: np.ndarray, other_mean: np.ndarray, other: np.ndarray) -> np.ndarray:
    """KL(N(mean, cov) || N(other_mean, other)) of each image."""
    inverse, away = np.linalg.inv(other), other_mean - mean
    distance = np.einsum("nd,ndf,nf->n", away, inverse, away)
    logs = np.linalg.slogdet(other)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(inverse @ cov, axis1=-2, axis2=-1) + distance - mean.shape[1] + logs)


@pytest.mark.parametrize("truth", ["quadrature", "nuts"])
def test_the_split_is_the_closed_form(known, truth: str) -> None:
    model = known.model(DiagonalNormal)
    best = fit_local(model, known.split, steps=250)
    if truth == "quadrature":
        found = compare(model, known.split, quadrature_posterior(model, known.split, 64), best=best)
    else:
        draws = nuts_posterior(model, known.split, warmup=40, draws=100)
        found = compare(model, known.split, draws, best=best)
    mean, covariance = known.mean.numpy(), known.covariance.expand(3, -1, -1).numpy()
    gap, reverse = normal_kl(*found.guide, mean, covariance), normal_kl(mean, covariance, *found.guide)
    assert known.approximation > 0.3
    for part, expected in (
        (found.log_evidence, known.truth.log_evidence(known.x).numpy()),
        (found.gap, gap),
        (found.approximation, known.approximation),
        (found.amortisation, gap - known.approximation),
        (found.reverse, reverse),
    ):
        assert np.abs((part.value - expected) / (part.error + 5e-3)).max() < 3.5
    np.testing.assert_allclose(found.gap.value, found.approximation.value + found.amortisation.value)
    assert found.gap.mean.value == pytest.approx(found.gap.value.mean())
    # The best diagonal Normal has the true mean, and the inverse of the precision's diagonal as its variances.
    np.testing.assert_allclose(found.best[0], mean, atol=0.03)
    precision = np.linalg.inv(known.covariance.numpy())
    np.testing.assert_allclose(found.best[1][:, [0, 1], [0, 1]], 1 / np.diag(precision)[None].repeat(3, 0), rtol=0.06)
    assert len(found.table(["a", "b", "c"]).splitlines()) == 6
    assert "log p(x)" in str(found)


@pytest.mark.parametrize("source", ["quadrature", "NUTS"])
def test_its_errors_hold_in_19_of_20_cases(many, source: str) -> None:
    """Of a hundred seeds, for the means; the best q that was found is held to its own KL."""
    model = many.model(DiagonalNormal)
    best = fit_local(model, many.split, steps=100)
    if source == "NUTS":
        truth = nuts_posterior(model, many.split, warmup=30, draws=60, together=20)
    else:
        truth = quadrature_posterior(model, many.split)
    mean, covariance = many.mean.numpy(), many.covariance.expand(20, -1, -1).numpy()
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(100):
        each = compare(model, many.split, truth, best=best, samples=500, seed=seed)
        gap, approximation = (normal_kl(*q, mean, covariance) for q in (each.guide, each.best))
        exact = {"gap": gap, "approximation": approximation, "amortisation": gap - approximation}
        for name, kl in exact.items():
            part = getattr(each, name)
            found.setdefault(name, []).append((part.mean.value - kl.mean(), part.mean.monte_carlo))
    assert each.method == ("NUTS, log p(x) by 500 codes" if source == "NUTS" else "quadrature")
    for pairs in found.values():
        hold(*np.array(pairs).T)


def test_annealing_stands_in_for_the_moments_of_draws(deep) -> None:
    """log p(x) of four dimensions, where there is no grid; the gap takes its error along."""
    model, exact = deep.model(DiagonalNormal), deep.truth.log_evidence(deep.x).numpy()
    best, draws = fit_local(model, deep.split, steps=100), nuts_posterior(model, deep.split, warmup=40, draws=40)
    evidence = annealed(model, deep.split, Annealing(80, 32, 5))
    found = compare(model, deep.split, draws, best=best, evidence=evidence)
    assert np.array_equal(found.log_evidence.value, evidence.log_likelihood + evidence.bias)
    assert (np.abs(found.log_evidence.value - exact) < 3.5 * evidence.error).all()
    mean, covariance = deep.mean.numpy(), deep.covariance.expand(3, -1, -1).numpy()
    for part, q in ((found.gap, found.guide), (found.approximation, found.best)):
        assert (np.abs(part.value - normal_kl(*q, mean, covariance)) < 3.5 * part.error).all()
        assert (part.error > evidence.error).all()
    assert "truth by NUTS, log p(x) annealed, 80 temperatures from the prior, 32 chains" in str(found)
    with pytest.raises(ValueError, match="must be of the same images, got 2 for 3 images"):
        compare(model, deep.split, draws, evidence=annealed(model, deep.split.take([0, 1]), Annealing(1, 2, 1)))


@pytest.mark.parametrize("posterior", [FullNormal, Mixture, Flow])
def test_other_families_come_closer(known, posterior: type) -> None:
    """A full Normal has no approximation gap at all, and richer families less than a diagonal one."""
    model = known.model(posterior)
    best = fit_local(model, known.split, steps=120 if posterior is Flow else 300)
    found = compare(model, known.split, quadrature_posterior(model, known.split, 64), best=best, samples=2000)
    assert np.abs(found.approximation.value).max() < (0.02 if posterior is FullNormal else known.approximation + 0.1)
    if posterior is Mixture:
        assert found.approximation.mean.value < 0.7 * known.approximation
    assert (found.amortisation.value > 0).all()


def test_a_posterior_of_ones_own_is_fed_through_its_encoder(known) -> None:
    class Own(torch.nn.Module):
        def __init__(self, shapes, encoder) -> None:
            super().__init__()
            self.encoder, self.loc = encoder, torch.nn.Linear(encoder.out_features, shapes.latent_dim)

        def forward(self, x, y=None):
            loc = self.loc(self.encoder(x, y))
            return dist.Normal(loc, torch.full_like(loc, 0.4)).to_event(1)

    model = known.model(Own)
    names = [name for name, _ in model.named_modules()]
    best = fit_local(model, known.split, steps=300)
    assert [name for name, _ in model.named_modules()] == names
    with torch.no_grad():
        np.testing.assert_allclose(best(known.x, None).mean, known.mean, atol=0.05)
    with pytest.raises(ValueError, match="must keep its encoder in the attribute encoder"):
        fed_by_encoder(torch.nn.Linear(2, 2), known.x, None)


def test_grey_pixels_are_called_what_they_are(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = VAE((1, 8, 8), 2, likelihood=CrossEntropy)
    split = fixed_split(few_digits.split("validation"), "none").take([0, 1])
    best = fit_local(model, split, steps=20)
    found = compare(model, split, quadrature_posterior(model, split, 32), best=best, samples=500)
    again = compare(model, split, quadrature_posterior(model, split, 32), best=best, samples=500)
    assert "Gibbs posterior exp(-cross-entropy) p(z)" in str(found)
    assert "log p(x)" not in found.table()
    assert found.to_dict() == again.to_dict()
    with pytest.raises(ValueError, match="the truth of the same images"):
        compare(model, split, guide_draws(model, split.take([0])))
