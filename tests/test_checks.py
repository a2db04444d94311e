"""The edge: types by annotations, ranges, and images against the model beside them."""

import numpy as np
import pytest
import torch

import pyrovae
from pyrovae.checks import Count, Place, Positive, Probability, Seed, Share, Within, check_value, checked
from pyrovae.data import ImageSet, Split
from pyrovae.latent import encode
from pyrovae.models import CVAE, VAE


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Count, 1),
        (Count, np.int64(3)),
        (Place, 0),
        (Seed, 2**32 - 1),
        (Share, 0),
        (Share, np.float32(1)),
        (Probability, 0.5),
        (Positive | None, None),
        (list[Count], [1, 2]),
        (tuple[Place, Place], (0, 1)),
        (list[float] | str, "viridis"),
    ],
)
def test_what_is_right_passes(kind: object, value: object) -> None:
    check_value("x", value, kind)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Count, 0, "x must be a whole number of at least 1, got 0"),
        (Count, 1.5, "x must be a whole number .* got 1.5"),
        (Count, True, "x must be a whole number .* got True"),
        (Count, 10**30, "x must be a whole number of at most 2,147,483,648, got 1000"),
        (Seed, -1, "x must be a whole number of at least 0, got -1"),
        (Probability, 1.0, "x must be a number between 0 and 1, got 1.0"),
        (Positive, 0, "x must be a number above 0, got 0"),
        (Positive, float("nan"), "x must be a number above 0, got nan"),
        (Share | None, "y", "x must be a number from 0 to 1, got 'y'"),
        (list[Count], [1, 0], "each of x must be a whole number .* got 0"),
        (list[Count], 3, "x must be a list, got 3"),
        (tuple[Place, Place], (0,), "x must be 2 values, got 1"),
    ],
)
def test_what_is_wrong_is_refused_with_rule_and_value(kind: object, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_value("x", value, kind)


def test_a_range_in_words() -> None:
    assert [str(Within(1)), str(Within(0, open=True)), str(Within(0, 1)), str(Within())] == [
        " of at least 1",
        " above 0",
        " from 0 to 1",
        "",
    ]


def test_a_function_is_checked_before_it_is_called() -> None:
    called = []

    @checked
    def function(model: VAE, count: Count = 1) -> None:
        """Its words."""
        called.append(count)

    for wrong in ({"model": 3}, {"model": VAE((1, 8, 8)), "count": 0}):
        with pytest.raises(ValueError, match="must be"):
            function(**wrong)
    assert not called
    assert function.__doc__ == "Its words."


def test_images_must_suit_the_model_beside_them(few_digits: ImageSet) -> None:
    split = few_digits.split("test")
    with pytest.raises(ValueError, match=r"takes images of \(1, 9, 9\) .* got \(1, 8, 8\)"):
        encode(VAE((1, 9, 9)), split)
    with pytest.raises(ValueError, match="knows the classes 0 to 1, got an image of class"):
        encode(CVAE((1, 8, 8), 2), split)
    with pytest.raises(ValueError, match="got an image of class -1"):
        encode(VAE((1, 8, 8)), Split(split.images, torch.full_like(split.labels, -1)))
    with pytest.raises(TypeError, match=r"split must be a Split: cut one out of an image set, data.split\('test'\)"):
        encode(VAE((1, 8, 8)), few_digits)


def test_a_split_is_made_of_whole_numbers_and_batches(few_digits: ImageSet) -> None:
    split = few_digits.split("test")
    with pytest.raises(ValueError, match=r"a split needs images of shape \(N, C, H, W\)"):
        Split(split.images[0], split.labels[:1])
    with pytest.raises(ValueError, match=r"labels of a split must be int64, got torch\.float32"):
        Split(split.images, split.labels.float())
    with pytest.raises(TypeError, match="images of a split must be a tensor"):
        Split(split.images.numpy(), split.labels)
    with pytest.raises(TypeError, match="must be a list of whole numbers, got "):
        split.take([0.5])


def test_parts_say_what_codes_images_and_labels_must_be() -> None:
    vae, cvae = VAE((1, 8, 8), 2), CVAE((1, 8, 8), 3, 2)
    x, z = torch.rand(4, 1, 8, 8), torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"codes z must be a tensor of shape \(B, 2\), got torch.float32 of shape"):
        vae.likelihood(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"x.unsqueeze\(0\) makes a batch of one image"):
        vae.posterior(x[0])
    with pytest.raises(ValueError, match="which the weights are of"):
        vae.posterior(x.double())
    with pytest.raises(ValueError, match="labels are 0 to 2, got -1 to -1"):
        cvae.posterior(x, torch.full((4,), -1))
    with pytest.raises(ValueError, match="labels y must be one for each of 4, got 3"):
        cvae.likelihood(z, torch.zeros(3, dtype=torch.int64))
    assert cvae.likelihood(z, torch.zeros(1, dtype=torch.int64)).batch_shape == (4,)
    assert pyrovae.VAE((1, 8, 8)).double().posterior(x.double()).mean.dtype == torch.float64
