"""A study: its runs, images and classifier, loaded on first use, and its experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from pyrovae.data import ImageSet, Split, to_unit
from pyrovae.estimates import Estimate
from pyrovae.latent import Codes, Reconstructions, encode, reconstruct, sample_per_class, sample_prior
from pyrovae.metrics.classifier import Classifier, Predictions, frechet_distance, predict_classes
from pyrovae.models import LatentVariableModel
from pyrovae.plots import Axes, Figure, plot_values
from pyrovae.runs.loading import analysis_device, load
from pyrovae.studies.seeds.budgets import Budget, seeded_names
from pyrovae.studies.seeds.claims import Claim, Found, Statement, bootstrapped
from pyrovae.studies.seeds.runs import Runs

Measured = TypeVar("Measured")


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the report.

    Attributes:
        name: Name of its file.
        figure: The figure.
        caption: Caption, with its settings.
        alt: Text for readers who cannot see it.
    """

    name: str
    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True, eq=False)
class Experiment(Generic[Found]):
    """One of the questions of a study.

    Attributes:
        number: Its number among the claims.
        title: Its heading.
        needs: Names of the runs that it uses, by budget.
        measure: Function from the study to the measurement.
        claims: The table of claims that the measurement decides.
        draw: Function that draws the measurement.
        missing: The reason why it cannot be done, or "".
    """

    number: int
    title: str
    needs: Callable[[Budget], Sequence[str]]
    measure: Callable[[Study], Found]
    claims: Sequence[Statement[Found]]
    draw: Callable[[Study, Found], list[Picture]]
    missing: Callable[[Study], str] = lambda study: ""

    def decide(self, found: Found) -> list[Claim]:
        """Every claim of the table."""
        return [statement.claim(found) for statement in self.claims]

    def investigate(self, study: Study) -> tuple[list[Claim], list[Picture]]:
        """Measure, decide and draw."""
        if reason := self.missing(study):
            return [statement.skipped(reason) for statement in self.claims], []
        found = study.once(self.measure)
        return self.decide(found), self.draw(study, found)


class Study:
    """The inputs of experiments. Everything is computed once.

    Args:
        budget: Sizes and lengths.
        runs: The runs, trained.
        classifier: The classifier of the budget's images.
    """

    def __init__(self, budget: Budget, runs: Runs, classifier: Classifier) -> None:
        self.budget = budget
        self.runs = runs
        self.classifier = classifier
        self._kept: dict[Any, Any] = {}

    def once(self, measure: Callable[[Study], Measured]) -> Measured:
        """A measurement, computed on the first call."""
        return self._keep(measure, lambda: measure(self))

    @property
    def data(self) -> ImageSet:
        """The image set."""
        return self.runs.data(self.budget.data)

    def folder(self, name: str) -> Path:
        """The folder of a run."""
        return self.runs[name].path

    def seeded(self, name: str) -> list[str]:
        """The runs of a model over the seeds."""
        return seeded_names(self.budget, name)

    def model(self, name: str) -> LatentVariableModel:
        """A run's model with its last weights. The weights with the best bound would favour β = 1."""
        trained = self.runs.device
        device = "cpu" if trained.startswith("mps") else analysis_device(trained)  # MPS trains, and has no float64
        return self._keep(("model", name), lambda: load(self.folder(name), which="last", device=device))

    def split(self, name: str = "test") -> Split:
        """The budget's number of images, evenly spaced over a split."""

        def cut() -> Split:
            whole = self.data.split(name)
            chosen = np.linspace(0, len(whole) - 1, min(self.budget.images, len(whole))).astype(int)
            return whole.take(chosen.tolist())

        return self._keep(("split", name), cut)

    @cached_property
    def images(self) -> np.ndarray:
        """The test images, (N, C, H, W)."""
        return to_unit(self.split().images).numpy()

    @cached_property
    def predictions(self) -> Predictions:
        """The classifier's predictions for the test images."""
        return predict_classes(self.classifier, self.images)

    def codes(self, name: str, split: str = "test") -> Codes:
        """Codes of a split by a run's model."""
        return self._keep(("codes", name, split), lambda: encode(self.model(name), self.split(split)))

    def reconstructions(self, name: str) -> Reconstructions:
        """The test images and their reconstructions by a run's model."""
        return self._keep(("reconstructions", name), lambda: reconstruct(self.model(name), self.split()))

    def with_reconstructions(self, names: Iterable[str], shown: np.ndarray) -> np.ndarray:
        """Rows of some test images, by their numbers, and of each run's reconstructions of them, (rows, N, C, H, W)."""
        return np.stack([self.images[shown], *(self.reconstructions(name).outputs[shown] for name in names)])

    def samples(self, name: str) -> np.ndarray:
        """As many samples of a run's model as there are test images, in equal numbers per class, (N, C, H, W)."""

        def draw() -> np.ndarray:
            model, count = self.model(name), len(self.split())
            if model.shapes.num_classes:
                columns = -(-count // model.shapes.num_classes)
                return np.concatenate(sample_per_class(model, columns).images.swapaxes(0, 1))[:count]
            return sample_prior(model, count, 1).images[:, 0]

        return self._keep(("samples", name), draw)

    def sample_predictions(self, name: str) -> Predictions:
        """The classifier's predictions for a run's samples."""
        return self._keep(("predictions", name), lambda: predict_classes(self.classifier, self.samples(name)))

    def frechet(self, name: str) -> Estimate:
        """Fréchet distance of a run's samples from the test images, in the classifier's features."""
        features, real = self.sample_predictions(name).features, self.predictions.features
        return bootstrapped(lambda index: frechet_distance(features[index], real), len(features), draws=10)

    def _keep(self, key: Any, make: Callable[[], Measured]) -> Measured:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def draw_values(
    values: Mapping[Any, Estimate], ax: Axes, label: str, *, name: str = "", line: float | None = None
) -> None:
    """Draw values over their settings; see `plot_values`."""
    settings = [f"{setting:g}" if isinstance(setting, float) else str(setting) for setting in values]
    means, errors = [v.value for v in values.values()], [v.error for v in values.values()]
    plot_values(settings, means, errors, ax, label, name=name, line=line)
