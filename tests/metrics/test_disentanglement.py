"""Disentanglement: perfect, rotated and random codes, closed forms of information, and the rendered shapes."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrovae import VAE
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet, load_images
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes
from pyrovae.metrics import (
    EvaluationBudget,
    Factors,
    Importance,
    Policy,
    evaluate,
    importance,
    information_gap,
    separation,
)

LEVELS = (3, 5, 8)
NAMES = ("kind", "size", "place")


def grid() -> Factors:
    """Every combination of three factors, ten times: a category and two amounts."""
    combinations = list(itertools.product(*map(range, LEVELS))) * 10
    return Factors(np.array(combinations, dtype=np.float64), NAMES, (True, False, False))


def codes_of(means: np.ndarray) -> Codes:
    return Codes(means, np.ones_like(means), means, np.zeros(len(means), dtype=np.int64))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_entropies_are_logarithms_of_the_levels() -> None:
    factors = grid()
    found = information_gap(codes_of(factors.values), factors)
    np.testing.assert_allclose(found.entropies, np.log(LEVELS))


def test_a_perfect_code_has_every_score() -> None:
    """A dimension for each factor, in another order, scaled and turned round."""
    factors = grid()
    means = np.stack([-3 * factors.values[:, 2], factors.values[:, 0] + 1, 0.1 * factors.values[:, 1]], 1)
    codes, pair = codes_of(means), (factors, factors)
    found = information_gap(codes, factors)
    np.testing.assert_allclose(found.gaps, 1.0)
    np.testing.assert_allclose(found.information[[1, 2, 0], [0, 1, 2]], np.log(LEVELS))
    assert found.score.value == pytest.approx(1.0)
    separated = separation(codes, codes, pair)
    np.testing.assert_allclose(separated.gaps, [1 - 1 / 3, 1.0, 1.0], atol=1e-6)  # a category has its chance level
    used = importance(codes, codes, pair)
    assert used.disentanglement.value > 0.99
    assert used.completeness.value > 0.99
    assert used.informativeness.value > 0.99
    np.testing.assert_allclose(used.weights.sum(0), 1.0)


def test_a_rotated_code_has_no_gap() -> None:
    """Two factors turned by 45 degrees: both dimensions know as much of both, and the forest needs both."""
    rows = list(itertools.product(range(8), range(8))) * 10
    factors = Factors(np.array(rows, dtype=np.float64), ("a", "b"), (False, False))
    centred = factors.values - 3.5
    turned = centred @ np.array([[1.0, 1.0], [-1.0, 1.0]]) / math.sqrt(2)
    straight, codes, pair = codes_of(centred), codes_of(turned), (factors, factors)
    assert information_gap(straight, factors).score.value == pytest.approx(1.0)
    assert information_gap(codes, factors).score.value == pytest.approx(0.0, abs=0.02)
    assert separation(codes, codes, pair).score.value == pytest.approx(0.0, abs=1e-9)
    used = importance(codes, codes, pair)
    assert used.disentanglement.value < 0.05
    assert used.completeness.value < 0.05
    assert used.informativeness.value > 0.9


def test_a_random_code_knows_nothing() -> None:
    factors = grid()
    train, test = (codes_of(rng().permutation(rng().normal(size=(1200, 4)))) for _ in range(2))
    train = codes_of(np.random.default_rng(1).normal(size=(1200, 4)))
    pair = (factors, factors)
    assert information_gap(test, factors, bins=4).score.value < 0.02
    assert separation(train, test, pair).score.value < 0.06
    assert importance(train, test, pair).informativeness.value < 0.15  # a third of the category by chance


def test_information_through_noise_is_its_closed_form() -> None:
    """A bit that is turned round with probability 0.1: log 2 - H(0.1) nats."""
    bit = rng().integers(0, 2, 200_000)
    seen = np.where(rng().random(200_000) < 0.1, 1 - bit, bit)
    factors = Factors(bit[:, None].astype(float), ("bit",), (False,))
    means = np.stack([seen, rng().random(200_000)], 1).astype(float)
    found = information_gap(codes_of(means), factors, bins=2)
    exact = math.log(2) + 0.1 * math.log(0.1) + 0.9 * math.log(0.9)
    assert found.information[0, 0] == pytest.approx(exact, abs=0.005)
    assert found.information[1, 0] == pytest.approx(0.0, abs=1e-4)
    assert found.score.value == pytest.approx(exact / math.log(2), abs=0.01)


def test_predictability_of_an_amount_is_the_squared_correlation() -> None:
    """z = v + noise of the same variance: r^2 = 1/2; and the score of a dimension does not know the others."""
    v = rng().normal(size=50_000)
    means = np.stack([v + np.random.default_rng(1).normal(size=50_000), np.ones(50_000)], 1)
    factors = Factors(v[:, None], ("v",), (False,))
    found = separation(codes_of(means), codes_of(means), (factors, factors))
    assert found.scores[0, 0] == pytest.approx(0.5, abs=0.02)
    assert found.scores[1, 0] == 0.0  # a dimension that never changes


def test_a_factor_in_two_dimensions_is_incomplete_but_disentangled() -> None:
    factors = Factors(rng().random((2000, 2)), ("a", "b"), (False, False))
    a, b = factors.values.T
    codes = codes_of(np.stack([a, a + 1e-3 * rng().random(2000), b], 1))
    found = importance(codes, codes, (factors, factors))
    assert found.disentanglement.value > 0.98
    assert found.completeness.value < 0.9
    gaps = information_gap(codes, factors).gaps
    assert gaps[0] < 0.1
    assert gaps[1] > 0.9


def noisy(seed: int, images: int = 400) -> tuple[Codes, Factors]:
    """A category of three and an amount, each in a dimension of its own through noise, and some in the other's."""
    generator = np.random.default_rng(seed)
    kind, size = generator.integers(0, 3, images), generator.normal(size=images)
    z = np.stack([kind + 0.5 * size, size + 0.3 * kind], 1) + 0.7 * generator.normal(size=(images, 2))
    return codes_of(z), Factors(np.stack([kind, size], 1).astype(float), ("kind", "size"), (True, False))


@pytest.mark.parametrize("name", ["MIG", "SAP", "informativeness"])
def test_sampling_errors_are_the_spread_over_samples(name: str) -> None:
    """Of 60 samples of 400 images: the mean squared error is their variance, up to a factor of two."""
    fitted, known = noisy(1000)

    def score(seed: int) -> Estimate:
        codes, factors = noisy(seed)
        if name == "MIG":
            return information_gap(codes, factors, bins=5).score
        pair = (known, factors)
        return separation(fitted, codes, pair).score if name == "SAP" else forest(codes, pair).informativeness

    def forest(codes: Codes, pair: tuple[Factors, Factors]) -> Importance:
        return importance(fitted, codes, pair, trees=3)

    found = [score(seed) for seed in range(60)]
    ratio = np.mean([each.sampling**2 for each in found]) / np.var([each.value for each in found], ddof=1)
    assert 0.5 < ratio < 2.0
    assert all(math.isnan(each.monte_carlo) for each in found)


def test_monte_carlo_errors_are_the_spread_over_forests() -> None:
    codes, factors = noisy(0)
    found = [importance(codes, codes, (factors, factors), trees=20, seed=seed) for seed in range(25)]
    for name in ("disentanglement", "completeness"):
        scores = [getattr(each, name) for each in found]
        ratio = np.mean([each.monte_carlo**2 for each in scores]) / np.var([each.value for each in scores], ddof=1)
        assert 0.4 < ratio < 2.5
        assert all(math.isnan(each.sampling) for each in scores)


def test_few_images_have_errors_and_one_tree_has_none() -> None:
    codes, factors = noisy(0, images=12)
    assert math.isfinite(information_gap(codes, factors).score.sampling)
    used = importance(codes, codes, (factors, factors), trees=1)
    assert math.isnan(used.disentanglement.monte_carlo)
    assert math.isfinite(used.informativeness.sampling)


@pytest.fixture(scope="module")
def shapes() -> ImageSet:
    return load_images("shapes")


def test_factors_of_the_rendered_shapes(shapes: ImageSet) -> None:
    factors = Factors.of(shapes, "test")
    assert factors.names == ("shape", "scale", "rotation", "x", "y")
    assert factors.categories == (True, False, False, False, False)
    assert len(factors) == len(shapes.splits["test"])
    np.testing.assert_array_equal(factors.values[:, 0], shapes.split("test").labels.numpy())
    codes = codes_of(factors.values)
    assert information_gap(codes, factors).score.value > 0.99


def test_the_report_has_the_scores_where_factors_are_known(shapes: ImageSet, digits: ImageSet) -> None:
    index = {name: rows[:: max(1, len(rows) // 300)] for name, rows in shapes.splits.items()}
    few = replace(shapes, splits=index)
    torch.manual_seed(0)
    model, policy = VAE(few.image_shape, 3), Policy("shapes", "test", "none", "NLL")
    budget = EvaluationBudget(images=2, samples=2, others=50)
    pair = Factors.of(few, "train"), Factors.of(few, "test")
    train, test = (replace(few.split(name), images=few.split(name).images // 255 * 255) for name in ("train", "test"))
    report = evaluate(model, test, policy, budget, train=train, factors=pair)
    rows = {row.name: row for row in report.rows}
    for name in ("MIG", "SAP", "DCI disentanglement", "DCI completeness", "DCI informativeness"):
        assert 0 <= rows[name].estimate.value <= 1
        assert rows[name].images == len(test)
        assert rows[name].estimate.error > 0
    flat = VAE(few.image_shape, 1)
    assert (
        "a single dimension"
        in evaluate(flat, test, policy, budget, train=train, factors=pair).missing["disentanglement"]
    )
    with pytest.raises(NotApplicable, match="factors of the images of digits are not known; those of the set shapes"):
        Factors.of(digits, "test")


@pytest.mark.parametrize(
    ("values", "names", "categories", "message"),
    [
        (np.zeros((4, 2)), ("a",), (False,), r"factors must be of shape \(images, 1\), .* got \(4, 2\)"),
        (np.zeros((4, 1)), ("a",), (), "got .* and 0 categories"),
        (np.zeros(4), ("a",), (False,), r"got \(4,\)"),
    ],
)
def test_wrong_factors_are_refused(values: np.ndarray, names: tuple, categories: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Factors(values, names, categories)


def test_what_cannot_be_compared_is_refused() -> None:
    factors = grid()
    with pytest.raises(ValueError, match="factors for each code, got 1200 for 7 codes"):
        information_gap(codes_of(rng().random((7, 2))), factors)
    with pytest.raises(NotApplicable, match="single dimension"):
        separation(codes_of(factors.values[:, :1]), codes_of(factors.values), (factors, factors))
    still = Factors(np.zeros((1200, 1)), ("colour",), (False,))
    with pytest.raises(NotApplicable, match="factor 'colour' has the same value in every image: leave it out"):
        importance(codes_of(factors.values), codes_of(factors.values), (still, still))
    with pytest.raises(ValueError, match="bins must be"):
        information_gap(codes_of(factors.values), factors, bins=1)
