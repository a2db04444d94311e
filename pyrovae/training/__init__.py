"""Training: the loop, its checkpoints and the run folder."""

from pyrovae.training.history import History
from pyrovae.training.run_folder import RunFolder
from pyrovae.training.trainer import Interrupted, Trainer

__all__ = ["History", "Interrupted", "RunFolder", "Trainer"]
