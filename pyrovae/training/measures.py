"""What each epoch is measured by: the bound of the validation images, and of as many training images."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from pyrovae.data import Split, evaluated_together
from pyrovae.diagnostics import collapse_warning
from pyrovae.inference import estimate_elbo
from pyrovae.inference.elbo import elbo_by, terms_of
from pyrovae.inference.graphs import graph_of
from pyrovae.inference.importance import bound_of_codes
from pyrovae.models import LatentVariableModel
from pyrovae.training.batches import Batches, fits
from pyrovae.training.history import EpochRow, elbo_columns


class Measures:
    """Measures a model at the end of an epoch.

    Args:
        model: The model.
        batches: Knows the images.
        seed: Seed of the codes.
        codes: Codes for each image of the bound that is trained; of several, that bound of the validation images is
            measured too, as a posterior that is good for it may be poor for the ELBO.
    """

    def __init__(self, model: LatentVariableModel, batches: Batches, seed: int, codes: int = 1) -> None:
        self._model, self._splits, self._seed, self._codes = model, batches.evaluated(), seed, codes
        if model.infers_labels:  # the bound of log p(x), whether the class is known or not
            self._splits = {name: split.without_labels() for name, split in self._splits.items()}
        self._terms = terms_of(model)
        if batches.device.type == "cuda":
            # By Pyro a batch is a hundred launches and a dozen waits, as much as an epoch's steps; replayed it is one.
            self._terms = graph_of(self._terms, "graph", replayed=True)
            self._splits = {name: _sent_if_it_fits(split, batches.device) for name, split in self._splits.items()}
        self._together = evaluated_together(batches.data)
        self._watched = "validation" if "validation" in self._splits else "train"

    def row(self) -> EpochRow:
        """The bound and its parts, of each split."""
        row: EpochRow = {}
        options = {"batch_size": self._together, "seed": self._seed}
        for name, split in self._splits.items():
            estimate = elbo_by(self._terms, self._model, split, **options)
            if not math.isfinite(estimate.negative_elbo.value):
                estimate = estimate_elbo(self._model, split, **options)  # Pyro may say why in its own words
            row |= elbo_columns(name, estimate)
        if self._codes > 1 and "validation" in self._splits:
            bound = bound_of_codes(self._model, self._splits["validation"], self._codes, seed=self._seed)
            row["validation_negative_bound"] = -bound
        return row

    def warning(self, row: EpochRow) -> str | None:
        """A warning that follows from a row, in a line, or None."""
        if not self._model.prior.scored:
            return None  # an autoencoder has no prior to collapse to
        return collapse_warning(int(row[f"{self._watched}_active_units"]), row[f"{self._watched}_kl"])


def _sent_if_it_fits(split: Split, device: torch.device) -> Split:
    """A split that stays on the device, if it fits."""
    if not fits(split.images, device):
        return split
    return replace(split, images=split.images.to(device), labels=split.labels.to(device))
