"""What would stop a training is found before it: optimisers, schedules, and pixels that no likelihood scores."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import pyrovae
from pyrovae import likelihoods
from pyrovae.data import ImageSet, from_values
from pyrovae.likelihoods import DiscretizedLogistic
from pyrovae.models import VAE
from pyrovae.training import Trainer


@pytest.fixture
def model() -> VAE:
    return VAE((1, 8, 8), 2)


@pytest.mark.parametrize("name", ["LBFGS", "SparseAdam"])
def test_an_optimiser_that_needs_what_svi_has_not(name: str, model: VAE, few_digits: ImageSet) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot take a step of stochastic variational inference"):
        Trainer(optimizer=getattr(torch.optim, name)).check(model, few_digits)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (lambda o: lr_scheduler.StepLR(o, 0), "StepLR fails after epoch 1 of 9: integer modulo by zero"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 0), "CosineAnnealingLR fails after epoch 1 of 9"),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=4), "OneCycleLR fails after epoch [45] of 9: Tried"),
        (lambda o: lr_scheduler.ExponentialLR(o, float("nan")), "sets the learning rate to nan after epoch 1 of 9"),
        (lambda o: lr_scheduler.ExponentialLR(o, -1.0), "sets the learning rate to -0.01 after epoch 1 of 9"),
        (lambda o: 3, "scheduler must make a schedule of torch.optim.lr_scheduler, got one that makes int"),
    ],
)
def test_a_schedule_is_tried_to_the_end(scheduler, message: str, model: VAE, few_digits: ImageSet) -> None:
    trainer = Trainer(optimizer=lambda p: torch.optim.SGD(p, lr=0.01), scheduler=scheduler, epochs=9)
    with pytest.raises(ValueError, match=message):
        trainer.check(model, few_digits)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: lr_scheduler.StepLR(o, 3),
        lambda o: lr_scheduler.ReduceLROnPlateau(o),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    ],
)
def test_a_schedule_that_can_do_it_passes(scheduler, model: VAE, few_digits: ImageSet) -> None:
    Trainer(scheduler=scheduler, epochs=9).check(model, few_digits)


@pytest.fixture
def photographs() -> ImageSet:
    """Smooth colours."""
    corners = torch.rand(60, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 180 + 40
    images = torch.nn.functional.interpolate(corners, 8, mode="bilinear").to(torch.uint8)
    return ImageSet.from_arrays(images, name="photographs")


def test_photographs_are_not_drawn_black_or_white_without_a_word(photographs: ImageSet) -> None:
    with pytest.raises(
        ValueError, match=r"photographs \(their channels differ\).*--pixels none --model.likelihood Disc"
    ):
        Trainer().check(VAE((3, 8, 8), 2), photographs)
    Trainer().check(VAE((3, 8, 8), 2, likelihood=DiscretizedLogistic), photographs)
    Trainer(pixels="threshold").check(VAE((3, 8, 8), 2), photographs)  # who says so gets it


def test_grey_photographs_neither(photographs: ImageSet) -> None:
    grey = ImageSet.from_arrays(photographs.images[:, :1], name="grey")
    with pytest.raises(ValueError, match=r"% of their pixels are neither nearly black nor nearly white"):
        Trainer().check(VAE((1, 8, 8), 2), grey)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "patience"])
def test_counts_that_are_a_slip_of_the_finger(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at most 1,000,000,000, got 12,345"):
        Trainer(**{name: 12345678901234567890})


CHOICES = {
    "counts as real numbers": (
        "poisson",
        "none",
        "Normal",
        "for counts choose --model.likelihood NegativeBinomial --model.likelihood.levels 1;",
    ),
    "scaled counts as counts": (
        "poisson",
        "standard",
        "NegativeBinomial",
        "--model.likelihood.levels 1 --data_scaling none",
    ),
    "zeros and ones as real numbers": ("binary", "none", "Laplace", "choose --model.likelihood Bernoulli; or"),
    "scaled zeros and ones": ("binary", "standard", "Bernoulli", "Bernoulli --data_scaling none"),
    "values in [0, 1] as zeros and ones": (
        "unit",
        "none",
        "Bernoulli",
        "choose --model.likelihood ContinuousBernoulli",
    ),
    "values scaled to [0, 1]": ("real", "unit", "Bernoulli", "ContinuousBernoulli, or --model.likelihood Normal"),
    "real numbers as counts": ("real", "standard", "Poisson", "for values choose --model.likelihood Normal"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["in memory", "packed"])
@pytest.mark.parametrize("case", CHOICES)
def test_what_values_are_decides_the_likelihoods(case: str, packed: bool, tmp_path: Path) -> None:
    kind, scaling, likelihood, words = CHOICES[case]
    rng = np.random.default_rng(0)
    values = {
        "poisson": rng.poisson(4.0, (90, 3)).astype(float),
        "binary": (rng.random((90, 3)) < 0.4).astype(float),
        "unit": rng.random((90, 3)),
        "real": rng.normal(5, 20, (90, 3)),
    }[kind]
    make = (lambda x, **k: pyrovae.pack(x, tmp_path / "p", **k)) if packed else from_values
    levels = {"levels": 1} if likelihood in ("NegativeBinomial", "Poisson") else {}
    part = partial(getattr(likelihoods, likelihood), **levels)
    model = pyrovae.VAE((1, 1, 3), likelihood=part)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        pyrovae.Trainer(device="cpu").check(model, make(values, scaling=scaling))
    assert "\n" not in str(caught.value)


def test_counts_may_be_treated_as_real_numbers_by_scaling_them() -> None:
    counts = np.random.default_rng(0).poisson(4.0, (90, 3))
    model = pyrovae.VAE((1, 1, 3), likelihood=likelihoods.Normal)
    pyrovae.Trainer(device="cpu").check(model, from_values(counts))
