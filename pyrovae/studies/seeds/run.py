"""A study from its first training to its report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyrovae.data import ImageSet
from pyrovae.files import replace_text
from pyrovae.metrics.classifier import Classifier, accuracy, train_classifier
from pyrovae.plots import save_figure
from pyrovae.runs.executors import ExecutorSource
from pyrovae.runtime import choose_device
from pyrovae.studies.seeds.budgets import MANY_LABELS, Budget, Recipe
from pyrovae.studies.seeds.claims import Claim
from pyrovae.studies.seeds.experiments import EXPERIMENTS
from pyrovae.studies.seeds.report import Section, claims_json, jinja, write_report
from pyrovae.studies.seeds.runs import Runs
from pyrovae.studies.seeds.study import Experiment, Study
from pyrovae.training.progress import Progress
from pyrovae.training.weights import load_weights, save_weights

LEAST_CLASSES = 10
"""The documents speak of digits; pictures show some of the ten."""


def run_study(
    budget: Budget,
    folder: Path,
    *,
    data: str | None = None,
    data_dir: str | None = None,
    device: str = "auto",
    only: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    executor: ExecutorSource | None = None,
    progress: bool = True,
) -> list[Claim]:
    """Train missing runs, measure them, and write `report.html`, `claims.json` and `figures/` into a folder.

    Called again with the same arguments, it continues interrupted trainings from their checkpoints.

    Args:
        budget: Sizes and lengths.
        folder: The study's folder; runs are in its sub-folder `runs`.
        data: Another set than the budget's: grey images of at least ten classes.
        data_dir: Folder of the image sets, or None for the usual one.
        device: Where to train; see `Trainer`.
        only: Numbers of the claims to decide; by default all.
        seeds: Seeds of the runs that are repeated; by default the budget's. Fewer are faster and have larger errors.
        workers: Trainings at a time; by default the number of cores, and two on a GPU.
        executor: Who runs the trainings instead; see `train_runs`.
        progress: Whether to show progress.

    Raises:
        ValueError: If a claim's number does not exist, seeds are none or twice the same, a run of the folder has other
            settings, or the data are others than the claims are about.
        KeyboardInterrupt: When stopped by the user, after every running training has written its checkpoint.
    """
    chosen = choose(only)
    if seeds is not None:
        budget = with_seeds(budget, seeds)
    jinja()  # fails before the training, not after it
    runs = Runs(folder / "runs", data_dir, device)
    images = runs.data(data or budget.data)
    if progress:
        print(images.source, flush=True)
    budget = fit_budget(budget, data or budget.data, images, runs)
    recipes = _needed(budget, runs, chosen)
    runs.train(recipes, workers=workers, executor=executor, progress=progress)
    with Progress(1 + len(chosen), enabled=progress) as bar:
        study = Study(budget, runs, load_or_train_classifier(budget, images, folder, device))
        bar.advance(1, "classifier")
        sections = _investigate(study, chosen, folder, bar)
    return _write(study, sections, recipes, folder)


def with_seeds(budget: Budget, seeds: Sequence[int]) -> Budget:
    """A budget with other seeds.

    Raises:
        ValueError: If there are none, or two are the same.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, got {list(seeds)}")
    return replace(budget, seeds=tuple(seeds), plane_seeds=tuple(seeds))


def fit_budget(budget: Budget, name: str, images: ImageSet, runs: Runs) -> Budget:
    """A budget for a set of images, and for the set of many labels that is at hand.

    Args:
        budget: The budget.
        name: The set's name.
        images: The set.
        runs: Loads sets.

    Raises:
        ValueError: If the claims are not about such images.
    """
    channels, *sides = images.image_shape
    if channels != 1 or images.num_classes < LEAST_CLASSES:
        raise ValueError(
            f"the study needs grey images of at least {LEAST_CLASSES} classes, such as mnist, kmnist, fashion-mnist or "
            f"fonts:auto, and {name} has {images.num_classes} classes of {channels} channels"
        )
    many = budget.many_labels and next((name for name in MANY_LABELS if runs.at_hand(name)), budget.many_labels)
    return replace(budget, data=name, pixels=math.prod(sides), many_labels=many)


def _write(study: Study, sections: list[Section], recipes: list[Recipe], folder: Path) -> list[Claim]:
    """Write the report and the claims; return the claims."""
    made = [(recipe, study.runs[recipe.name]) for recipe in recipes]
    correct = accuracy(study.classifier, study.data.split("test"))
    write_report(folder / "report.html", study.budget, study.data, sections, made, correct)
    claims = [claim for section in sections for claim in section.claims]
    replace_text(folder / "claims.json", json.dumps(claims_json(claims), indent=1, ensure_ascii=False) + "\n")
    return claims


def choose(only: Sequence[int] | None) -> list[Experiment[Any]]:
    """The experiments of some claims, by default all.

    Raises:
        ValueError: If a claim's number does not exist.
    """
    known = {experiment.number: experiment for experiment in EXPERIMENTS}
    wrong = [number for number in only or () if number not in known]
    if wrong:
        raise ValueError(f"claims have numbers 1 to {max(known)}, got {wrong[0]}")
    return [experiment for number, experiment in known.items() if not only or number in only]


def load_or_train_classifier(budget: Budget, data: ImageSet, folder: Path, device: str) -> Classifier:
    """The classifier of images: read from the folder, or trained and written there."""
    path = folder / f"classifier-{data.name}-{budget.classifier_epochs}.safetensors"
    if path.exists():
        classifier = Classifier(data.image_shape, data.num_classes)
        load_weights(path, classifier)
        return classifier.eval()
    classifier = train_classifier(data, epochs=budget.classifier_epochs, device=choose_device(device)).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(path, classifier.state_dict())
    return classifier


def _needed(budget: Budget, runs: Runs, chosen: Sequence[Experiment[Any]]) -> list[Recipe]:
    names = {name for experiment in chosen for name in experiment.needs(budget)}
    many = budget.many_labels
    lacking = {many} if many is not None and not runs.at_hand(many) else set()
    return [recipe for recipe in budget.recipes() if recipe.name in names and not lacking & {*recipe.options}]


def _investigate(study: Study, chosen: Sequence[Experiment[Any]], folder: Path, bar: Progress) -> list[Section]:
    sections = []
    for experiment in chosen:
        sections.append(_section(experiment, study, folder))
        bar.advance(1, f"claim {experiment.number}: {experiment.title}")
    return sections


def _section(experiment: Experiment[Any], study: Study, folder: Path) -> Section:
    claims, pictures = experiment.investigate(study)
    files = []
    for picture in pictures:
        path = folder / "figures" / f"{picture.name}.png"
        save_figure(picture.figure, path)
        files.append((path, picture.caption, picture.alt))
    return Section(experiment.number, experiment.title, claims, files)
