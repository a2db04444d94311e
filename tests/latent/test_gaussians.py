"""Class Gaussians, ellipses and comparisons, against closed forms and brute force."""

from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from pyrovae import VAE, Autoencoder
from pyrovae.data import ImageSet, fixed_split
from pyrovae.latent import (
    Codes,
    agreement,
    class_ellipses,
    class_gaussians,
    compare_classes,
    ellipse,
    encode,
    lda_plane,
    pair_plane,
    pca_plane,
)
from pyrovae.latent.comparison import bhattacharyya, gaussian_kl
from pyrovae.latent.gaussians import squared_radius
from pyrovae.latent.planes import find_plane

MEANS = np.array([[0.0, 0.0], [3.0, -1.0]])
COVARIANCES = np.array([[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.5]]])


def gaussian_codes(n: int = 4000, seed: int = 0, width: float = 0.3) -> Codes:
    """Two classes whose aggregate posteriors are exactly N(MEANS, COVARIANCES): narrow posteriors, spread means."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], n)
    own = width**2 * np.eye(2)
    means = np.concatenate([rng.multivariate_normal(m, c - own, n) for m, c in zip(MEANS, COVARIANCES, strict=True)])
    draws = means + width * rng.normal(size=means.shape)
    return Codes(means, np.full_like(means, width**2), draws, labels)


def test_known_moments_are_recovered_within_the_bootstraps_errors() -> None:
    found = class_gaussians(gaussian_codes())
    assert (np.abs(found.means - MEANS) < 5 * found.mean_errors).all()
    assert (np.abs(found.covariances - COVARIANCES) < 5 * found.covariance_errors).all()
    expected = np.sqrt(np.array([np.diag(c) for c in COVARIANCES]) - 0.09) / np.sqrt(4000)
    np.testing.assert_allclose(found.mean_errors, expected, rtol=0.25)


def test_aggregate_moments_are_a_mixtures_and_the_average_is_not() -> None:
    """Against brute-force sampling of the mixture, with covariances that differ from image to image."""
    rng = np.random.default_rng(1)
    means = rng.normal(size=(50, 3))
    factors = rng.normal(size=(50, 3, 3)) * 0.5
    covariances = factors @ factors.transpose(0, 2, 1)
    codes = Codes(means, covariances, means, np.zeros(50, int))
    draws = np.concatenate([rng.multivariate_normal(m, c, 20_000) for m, c in zip(means, covariances, strict=True)])
    found = class_gaussians(codes, bootstrap=0)
    np.testing.assert_allclose(found.means[0], draws.mean(0), atol=0.01)
    np.testing.assert_allclose(found.covariances[0], np.cov(draws.T), atol=0.03)
    averaged = class_gaussians(codes, estimate="averaged", bootstrap=0)
    np.testing.assert_allclose(averaged.covariances[0], covariances.mean(0))
    assert np.isnan(averaged.mean_errors).all()


def test_the_bootstrap_is_the_one_that_copies_images() -> None:
    codes = gaussian_codes(n=300).of_class(0)
    found = class_gaussians(codes, bootstrap=400)
    rng = np.random.default_rng(5)
    slow = [class_gaussians(codes.take(rng.integers(0, 300, 300)), bootstrap=0) for _ in range(400)]
    np.testing.assert_allclose(found.mean_errors[0], np.std([g.means[0] for g in slow], axis=0), rtol=0.2)
    np.testing.assert_allclose(found.covariance_errors[0], np.std([g.covariances[0] for g in slow], axis=0), rtol=0.2)


@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_an_ellipse_holds_its_mass_and_is_of_equal_density(mass: float) -> None:
    found = ellipse(MEANS[0], COVARIANCES[0], mass)
    normal = stats.multivariate_normal(MEANS[0], COVARIANCES[0])
    densities = normal.pdf(found.outline())
    np.testing.assert_allclose(densities, densities[0], rtol=1e-9)
    # The mass inside a contour of a 2-D Gaussian is one minus its density relative to the peak.
    assert 1 - densities[0] / normal.pdf(MEANS[0]) == pytest.approx(mass, rel=1e-9)
    assert squared_radius(mass) == pytest.approx(stats.chi2.ppf(mass, 2), rel=1e-12)
    assert found.half_axes[0] > found.half_axes[1]
    assert -np.pi / 2 < found.angle <= np.pi / 2


def test_coverage_is_the_mass_for_gaussians_and_not_for_a_banana() -> None:
    codes = gaussian_codes()
    masses = (0.3, 0.5, 0.9, 0.99)
    for nested in class_ellipses(codes, class_gaussians(codes, bootstrap=0), masses).values():
        for one in nested:
            error = np.sqrt(one.mass * (1 - one.mass) / 4000)
            assert abs(one.coverage - one.mass) < 5 * error
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    banana = x @ np.diag([2.0, 0.2]) + np.stack([np.zeros(4000), 0.8 * np.square(2 * x[:, 0])], 1)
    codes = Codes(banana, np.full((4000, 2), 1e-4), banana, np.zeros(4000, int))
    half = class_ellipses(codes, class_gaussians(codes, bootstrap=0), [0.5])[0][0]
    assert abs(half.coverage - 0.5) > 10 * np.sqrt(0.25 / 4000)


def test_comparisons_are_the_closed_forms() -> None:
    codes = gaussian_codes(n=20_000)
    gaussians = class_gaussians(codes, bootstrap=0)
    p, q = (stats.multivariate_normal(m, c) for m, c in zip(gaussians.means, gaussians.covariances, strict=True))

    def integral(f) -> float:
        axis = np.linspace(-9, 9, 601)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
        return integrate.simpson(integrate.simpson(f(grid), x=axis), x=axis)

    kl = integral(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)))
    assert gaussian_kl(p.mean, p.cov, q.mean, q.cov) == pytest.approx(kl, rel=1e-4)
    distance = -np.log(integral(lambda z: np.sqrt(p.pdf(z) * q.pdf(z))))
    assert bhattacharyya(p.mean, p.cov, q.mean, q.cov) == pytest.approx(distance, rel=1e-4)
    found = compare_classes(codes, gaussians)
    assert found.bhattacharyya[0, 1] == pytest.approx(distance, rel=1e-4)
    assert found.symmetric_kl[0, 1] == found.symmetric_kl[1, 0] > kl
    shared = integral(lambda z: np.minimum(p.pdf(z), q.pdf(z)))
    assert found.overlap[0, 1] == pytest.approx(shared, abs=0.01)
    right = 1 - shared / 2
    assert abs(found.bayes_accuracy.value - right) < 5 * found.bayes_accuracy.sampling
    log2 = integral(lambda z: 0.5 * sum(a.pdf(z) * (a.logpdf(z) - np.log((p.pdf(z) + q.pdf(z)) / 2)) for a in (p, q)))
    assert abs(found.information.value - log2) < 5 * found.information.sampling
    assert found.chance == 0.5
    assert "Bayes rule" in str(found)


def test_classes_that_are_the_prior_are_found_to_be() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(6000, 2))
    codes = Codes(0.8 * z, np.full((6000, 2), 0.36), 0.8 * z + 0.6 * rng.normal(size=z.shape), np.arange(6000) % 3)
    found = compare_classes(codes, class_gaussians(codes))
    assert found.kl_from_prior.max() < 0.01
    assert found.aggregate_kl_from_prior < 0.002
    assert abs(found.bayes_accuracy.value - 1 / 3) < 0.03
    assert abs(found.information.value) < 5 * found.information.sampling + 0.002
    assert found.overlap.min() > 0.9


def test_agreement_accepts_two_halves_and_refuses_a_shift() -> None:
    one, other = (class_gaussians(gaussian_codes(seed=seed)) for seed in (1, 2))
    assert agreement(one, other).p_value > 0.01
    codes = gaussian_codes(seed=3)
    moved = Codes(codes.means + np.array([0.15, 0]), codes.variances, codes.draws, codes.labels)
    found = agreement(one, class_gaussians(moved))
    assert found.p_value < 1e-4
    assert (found.symmetric_kl > 0).all()
    with pytest.raises(ValueError, match="two sets of the same classes"):
        agreement(one, class_gaussians(codes, [0]))
    with pytest.raises(ValueError, match="needs standard errors"):
        agreement(one, class_gaussians(codes, bootstrap=0))


def test_planes() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 3
    means = rng.normal(size=(3000, 4)) * [1, 5, 1, 1]
    means[:, 2] += 4 * (labels == 1)
    means[:, 3] += 4 * (labels == 2)
    codes = Codes(means, np.full((3000, 4), 0.1), means, labels)
    np.testing.assert_allclose(np.abs(pca_plane(codes).axes[0]), [0, 1, 0, 0], atol=0.05)
    discriminant = lda_plane(codes).axes
    np.testing.assert_allclose(discriminant[:, :2], 0, atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(discriminant, axis=1), 1)
    pair = pair_plane(4, 3, 1)
    np.testing.assert_allclose(codes.project(pair.axes).means, means[:, [3, 1]])
    assert pair.names == ("z[3]", "z[1]")
    assert find_plane(codes, "lda").names[0] == "1st discriminant"
    axes = rng.normal(size=(2, 4))
    np.testing.assert_allclose(codes.project(axes).covariances()[0], 0.1 * axes @ axes.T)


def test_codes_save_and_read(tmp_path: Path, few_digits: ImageSet) -> None:
    codes = encode(VAE((1, 8, 8), 3), fixed_split(few_digits.split("train"), "dynamic"))
    codes.save(tmp_path / "codes.npz")
    again = Codes.read(tmp_path / "codes.npz")
    for name in ("means", "variances", "draws", "labels", "exact"):
        assert np.array_equal(getattr(codes, name), getattr(again, name))
    (tmp_path / "codes.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no codes"):
        Codes.read(tmp_path / "codes.npz")


def test_what_cannot_be_is_said(few_digits: ImageSet) -> None:
    codes = gaussian_codes(n=10)
    with pytest.raises(ValueError, match="class 7 has no images here; there are classes 0, 1"):
        class_gaussians(codes, [7])
    with pytest.raises(ValueError, match=r"mass must be a number between 0 and 1, got 1\.5"):
        ellipse(MEANS[0], COVARIANCES[0], 1.5)
    with pytest.raises(ValueError, match="an ellipse needs two dimensions"):
        ellipse(np.zeros(3), np.eye(3), 0.5)
    with pytest.raises(ValueError, match="needs a code of at least two dimensions, this one has 1"):
        pair_plane(1)
    with pytest.raises(ValueError, match="two different dimensions from 0 to 2, got 0 and 3"):
        pair_plane(3, 0, 3)
    with pytest.raises(ValueError, match="at least three of them, got 2"):
        lda_plane(codes)
    with pytest.raises(ValueError, match="must be pair, pca or lda"):
        find_plane(codes, "tsne")
    with pytest.raises(ValueError, match=r"shrink must be a number from 0 to 1, got 2\.0"):
        class_gaussians(codes, shrink=2.0)
    with pytest.raises(ValueError, match="estimate must be one of aggregate, averaged, got 'means'"):
        class_gaussians(codes, estimate="means")
    with pytest.raises(ValueError, match="none of the codes is of one of the classes"):
        compare_classes(codes.of_class(1), class_gaussians(codes, [0]))
    few = encode(Autoencoder((1, 8, 8), 20), fixed_split(few_digits.split("validation"), "dynamic"))
    with pytest.raises(ValueError, match=r"covariance of class \d is singular: it has \d+ images in 20 dimensions"):
        class_gaussians(few)
    assert class_gaussians(few, shrink=0.2, bootstrap=0).covariances.shape == (10, 20, 20)
