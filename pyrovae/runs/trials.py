"""The trials of a search, in a journal of Optuna's that many processes share, and who has which in hand."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from pyrovae import lock
from pyrovae.files import FULL, replace_text
from pyrovae.lock import InUseError
from pyrovae.runs.space import Dimension, Space, Value

JOURNAL, SETTINGS, CLAIMS = "journal.log", "search.json", ".claims"
"""Names in the folder of a search: Optuna's journal, what is searched for, and who has which trial."""
STUDY = "search"
"""Name of the only study in the journal."""
PATIENCE = 60.0
"""Seconds to wait for another search that begins a trial."""
STARTUP = 5
"""Trials that must have ended before one is pruned by their median."""
REASON = "reason"
"""Where the journal has why a trial failed."""


@dataclass(frozen=True)
class TrialRow:
    """A trial of a search.

    Attributes:
        number: Its number.
        state: complete, pruned, fail or running.
        bound: The best of its `Standing.bounds`, in nats per image; None if it has none.
        epochs: Epochs that were trained.
        values: Its options.
    """

    number: int
    state: str
    bound: float | None
    epochs: int
    values: dict[str, Value]


@dataclass
class Claimed:
    """A trial that this process has in hand, and nobody else.

    Attributes:
        trial: The trial.
        values: Its options.
        reported: Epochs that the journal has.
        pruned: Whether it was told to end.
    """

    trial: Trial
    values: dict[str, Value]
    reported: int
    _lock: ExitStack = field(repr=False)
    pruned: bool = False

    @property
    def number(self) -> int:
        """Its number."""
        return self.trial.number

    def close(self) -> None:
        """Let go of it."""
        self._lock.close()


class TrialBook:
    """The trials of a folder.

    Args:
        folder: The folder.
        settings: What is searched, and how: "space", "options", "sampler", "pruner", "seed".
        epochs: Epochs of a trial.

    Raises:
        ValueError: If it holds another search, or its journal is damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], epochs: int) -> None:
        self.folder, self._claims = folder, folder / CLAIMS
        self._mine: set[int] = set()
        optuna.logging.set_verbosity(logging.ERROR)
        self._claims.mkdir(parents=True, exist_ok=True)
        with self._alone(), self._journal():
            _check_settings(folder, settings)
            path = str((folder / JOURNAL).absolute())
            self._storage = JournalStorage(JournalFileBackend(path, lock_obj=_MendingLock(path)))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=STUDY,
                sampler=_SeededSampler(settings["sampler"], settings["seed"]),
                pruner=_pruner(settings["pruner"], epochs),
                load_if_exists=True,
            )

    def take(self, space: Space, most: int) -> Claimed | None:
        """A trial that nobody has in hand any more, or a new one; None if there are as many as there may be."""
        with self._alone(), self._journal():
            trials = self._study.get_trials(deepcopy=False)
            for left in trials:
                if left.state == TrialState.RUNNING and left.number not in self._mine:
                    claim = self._claim(left.number)
                    if claim is None:
                        continue
                    now = self._study.get_trials(deepcopy=False)[left.number]  # its owner may have ended it meanwhile
                    if now.state == TrialState.RUNNING:
                        return self._drawn(self._again(now), space, claim, max(now.intermediate_values, default=0))
                    self._mine.discard(left.number)
                    claim.close()
            if len(trials) >= most:
                return None
            trial = self._study.ask()
            claim = self._claim(trial.number)
            assert claim is not None  # nobody else begins one now
            return self._drawn(trial, space, claim, 0)

    def is_bad(self, claimed: Claimed, bounds: Sequence[float]) -> bool:
        """Write the bounds of new epochs into the journal, and say whether the pruner would end the trial.

        After such an epoch no more are written.
        """
        if claimed.pruned:
            return True
        with self._journal():
            for epoch, bound in enumerate(bounds[claimed.reported :], claimed.reported + 1):
                claimed.reported = epoch
                if np.isfinite(bound):
                    claimed.trial.report(bound, epoch)
                    if claimed.trial.should_prune():
                        return True
        return False

    def end(self, claimed: Claimed, bound: float) -> None:
        """A trial was trained to its end."""
        self._tell(claimed, TrialState.COMPLETE, bound)

    def prune(self, claimed: Claimed) -> None:
        """A trial was ended because of its bounds."""
        self._tell(claimed, TrialState.PRUNED)

    def fail(self, claimed: Claimed, why: str) -> None:
        """A trial failed."""
        with self._journal():
            claimed.trial.set_user_attr(REASON, why)
        self._tell(claimed, TrialState.FAIL)

    def rows(self) -> list[TrialRow]:
        """All trials, the best first, those without a bound last."""
        with self._journal():
            found = [_row(trial) for trial in self._study.get_trials(deepcopy=False)]
        order = ("complete", "pruned", "running", "waiting", "fail")
        return sorted(found, key=lambda r: (order.index(r.state), np.inf if r.bound is None else r.bound, r.number))

    def _tell(self, claimed: Claimed, state: TrialState, bound: float | None = None) -> None:
        with self._journal():
            self._study.tell(claimed.number, bound, state=state)
        self._mine.discard(claimed.number)
        claimed.close()

    def _claim(self, number: int) -> ExitStack | None:
        """The sole right to a trial, or None if somebody else has it."""
        place = self._claims / f"{number:03d}"
        place.mkdir(exist_ok=True)
        stack = ExitStack()
        try:
            stack.enter_context(lock.locked(place))
        except InUseError:
            return None
        self._mine.add(number)
        return stack

    def _again(self, left: FrozenTrial) -> Trial:
        """The trial that another process has begun and left."""
        study = self._storage.get_study_id_from_name(STUDY)
        return Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study, left.number))

    def _drawn(self, trial: Trial, space: Space, claim: ExitStack, reported: int) -> Claimed:
        """Choose the options of a trial; what it has already stays."""
        values: dict[str, Value] = {}
        for each in space.dimensions:
            if space.applies(each, values):
                values[each.name] = _suggest(trial, each)
        return Claimed(trial, values, reported, claim)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who begins or takes over trials, for a moment."""
        until = time.monotonic() + PATIENCE
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(lock.locked(self._claims))
                    break
                except InUseError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.05)
            yield

    @contextmanager
    def _journal(self) -> Iterator[None]:
        """Around what reads or writes the journal: say in words what is wrong with it, without Optuna's warnings."""
        path = self.folder / JOURNAL
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except OSError as error:
            reason = FULL.get(error.errno or 0)
            raise (OSError(f"cannot write {path}: {reason}; make room there") if reason else error) from error
        except (json.JSONDecodeError, KeyError) as error:
            raise ValueError(
                f"{path} is damaged ({' '.join(str(error).split())[:100]}): put it back, or search under another --name"
            ) from error


class _MendingLock(JournalFileOpenLock):
    """Optuna's lock of a journal; whoever takes it cuts off the part of a line that a killed writer has left."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = Path(path)

    def acquire(self) -> bool:
        taken = super().acquire()
        try:
            with self._path.open("r+b") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        except FileNotFoundError:
            pass
        return taken


class _SeededSampler(BaseSampler):
    """A sampler whose random numbers depend on the seed and the number of the trial, not on what was drawn before.

    Args:
        kind: "tpe" or "random".
        seed: The seed.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._inner = self._made(0)

    def _made(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options that are new
            return TPESampler(seed=seed, constant_liar=True) if self._kind == "tpe" else RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner = self._made(trial.number)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def _pruner(name: str, epochs: int) -> BasePruner:
    return {
        "median": lambda: MedianPruner(n_startup_trials=STARTUP),
        "hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3),
        "halving": lambda: SuccessiveHalvingPruner(),
        "none": lambda: NopPruner(),
    }[name]()


def _suggest(trial: Trial, option: Dimension) -> Value:
    if option.kind == "choice":
        return str(trial.suggest_categorical(option.name, option.choices))
    if option.kind in ("int", "logint"):
        low, high = int(option.low), int(option.high)
        return trial.suggest_int(option.name, low, high, step=option.step, log=option.kind == "logint")
    return trial.suggest_float(option.name, option.low, option.high, log=option.kind == "log")


def _row(trial: FrozenTrial) -> TrialRow:
    bounds = list(trial.intermediate_values.values())
    bound = trial.value if trial.state == TrialState.COMPLETE else min(bounds, default=None)
    epochs = max(trial.intermediate_values, default=0)
    return TrialRow(trial.number, trial.state.name.lower(), bound, epochs, dict(trial.params))


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write what is searched, or refuse another search than the folder holds.

    Raises:
        ValueError: If it holds another one.
    """
    path = folder / SETTINGS
    if not path.exists():
        if (folder / JOURNAL).exists():
            raise ValueError(f"{folder} has a {JOURNAL} but no {SETTINGS}: put that back, or choose another --name")
        replace_text(path, json.dumps(settings, indent=1) + "\n")
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in settings.items() if held[name] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: put it back, or choose another --name") from error
    if other:
        name = other[0]
        raise ValueError(
            f"{folder} holds another search: its {name} {'are' if name == 'options' else 'is'} {_in_line(held[name])}, "
            f"and here {_in_line(settings[name])}; give the same again, or choose another --name"
        )


def _in_line(value: object) -> str:
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value)) or "none"
