"""One of several trainings: a run folder and the options that it is trained by."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from jsonargparse import Namespace

from pyrovae.factory.build import build_trainer, instantiate
from pyrovae.files import replace_text
from pyrovae.runs.stored import read_config
from pyrovae.runs.training import build_training, finish_run, load_training_data, open_training, parse_training
from pyrovae.training import RunFolder
from pyrovae.training.early_stopping import watched
from pyrovae.training.order import order_of

DATA_OPTIONS = (
    *("data", "data_dir", "validation", "image_size"),
    *("data_label", "data_labels", "data_scaling", "data_skip"),
)
"""Options of a training that say which images it has."""


@dataclass(frozen=True)
class Standing:
    """How far a training is, by the metrics in its folder.

    Attributes:
        epoch: Epochs that are trained.
        step: Steps that are trained.
        seconds: Time that they took, breaks not counted.
        bounds: -ELBO of the validation images after each epoch, or of `ImportanceWeighted` the bound that it trains; of
            the training images -ELBO if there are none of these; in nats per image.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    bounds: tuple[float, ...] = ()

    @property
    def best(self) -> float | None:
        """The best bound so far; None if there is none yet."""
        return min((bound for bound in self.bounds if bound == bound), default=None)


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        epochs: Its epochs.
        steps: Its steps.
    """

    epochs: int
    steps: int


@dataclass(frozen=True)
class Job:
    """One of several trainings.

    Attributes:
        folder: Where it is kept.
        options: Its options of scripts/svi_train.py, but for where it goes.
        which: The weights that its test images are measured by; see `finish_run`.
        cost: What one of its steps costs beside those of the others, for the progress bar.
        tested: Whether its test images are measured. What chooses among runs must not see them.
    """

    folder: RunFolder
    options: tuple[str, ...]
    which: str | None = None
    cost: int = 1
    tested: bool = True

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.path.name

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end by these options, which are the last thing that is written."""
        try:
            return json.loads(self.folder.command.read_text(encoding="utf-8")) == self._made_by
        except (FileNotFoundError, ValueError, RecursionError):  # not there, or damaged and so written anew
            return False

    def parse(self) -> Namespace:
        """Its command line, with `resume` if there is a checkpoint.

        Raises:
            ValueError: If its folder holds a run of other settings.
        """
        if self.folder.can_resume:
            saved = read_config(self.folder)
            where = ("--name", saved["name"], "--runs_dir", saved["runs_dir"], "--resume", str(self.folder.path))
            try:
                return parse_training([*self.options, *where])
            except ValueError as error:
                raise ValueError(
                    f"{self.folder.path} holds another run than is asked for ({error}): remove that folder, or choose "
                    f"another place"
                ) from error
        self.folder.check_resumable()
        # A folder without a checkpoint was cut off in its first epoch: nothing is lost.
        path = self.folder.path
        where = ("--name", path.name, "--runs_dir", str(path.parent), "--overwrite", "true")
        return parse_training([*self.options, *where])

    def train(self) -> None:
        """Train or resume it silently to its end, and test it."""
        arguments = self.parse()
        data = load_training_data(arguments)
        trainer, model = build_training(arguments, data)
        with open_training(arguments, data) as (folder, resume):
            trainer.fit(model, data, folder, resume=resume, progress=False)
            if self.tested:
                finish_run(folder, trainer, data, self.which)
            self.mark_finished()

    def mark_finished(self) -> None:
        """Note in its folder that it was trained to its end, and by which options."""
        replace_text(self.folder.command, json.dumps(self._made_by, indent=1) + "\n")

    def standing(self) -> Standing:
        """How far it is; not begun where its files are damaged, which are written anew when it goes on."""
        try:
            rows = self.folder.rows() if self.folder.can_resume else []
            last = rows[-1] if rows else {}
            validated = "validation_negative_elbo" in last
            bounds = tuple(watched(row) if validated else row.get("train_negative_elbo", math.nan) for row in rows)
            return Standing(len(rows), int(last.get("step", 0)), last.get("seconds", 0.0), bounds)
        except (ValueError, OSError):
            return Standing()

    @property
    def _made_by(self) -> dict[str, object]:
        made: dict[str, object] = {"options": list(self.options), "weights": self.which}
        return made if self.tested else made | {"tested": False}


def lengths(commands: list[Namespace]) -> list[Length]:
    """The length of each training, by its command line; each image set is loaded once."""
    sizes: dict[tuple[object, ...], int] = {}
    found = []
    for command in commands:
        trainer = build_trainer(instantiate(command))
        key = (*(str(command.get(name)) for name in DATA_OPTIONS), trainer.batch_size)
        if key not in sizes:
            sizes[key] = order_of(load_training_data(command), trainer.batch_size).per_epoch
        per_epoch = sizes[key]
        epochs = trainer.total_epochs(per_epoch)
        found.append(Length(epochs, epochs * per_epoch))
    return found
