"""One training from its command line: parsing, building, and the final test."""

import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pyrovae.data import ImageSet, evaluated_together, fixed_split, keep_labels, load_images, policy_of
from pyrovae.factory.build import build_model, build_trainer, instantiate, sketch_model
from pyrovae.factory.mistakes import check_arguments, check_values
from pyrovae.factory.names import explain
from pyrovae.factory.old_names import renewed_words
from pyrovae.factory.parser import training_parser, underscored
from pyrovae.files import replace_text
from pyrovae.inference.classes import LabelPredictions, predict_labels
from pyrovae.inference.elbo import ElboEstimate, estimate_elbo
from pyrovae.models import LatentVariableModel
from pyrovae.runs.config_file import continue_run, new_run
from pyrovae.runs.loading import load
from pyrovae.runs.scaling_file import check_scaling
from pyrovae.runs.stored import read_config
from pyrovae.training import RunFolder, Trainer

CHANGEABLE = {"epochs", "patience", "device", "engine", "data_dir", "checkpoint_every", "tensorboard", "progress"}
"""Settings that may differ when a run is resumed."""
LONGEST_NAME = 200
"""Bytes of a name between two slashes: file systems have 255, and a sweep adds some."""


def parse_training(argv: Sequence[str] | None = None, description: str | None = None) -> Namespace:
    """Parse the command line of a training; `--resume RUN` brings the settings of that run.

    Options may be written with dashes or underscores. What is wrong ends in one line and exit status 2.

    Raises:
        ValueError: If the run to resume has no usable config.yaml, or a setting differs that must not.
    """
    arguments = renewed_words([underscored(word) for word in (sys.argv[1:] if argv is None else argv)])
    parser = training_parser(description)
    explanation = explain(arguments)
    if explanation:
        print(explanation)
        raise SystemExit(0)
    check_arguments(parser.get_defaults(), arguments)
    config = parser.parse_args(arguments)
    _check_place(config.name, config.runs_dir)
    check_values(config, parser.get_defaults())
    return config if config.resume is None else _resumed(parser, config.resume, arguments)


def _resumed(parser: ArgumentParser, run: str, arguments: Sequence[str]) -> Namespace:
    """The settings of a run, with the few that may be changed as the command line says.

    Raises:
        ValueError: If another would change.
    """
    folder = RunFolder(Path(run))
    saved = parser.parse_object(read_config(folder))
    resumed = parser.parse_args(renewed_words(["--config", str(folder.config), *arguments]))
    before, after = (parser.dump(c, skip_unset=False).splitlines() for c in (saved, resumed))
    ignored = (*CHANGEABLE, "resume", "config")
    changed = [
        new.strip()
        for old, new in zip(before, after, strict=False)
        if old != new and not new.startswith(tuple(f"{name}:" for name in ignored))
    ]
    if changed or len(before) != len(after):
        raise ValueError(
            f"a resumed run keeps its settings, and here {', '.join(changed[:3]) or 'some'} would change: "
            f"leave that out (only {', '.join(sorted(CHANGEABLE))} may differ), or train a new run"
        )
    return resumed


def _check_place(name: str | None, runs_dir: str) -> None:
    """Refuse a name that is no folder's below runs_dir, or is hard to write again."""
    if not runs_dir:
        raise ValueError("runs_dir must be a folder, got '': the present one is .")
    for what, place in (("runs_dir", runs_dir), ("name", name or "")):
        if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in place):
            raise ValueError(f"{what} must have no line breaks and only characters that can be shown, got {place!r}")
    longest = max((len(part.encode()) for part in Path(name or "").parts), default=0)
    if longest > LONGEST_NAME:
        raise ValueError(f"name must have at most {LONGEST_NAME} bytes, got {longest}: choose a shorter one")
    if name is not None and (
        not name or Path(name).is_absolute() or set(Path(name).parts) & {"..", "~"} or name == "."
    ):
        raise ValueError(f"name must be that of a folder inside of --runs_dir, got {name!r}")


def load_training_data(arguments: Namespace) -> ImageSet:
    """Load the images that a training's command line names."""
    data = load_images(
        arguments.data,
        arguments.data_dir,
        validation=arguments.validation,
        image_size=arguments.image_size,
        label=arguments.data_label,
        scaling=arguments.data_scaling,
        skip=tuple(map(str, arguments.data_skip)),  # columns may be named by numbers
    )
    if arguments.data_labels is not None:
        data = keep_labels(data, arguments.data_labels, arguments.seed)
    if arguments.resume is not None:
        check_scaling(RunFolder(Path(arguments.resume)), data)
    return data


@contextmanager
def open_training(arguments: Namespace, data: ImageSet) -> Iterator[tuple[RunFolder, bool]]:
    """The folder of a training, which nobody else writes to meanwhile: a new one, or that of the run to resume.

    Yields:
        The folder, and whether there is a checkpoint to go on from. A run that was stopped before its first one begins
        anew.

    Raises:
        ValueError: If the folder is taken or in use, or all that a checkpoint could have been is lost.
    """
    if arguments.resume is None:
        with new_run(arguments, data) as folder:
            yield folder, False
        return
    folder = RunFolder(Path(arguments.resume))
    with folder.locked():
        folder.check_resumable()
        continue_run(arguments)
        yield folder, folder.can_resume


def build_training(arguments: Namespace, data: ImageSet) -> tuple[Trainer, LatentVariableModel]:
    """The trainer and the model of a training's command line.

    Raises:
        ValueError: If they do not suit each other or the images.
    """
    arguments.pixels = policy_of(data, arguments.pixels)
    settings = instantiate(arguments)
    trainer = build_trainer(settings)
    sketch = sketch_model(settings.model, data.image_shape, data.num_classes)
    if sketch is not None:
        trainer.check_memory(sketch, data)
    model = build_model(settings.model, data.image_shape, data.num_classes, trainer.seed)
    trainer.check(model, data)
    return trainer, model


def finish_run(
    folder: RunFolder, trainer: Trainer, data: ImageSet, which: str | None = None
) -> tuple[LatentVariableModel, list[ElboEstimate | LabelPredictions]]:
    """Load the model of a finished run, and write its bound of the test images to the folder.

    Of a model that infers labels the bound is that of log p(x), and beside it are the labels that it predicts, as far
    as test images have one. Nothing before has read the labels of test images.

    Args:
        folder: The run's folder.
        trainer: Its settings.
        data: Its images.
        which: "best" or "last" weights; by default the best where there are any.

    Returns:
        The model, and what was found; nothing where there are no test images.
    """
    model = load(folder.path, which=which, device=str(trainer.device), allow_code=True)
    if not len(data.splits["test"]):
        return model, []
    test = fixed_split(data.split("test"), policy_of(data, trainer.pixels))
    inferred = model.infers_labels
    scored = test.without_labels() if inferred else test
    bound = estimate_elbo(model, scored, batch_size=evaluated_together(data), seed=trainer.seed)
    found: list[ElboEstimate | LabelPredictions] = [bound]
    numbers = bound.to_dict()
    labelled = test.with_known_labels()
    if inferred and len(labelled):
        labels = predict_labels(model, labelled)
        error = {"error": labels.error.value, "error_error": labels.error.sampling}
        found.append(labels)
        numbers |= {"labels": error | labels.to_dict()}
    replace_text(folder.test, json.dumps(numbers, indent=2) + "\n")
    return model, found
