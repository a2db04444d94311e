"""The classifier of pictures, and the distance of pictures from real images."""

import numpy as np
import pytest
import torch

from pyrovae.data import ImageSet, to_unit
from pyrovae.metrics.classifier import (
    Classifier,
    Predictions,
    accuracy,
    frechet_distance,
    predict_classes,
    train_classifier,
)


@pytest.fixture(scope="module")
def trained(digits: ImageSet) -> Classifier:
    return train_classifier(digits, epochs=20, batch_size=32)


def test_it_names_digits(trained: Classifier, digits: ImageSet) -> None:
    found = accuracy(trained, digits.split("test"))
    share, error = found.value, found.sampling
    assert share > 0.95
    assert error == pytest.approx(np.sqrt(share * (1 - share) / len(digits.split("test"))))


def test_the_same_seed_gives_the_same_bits_and_the_world_is_left_alone(few_digits: ImageSet) -> None:
    state = torch.get_rng_state()
    steps = []
    one = train_classifier(few_digits, epochs=1, after_step=lambda: steps.append(1))
    other = train_classifier(few_digits, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(steps) == -(-len(few_digits.splits["train"]) // 64)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_judging_changes_nothing_and_does_not_depend_on_the_batch(trained: Classifier, digits: ImageSet) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    images = to_unit(digits.images[:1200]).numpy()
    whole = predict_classes(trained, images)
    assert whole.probabilities.shape == (1200, 10)
    np.testing.assert_allclose(whole.probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        predict_classes(trained, images[1100:]).features, whole.features[1100:], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(
        predict_classes(trained, 5 * images - 2).labels, predict_classes(trained, (5 * images - 2).clip(0, 1)).labels
    )
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_confidence_and_entropy() -> None:
    found = Predictions(np.array([[1.0, 0.0], [0.5, 0.5], [0.89, 0.11]]), np.zeros((3, 1)))
    np.testing.assert_array_equal(found.confident, [True, False, False])
    np.testing.assert_allclose(found.entropies[:2], [0, np.log(2)], atol=1e-6)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="at least 4x4 pixels, got 2x8"):
        Classifier((1, 2, 8), 10)
    with pytest.raises(ValueError, match=r"must be of shape \(N, C, H, W\), got \(8, 8\)"):
        predict_classes(Classifier((1, 8, 8), 10), np.zeros((8, 8)))
    plain = ImageSet.from_arrays(torch.zeros(24, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least two classes, arrays has 1"):
        train_classifier(plain)


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(0)
    real = rng.standard_normal((40_000, 3)) * [1, 2, 3]
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    # |m|² + Σ (s - t)² of diagonal Gaussians, over the total variance of the real one
    other = rng.standard_normal((40_000, 3)) * [2, 2, 1] + [1, 0, 2]
    assert frechet_distance(other, real) == pytest.approx((5 + 1 + 0 + 4) / 14, rel=0.05)
    same = np.broadcast_to(real.mean(0), (100, 3))
    assert frechet_distance(same, real) == pytest.approx(1)
