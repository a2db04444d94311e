"""Quality of samples and accuracy of codes, on points whose answers are known."""

from functools import partial

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE, priors
from pyrovae.data import ImageSet, fixed_split
from pyrovae.latent import Codes
from pyrovae.metrics.classifier import Predictions
from pyrovae.metrics.codes import code_accuracy
from pyrovae.metrics.samples import draw_images, precision_recall, sample_quality


def test_the_radius_of_a_ball_is_that_of_its_kth_neighbour() -> None:
    line = np.arange(6.0)[:, None]
    assert precision_recall(line, line + 0.9, k=1)[0] == 1  # neighbours are 1 apart
    assert precision_recall(line[::2], line + 0.9, k=1)[0] == 1
    assert precision_recall(line, 10 + line, k=1) == (0, 0)


def test_precision_falls_with_strange_samples_and_recall_with_missing_ones() -> None:
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 100])
    assert min(precision_recall(real, real)) == 1
    half_missing, half_strange = real[:300], np.concatenate([real[:300], rng.normal(size=(300, 2)) - 100])
    assert precision_recall(real, half_missing) == (1, 0.5)
    assert precision_recall(half_missing, half_strange) == (0.5, 1)
    same = precision_recall(real, np.concatenate([rng.normal(size=(300, 2)), rng.normal(size=(300, 2)) + 100]))
    assert min(same) > 0.9
    with pytest.raises(ValueError, match="3 neighbours need more than 3 points in each set, got 600 and 3"):
        precision_recall(real, real[:3])


def test_samples_are_judged(few_digits: ImageSet) -> None:
    torch.manual_seed(0)
    split = fixed_split(few_digits.split("validation"), "dynamic")
    seen: list[np.ndarray] = []

    def judge(images: np.ndarray) -> Predictions:
        seen.append(images)
        sure = np.full((len(images), 10), 0.02)
        sure[:, 3] = 0.82
        return Predictions(sure, images.reshape(len(images), -1))

    model = CVAE((1, 8, 8), 10, 2)
    found = sample_quality(model, split, judge)
    assert set(np.unique(seen[1])) == {0, 1}
    assert found.space == "classifier features"
    assert [part.value for part in found.confidence] == pytest.approx([0.82, 0.82])
    assert found.balance == 0
    plain = sample_quality(model, split)
    assert plain.precision == found.precision
    assert plain.confidence is None
    assert plain == sample_quality(model, split)
    assert not np.array_equal(draw_images(model, 5), draw_images(model, 5, seed=1))


def test_accuracy_of_codes() -> None:
    """Classes far apart are told apart; codes without classes are guessed."""
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 4
    apart = np.stack([10 * (labels % 2), 10 * (labels // 2)], 1) + rng.normal(size=(2000, 2))
    for means, low, high in ((apart, 0.99, 1.0), (rng.normal(size=(2000, 2)), 0.19, 0.31)):
        codes = Codes(means, np.ones_like(means), means, labels)
        found = code_accuracy(codes.take(np.arange(1000)), codes.take(np.arange(1000, 2000)), (100, 600, 5000))
        assert list(found.neighbours) == list(found.linear) == [100, 600]
        for value, error in ((e.value, e.sampling) for e in (*found.neighbours.values(), *found.linear.values())):
            assert low <= value <= high
            assert error < 0.03
    with pytest.raises(ValueError, match="only 1 training images"):
        code_accuracy(codes.take(np.arange(1)), codes, (100,))


def test_grey_scores_are_shown_by_their_means(few_digits: ImageSet) -> None:
    from pyrovae.likelihoods import CrossEntropy

    images = draw_images(VAE((1, 8, 8), 2, likelihood=CrossEntropy), 4)
    assert images.shape == (4, 1, 8, 8)
    assert 0 < images.min() < images.max() < 1


def test_labelled_components_are_drawn_as_their_mixture() -> None:
    """A VAE knows no labels, so that the same mixture without labels draws the same."""
    model = VAE((1, 4, 4), 2, prior=partial(priors.GaussianMixture, components=3, labels=True, init_scale=5.0))
    found = []
    for labels in (True, False):
        model.prior.labels = labels
        found.append(draw_images(model, 50))
    assert np.array_equal(*found)
