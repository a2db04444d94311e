"""Runs that nobody trained: a folder with settings and the weights that a seed gives."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pyrovae.data import ImageSet
from pyrovae.factory.build import build_model, instantiate
from pyrovae.runs.config_file import create_run
from pyrovae.runs.job import Job
from pyrovae.runs.training import parse_training
from pyrovae.training import RunFolder
from pyrovae.training.weights import save_weights


def make_run(folder: Path, digits: ImageSet, *argv: str) -> RunFolder:
    """A run on the embedded digits, by the options of a training."""
    arguments = parse_training(["--runs_dir", str(folder), "--data", "digits", *argv])
    run = create_run(arguments, digits)
    model = build_model(instantiate(arguments).model, digits.image_shape, digits.num_classes, 0)
    save_weights(run.last_weights, model.state_dict())
    return run


def when_it_trains(job: Job, what: Callable[[], object]) -> threading.Thread:
    """Do something once, as soon as a job has a checkpoint."""

    def wait() -> None:
        while not job.folder.checkpoint.exists():
            time.sleep(0.02)
        what()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread
