"""Training: the loop, its checkpoints and the run folder."""

from typing import TYPE_CHECKING

from pyrovae.lazy import exported

if TYPE_CHECKING:
    from pyrovae.training.ensemble import BrokenMembersError, fit_ensemble
    from pyrovae.training.history import History
    from pyrovae.training.processes import Processes, joined
    from pyrovae.training.run_folder import RunFolder
    from pyrovae.training.trainer import Interrupted, Trainer

__all__ = [
    "BrokenMembersError",
    "History",
    "Interrupted",
    "Processes",
    "RunFolder",
    "Trainer",
    "fit_ensemble",
    "joined",
]

__getattr__, __dir__ = exported(
    __name__,
    {
        "pyrovae.training.ensemble": ("BrokenMembersError", "fit_ensemble"),
        "pyrovae.training.history": ("History",),
        "pyrovae.training.processes": ("Processes", "joined"),
        "pyrovae.training.run_folder": ("RunFolder",),
        "pyrovae.training.trainer": ("Interrupted", "Trainer"),
    },
)
