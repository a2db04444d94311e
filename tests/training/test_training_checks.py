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
from pyrovae.likelihoods import ContinuousBernoulli, DiscretizedLogistic, Normal
from pyrovae.models import CVAE, VAE
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


@pytest.mark.parametrize("likelihood", [ContinuousBernoulli, Normal, DiscretizedLogistic])
def test_grey_values_are_not_lost_to_their_likelihood_without_a_word(likelihood, few_digits: ImageSet) -> None:
    said = Trainer().check(VAE((1, 8, 8), 2, likelihood=likelihood), few_digits)
    assert said is not None
    assert said.endswith(f"the likelihood {likelihood.__name__} scores grey values too: --pixels none trains on these")
    labelled = CVAE((1, 8, 8), 10, 2, likelihood=likelihood)
    assert Trainer().check(labelled, few_digits) == said
    for pixels in ("none", "dynamic"):  # who says so knows
        assert Trainer(pixels=pixels).check(VAE((1, 8, 8), 2, likelihood=likelihood), few_digits) is None
    assert Trainer().check(VAE((1, 8, 8), 2), few_digits) is None


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


def row_of(data: pyrovae.ImageSet, split: str) -> int:
    """A row of a split behind its first 256."""
    return int(data.splits[split][300 if split == "train" else 3])


@pytest.mark.parametrize("wrong", [-5.0, 2.5])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_single_row_outside_of_the_support_is_found(split: str, wrong: float) -> None:
    counts = np.random.default_rng(0).poisson(3, (500, 4)).astype(float)
    row = row_of(from_values(counts), split)
    model = pyrovae.VAE((1, 1, 4), likelihood=lambda shapes, decoder: likelihoods.Poisson(shapes, decoder, levels=1))
    trainer = pyrovae.Trainer(device="cpu")
    trainer.check(model, from_values(counts, scaling="none"))
    counts[row, 2] = wrong
    words = "" if split == "train" else " in 1 rows, none of them a training row"
    with pytest.raises(ValueError, match=rf"scaling=none are not{words} \(row {row + 1}\): .*Normal"):
        trainer.check(model, from_values(counts, scaling="none"))


def test_rows_outside_of_the_training_range_are_named_under_unit_scaling() -> None:
    x = np.random.default_rng(0).random((500, 4))
    row = row_of(from_values(x), "test")
    x[row, 1] = 7
    model = pyrovae.VAE((1, 1, 4), likelihood=likelihoods.ContinuousBernoulli)
    with pytest.raises(
        ValueError, match=r"none of them a training row \(row \d+, outside of the range of the training"
    ):
        pyrovae.Trainer(device="cpu").check(model, from_values(x, scaling="unit"))


def test_values_of_which_a_late_row_is_no_count_are_real() -> None:
    x = np.random.default_rng(0).poisson(3, (500, 4)).astype(float)
    x[row_of(from_values(x), "train"), 0] = 0.5
    pyrovae.Trainer(device="cpu").check(
        pyrovae.VAE((1, 1, 4), likelihood=likelihoods.Normal), from_values(x, scaling="none")
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("make", [pyrovae.VAE, pyrovae.CVAE])
def test_a_label_that_is_missing_anywhere_is_refused_before_the_training(make, split: str) -> None:
    x, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2.0
    labels[from_values(x).splits[split][0]] = np.nan
    settings = {"num_classes": 2} if make is pyrovae.CVAE else {}
    model, trainer = make((1, 1, 3), likelihood=likelihoods.Normal, **settings), pyrovae.Trainer(device="cpu")
    with pytest.raises(ValueError, match=rf"labels of 1 images of values \({int(split == 'train')} of them train"):
        trainer.check(model, from_values(x, labels))


def test_a_class_without_a_training_row_is_refused_by_a_model_of_classes() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    labels = np.array(["a", "b"] * 30, dtype=object)
    labels[from_values(x).splits["test"][:2]] = "rare"
    data, trainer = from_values(x, labels), pyrovae.Trainer(device="cpu")
    trainer.check(pyrovae.VAE((1, 1, 3), likelihood=likelihoods.Normal), data)
    with pytest.raises(
        ValueError, match="each class of values must have a labelled training image, and 'rare' has none"
    ):
        trainer.check(pyrovae.CVAE((1, 1, 3), num_classes=3, likelihood=likelihoods.Normal), data)
