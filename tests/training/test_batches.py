"""What a training trains on and is measured on."""

import pytest
import torch

from pyrovae.data import ImageSet, fixed_split
from pyrovae.training.batches import Batches


@pytest.mark.parametrize("pixels", ["fixed", "threshold"])
def test_pixels_drawn_once_are_those_of_every_evaluation(pixels: str, digits: ImageSet) -> None:
    before = digits.images.clone()
    batches = Batches(digits, pixels, 128, 0, torch.device("cpu"))
    assert torch.equal(digits.images, before)
    for name, index in digits.splits.items():
        assert torch.equal(batches.images[index], fixed_split(digits.split(name), pixels).images)
    for name, split in batches.evaluated().items():
        assert torch.equal(split.images, batches.images[digits.splits[name]][: len(split)])
