"""The training loop: batches to a learner, epoch by epoch. It knows nothing of the model."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from pyrovae.training.batches import Batches
from pyrovae.training.checkpoint import Checkpointer
from pyrovae.training.early_stopping import EarlyStopping, watched
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.learner import BrokenStepError, Learner, Losses
from pyrovae.training.logger import Logger
from pyrovae.training.processes import ALONE, Processes
from pyrovae.training.progress import Progress

READ_EVERY = 0.2
"""Seconds of steps between two reads of their losses; on a GPU a read waits for all earlier steps."""
MAX_CHUNK = 2000
"""Maximum number of steps between two reads."""


class Loop:
    """One training, from its first step or a checkpoint to its end. It counts steps and delegates all else."""

    def __init__(
        self,
        learner: Learner,
        batches: Batches,
        epochs: int,
        stopping: EarlyStopping,
        checkpointer: Checkpointer,
        logger: Logger,
        processes: Processes = ALONE,
    ) -> None:
        self.processes = processes
        self.learner, self.batches, self.epochs = learner, batches, epochs
        self.stopping, self.checkpointer, self.logger = stopping, checkpointer, logger
        self.epoch, self.batch, self.seconds = 0, 0, 0.0
        self._chunk, self._said, self._aligned = 1, "", False

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of the run."""
        return self.epoch * self.batches.per_epoch + self.batch

    def run(self, progress: Progress, flag: InterruptFlag) -> None:
        """Train to the end, until early stopping or until interrupted."""
        started = time.monotonic() - self.seconds
        while self.epoch < self.epochs and not self.stopping.stops:
            while self.batch < self.batches.per_epoch:
                self._advance(progress)
                self.seconds = time.monotonic() - started
                self._maybe_stop(flag, progress)
            self._finish_epoch(progress)
        self._save()
        self.logger.close()
        if self.stopping.stops:
            epochs = self.stopping.epochs_without_better
            progress.say(f"stopped early: no better validation bound for {epochs} epochs")

    def _advance(self, progress: Progress) -> None:
        """Run the steps between two reads of the losses."""
        began = time.perf_counter()  # of which a short step takes more than one tick on every system
        chunk = self.batches.of_epoch(self.epoch, self.batch, self._chunk)
        losses = self._update(chunk)
        if self._said != self.learner.description:
            self._said = self.learner.description
            progress.say(self._said)
        took = time.perf_counter() - began
        self.logger.add([len(index) for index in chunk], losses, took)
        self.batch += len(chunk)
        # The first steps make the graph and say nothing of the speed, so a chunk grows by ten at most.
        self._chunk = int(min(max(READ_EVERY * len(chunk) / took, 1), 10 * len(chunk), MAX_CHUNK))
        seen = self.batches.order.images(self.batch)
        progress.advance(len(chunk), self.logger.text(self.epoch + 1, self.epochs, seen))

    def _update(self, chunk: list[Tensor]) -> list[Losses]:
        try:
            return self.learner.update(chunk, self.steps_done)
        except BrokenStepError as error:
            raise ValueError(self._broken(str(error), self.batch + error.place)) from error

    def _finish_epoch(self, progress: Progress) -> None:
        """Log the epoch, advance the schedule, mark the best weights."""
        step = self.steps_done
        row = self.logger.end_epoch(self.epoch + 1, step, self.learner.settings(step), self.seconds)
        self.epoch, self.batch = self.epoch + 1, 0
        if self.stopping.is_better(watched(row)):
            self.checkpointer.remember_best(self.learner.weights)
        self.learner.end_epoch(row["loss"], watched(row))
        if self.learner.align() and not self._aligned:
            self._aligned = True
            progress.say("the processes' weights differed by rounding: all go on with those of process 0")
        if warning := self.logger.warning(self.epoch, self.epochs):
            progress.say(warning)
        # The first epoch is kept at once, so that a run that breaks later has something to go back to.
        if self.epoch == 1 or self.checkpointer.is_due:
            self._save()

    def _maybe_stop(self, flag: InterruptFlag, progress: Progress) -> None:
        """Stop, write a checkpoint or go on, as all processes do."""
        signal, self._chunk = self.processes.decided(flag.signal, self._chunk)
        if signal:
            self._save()
            progress.say(f"stopped in epoch {self.epoch + 1} after step {self.batch} of {self.batches.per_epoch}")
            raise Interrupted(signal)
        if self.checkpointer.is_due:
            self._save()

    def _save(self) -> None:
        if not self.checkpointer.save(self.learner.weights, self.state_dict()):
            raise ValueError(self._broken("a weight stopped being finite", self.batch))
        self.logger.save()

    def _broken(self, what: str, step: int) -> str:
        return (
            f"training broke in epoch {self.epoch + 1}, step {step} of {self.batches.per_epoch}: {what}"
            f"{self.checkpointer.last_good}; try a smaller learning rate (--optimizer.lr) or a KL warm-up "
            f"(--objective.warmup 0.2)"
        )

    def state_dict(self) -> dict[str, Any]:
        """The state by which a resumed run equals an uninterrupted one."""
        own = {name: getattr(self, name) for name in ("epoch", "batch", "seconds")}
        return {**self.learner.state_dict(), **self.logger.state_dict(), **self.stopping.state_dict(), **own}

    def resume(self) -> None:
        """Go on from the last checkpoint.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or is the checkpoint of another model.
        """
        found = self.checkpointer.load() if self.processes.is_first else None
        state = self.processes.state_from_first(found)
        try:
            for part in (self.learner, self.logger, self.stopping):
                part.load_state_dict(state)
            self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
            if self.batch > self.batches.per_epoch:
                raise ValueError(f"it is after batch {self.batch} of an epoch of {self.batches.per_epoch}")
        except Exception as error:  # an optimiser's state of another kind may break anywhere
            raise ValueError(
                f"{self.checkpointer.place} is the checkpoint of another run than config.yaml describes: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
        if self.processes.is_first:
            self.checkpointer.mend(state)
        self.logger.save()
