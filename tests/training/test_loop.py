"""What the loop trains on and is measured on."""

import pytest
import torch

from pyrovae import VAE, Trainer
from pyrovae.data import ImageSet, fixed_split
from pyrovae.training.loop import Loop


@pytest.mark.parametrize("pixels", ["fixed", "threshold"])
def test_pixels_drawn_once_are_those_of_every_evaluation(pixels: str, digits: ImageSet) -> None:
    trainer = Trainer(pixels=pixels)
    before = digits.images.clone()
    loop = Loop(trainer, VAE(digits.image_shape, 2), digits, torch.device("cpu"), None)
    assert torch.equal(digits.images, before)
    for name, index in digits.splits.items():
        assert torch.equal(loop.images[index], fixed_split(digits.split(name), pixels).images)
    for name, split in loop.evaluated.items():
        assert torch.equal(split.images, loop.images[digits.splits[name]][: len(split)])
