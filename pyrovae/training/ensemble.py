"""Many trainings as one program: models that differ in weights, seeds, learning rates or the weight of the KL term."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from pyrovae.data import ImageSet, to_unit
from pyrovae.engine.ensemble import Ensemble
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import choose_device, rng_state, seeded
from pyrovae.training.history import History
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.learner import BrokenStepError, Losses
from pyrovae.training.loop import MAX_CHUNK, READ_EVERY, Loop
from pyrovae.training.processes import ALONE
from pyrovae.training.progress import Progress
from pyrovae.training.run_folder import RunFolder
from pyrovae.training.trainer import SHOWN_TO_PARTS, Trainer, claimed

SHARED = ("batch_size", "pixels", "device", "engine", "precision")
"""Settings of a trainer that all members must have in common."""


class BrokenMembersError(ValueError):
    """Some members' losses stopped being finite; the others were trained to their ends.

    Attributes:
        broken: What happened, by the member's number from 0.
        histories: What was logged of each, as far as it came.
    """

    def __init__(self, broken: dict[int, str], histories: list[History]) -> None:
        self.broken, self.histories = broken, histories
        words = "; ".join(f"member {number + 1}: {reason}" for number, reason in broken.items())
        super().__init__(f"{len(broken)} of {len(histories)} trainings broke, and the others are whole: {words}")


def fit_ensemble(
    trainers: Sequence[Trainer],
    models: Sequence[LatentVariableModel],
    data: ImageSet,
    folders: Sequence[str | Path | RunFolder] | None = None,
    *,
    resume: Sequence[bool] | bool = False,
    progress: bool = True,
) -> list[History]:
    """Train several models of the same shape in place, as one program; each as its trainer alone would, up to rounding.

    Members may differ in weights, seed, learning rate, schedule, epochs, patience and the weight of the KL term. Each
    has a run folder of its own, which a training alone can go on with, and the other way round.

    Args:
        trainers: The settings of each.
        models: The models, one for each trainer.
        data: The images of all.
        folders: Where each is kept; by default nowhere.
        resume: Whether to go on from the folders' checkpoints: of all, or of each.
        progress: Whether to show a progress bar.

    Returns:
        What was logged of each, an epoch a row.

    Raises:
        ValueError: If the trainers differ in more than that, or one of them cannot train its model; see `Trainer.fit`.
        EnsembleError: If the models cannot be trained as one program; says why. What was trained is in the folders.
        BrokenMembersError: If losses stopped being finite; these members were stopped, and the others trained on.
        Interrupted: After Ctrl-C, SIGTERM or SIGHUP, when the checkpoints are written.

    Example:
        >>> import pyrovae
        >>> digits = pyrovae.load_images("digits")
        >>> models = [pyrovae.VAE(digits.image_shape, latent_dim=2) for _ in range(2)]
        >>> trainers = [pyrovae.Trainer(seed=seed, epochs=1, engine="graph") for seed in range(2)]
        >>> histories = fit_ensemble(trainers, models, digits, progress=False)
        >>> [len(history) for history in histories]
        [1, 1]
    """
    _check(trainers, models, folders)
    resumed = _resumed(resume, len(models))
    device = choose_device(trainers[0].device)
    with ExitStack() as stack:
        kept = [None] * len(models) if folders is None else folders
        places = [
            None if folder is None else claimed(folder, again, stack)
            for folder, again in zip(kept, resumed, strict=True)
        ]
        flag = stack.enter_context(InterruptFlag())
        loops: list[Loop] = []
        states: list[dict[str, Tensor]] = []
        for trainer, model, folder in zip(trainers, models, places, strict=True):
            trainer.check(model, data)
            with seeded(trainer.seed, device):
                loop = trainer._loop(model.to(device), data, device, folder, tensorboard=False, processes=ALONE)
                states.append(rng_state(device))
            if loops:  # the images are the same ones: one copy of them on the device
                for name in ("data", "images", "labels"):
                    setattr(loop.batches, name, getattr(loops[0].batches, name))
            loops.append(loop)
        members = [loop.learner.svi for loop in loops]
        ensemble = Ensemble(members, seeds=[trainer.seed for trainer in trainers], engine=trainers[0].engine)
        stack.enter_context(ensemble)
        together = [_Member(number, loop, ensemble) for number, loop in enumerate(loops)]
        for member, model, again, state in zip(together, models, resumed, states, strict=True):
            ensemble.random[member.number].restore(state)
            member.begin(model, again)
        _train(together, ensemble, flag, progress)
    histories = [loop.logger.history for loop in loops]
    broken = {member.number: member.broken for member in together if member.broken}
    if broken:
        raise BrokenMembersError(broken, histories)
    return histories


def _check(
    trainers: Sequence[Trainer], models: Sequence[LatentVariableModel], folders: Sequence[object] | None
) -> None:
    counts = len(trainers), len(models), len(models if folders is None else folders)
    if not trainers or len(set(counts)) > 1:
        given = f"{counts[0]} trainers, {counts[1]} models" + ("" if folders is None else f", {counts[2]} folders")
        raise ValueError(f"an ensemble needs a trainer and a model for each member, and a folder or none, got {given}")
    if len(set(map(id, models))) < len(models):
        raise ValueError("an ensemble needs a model of its own for each member: one was given twice")
    for name in SHARED:
        values = list(dict.fromkeys(getattr(trainer, name) for trainer in trainers))
        if len(values) > 1:
            raise ValueError(
                f"members of an ensemble have the same {name}, got {', '.join(map(str, values[:3]))}: train those with "
                f"another one by themselves"
            )
    if trainers[0].engine == "pyro":
        raise ValueError("an ensemble is a graph, and engine pyro makes none: choose auto, compiled or graph")


def _resumed(resume: Sequence[bool] | bool, count: int) -> list[bool]:
    """Whether each member goes on from its folder's checkpoint.

    Raises:
        ValueError: If there are not so many answers.
    """
    if isinstance(resume, bool):
        return [resume] * count
    if len(resume) != count:
        raise ValueError(f"resume must be one truth value, or one for each of {count} members, got {len(resume)}")
    return list(resume)


class _Member:
    """One training of an ensemble: counts its own steps, epochs and patience."""

    def __init__(self, number: int, loop: Loop, ensemble: Ensemble) -> None:
        self.number, self.loop, self._ensemble = number, loop, ensemble
        self.broken, self.saved = "", False

    @property
    def over(self) -> bool:
        """Whether it takes no more steps."""
        loop = self.loop
        return bool(self.broken) or loop.epoch >= loop.epochs or loop.stopping.stops

    def begin(self, model: LatentVariableModel, resume: bool) -> None:
        """Go on from a checkpoint, or start what starts from data."""
        with self._ensemble.random[self.number].at_work():
            if resume:
                self.loop.resume()
                return
            few, device = self.loop.batches.shown(SHOWN_TO_PARTS), self.loop.batches.device
            model.prior.start_from(to_unit(few.images).nan_to_num(0.0).to(device), few.labels.to(device))

    def chunk(self, steps: int) -> list[Tensor]:
        """Indices of the images of its next steps, at most so many and none of the next epoch."""
        return self.loop.batches.of_epoch(self.loop.epoch, self.loop.batch, steps)

    def took(self, chunk: Sequence[Tensor], losses: Sequence[Losses], seconds: float) -> None:
        """Count steps that were taken."""
        self.loop.logger.add([len(index) for index in chunk], losses, seconds)
        self.loop.batch += len(chunk)

    def finish_epoch(self, progress: Progress) -> None:
        """If the epoch is at its end: log it, advance the schedule, mark the best weights."""
        if self.loop.batch < self.loop.batches.per_epoch:
            return
        with self._ensemble.random[self.number].at_work():
            self.loop._finish_epoch(progress)

    def save(self) -> None:
        """Write its checkpoint."""
        if self.broken:
            return
        with self._ensemble.random[self.number].at_work():
            self.loop._save()

    def breaks(self, error: Exception, place: int) -> None:
        """It takes no more steps; its last checkpoint stays."""
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        self.broken = self.loop._broken(reason.rstrip(":"), self.loop.batch + place)


def _train(members: Sequence[_Member], ensemble: Ensemble, flag: InterruptFlag, progress: bool) -> None:
    """Take steps of all that are furthest behind, until every member is at its end."""
    total = sum(member.loop.epochs * member.loop.batches.per_epoch for member in members)
    done = sum(member.loop.steps_done for member in members)
    started = time.monotonic() - max(member.loop.seconds for member in members)
    steps, said = 1, ""
    with Progress(total, done, enabled=progress) as shown:
        while alive := [member for member in members if not member.over]:
            began = time.perf_counter()
            taken = _advance(alive, ensemble, steps, shown)
            took = time.perf_counter() - began
            if ensemble.description != said:
                said = ensemble.description
                shown.say(said)
            steps = int(min(max(READ_EVERY * taken / took, 1), 10 * taken, MAX_CHUNK))
            for member in alive:
                member.loop.seconds = time.monotonic() - started
            _finish(alive, ensemble, flag, shown)
        ensemble.release()
        for member in members:
            member.save()
            member.loop.logger.close()


def _advance(alive: Sequence[_Member], ensemble: Ensemble, steps: int, shown: Progress) -> int:
    """Some steps of those that are furthest behind; the others wait."""
    behind = min(member.loop.steps_done for member in alive)
    now = [member for member in alive if member.loop.steps_done == behind]
    ahead = [member.loop.steps_done - behind for member in alive if member not in now]
    chunks = {member.number: member.chunk(min([steps, *ahead])) for member in now}
    count = min(map(len, chunks.values()))
    inputs = {m.number: m.loop.learner.inputs(chunks[m.number][:count], behind) for m in now}
    began = time.perf_counter()
    found = ensemble.run([inputs.get(number) for number in range(len(ensemble.members))])
    losses = {}
    for member in now:
        chunk, result = chunks[member.number][:count], found[member.number]
        assert result is not None
        try:
            if member.number in ensemble.failures:
                raise BrokenStepError(str(ensemble.failures[member.number]), 1)
            losses[member.number] = member.loop.learner.read(result, inputs[member.number], [*map(len, chunk)])
        except BrokenStepError as error:
            member.breaks(error, error.place)
            shown.say(f"member {member.number + 1}: {member.broken}; the others go on")
    share = (time.perf_counter() - began) / len(now)
    for member in now:
        if not member.broken:
            member.took(chunks[member.number][:count], losses[member.number], share)
    shown.advance(count * len(now), _text(now))
    return count


def _text(now: Sequence[_Member]) -> str:
    """The text of the progress bar: that of the first member that goes on."""
    member = next((member for member in now if not member.broken), None)
    if member is None:
        return ""
    loop = member.loop
    seen = loop.batches.order.images(loop.batch)
    return f"{len(now)} together, of the first: {loop.logger.text(loop.epoch + 1, loop.epochs, seen)}"


def _finish(alive: Sequence[_Member], ensemble: Ensemble, flag: InterruptFlag, shown: Progress) -> None:
    """Ends of epochs, checkpoints and signals."""
    at_end = any(member.loop.batch >= member.loop.batches.per_epoch for member in alive)
    due = any(member.loop.checkpointer.is_due for member in alive)
    if not (at_end or due or flag.signal):
        return
    ensemble.release()  # a row of a tensor of all members would be written with all of it
    for member in alive:
        if not member.broken:
            try:
                member.finish_epoch(shown)
                if due or flag.signal:
                    member.save()
            except ValueError as error:  # a weight is not finite
                member.broken = str(error)
                shown.say(f"member {member.number + 1}: {member.broken}; the others go on")
    if flag.signal:
        raise Interrupted(flag.signal)


__all__ = ["BrokenMembersError", "fit_ensemble"]
