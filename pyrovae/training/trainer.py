"""Training by stochastic variational inference, as one object of settings with a `fit`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.data import ImageSet, PixelPolicy
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import Objective, TraceELBO
from pyrovae.runtime import choose_device, seeded
from pyrovae.training.checks import check_shapes, check_support
from pyrovae.training.history import History
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.loop import Loop
from pyrovae.training.progress import Progress
from pyrovae.training.run_folder import RunFolder

MIN_EPOCHS, MIN_STEPS = 20, 3000


@dataclass(frozen=True)
class Trainer:
    """Settings of a training by stochastic variational inference.

    Args:
        objective: The bound that is maximised, with the weights of its terms: TraceELBO, TraceMeanField, FreeBits,
            ImportanceWeighted or Renyi.
        optimizer: Any optimiser of torch.optim.
        scheduler: Any learning-rate schedule of torch.optim.lr_scheduler, stepped after each epoch; ReduceLROnPlateau
            follows the validation bound.
        epochs: Passes over the training images; by default 20, or as many as make 3,000 steps of a small set.
        batch_size: Images in a step; the last one of an epoch takes those that are left.
        pixels: dynamic (drawn black or white anew for each batch), fixed (drawn once), threshold (white above
            one half) or none (grey, between 0 and 1).
        patience: Stop after so many epochs without a better bound on the validation images; by default never.
        seed: Seed of the order of the images, of the pixels and of the codes.
        device: auto (CUDA, else MPS, else the CPU), cpu, cuda, cuda:1 or mps.
        engine: auto (the fastest that pays), compiled, graph or pyro: how a step is run; the result is the same.
        precision: float32, or bfloat16 for the networks with log-probabilities in float32.
        checkpoint_every: Seconds between two checkpoints.

    Raises:
        ValueError: If a setting is out of its range.
    """

    objective: Objective = TraceELBO()  # noqa: RUF009 - frozen
    optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer] = torch.optim.Adam
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    epochs: int | None = None
    batch_size: int = 128
    pixels: PixelPolicy = "dynamic"
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    engine: Literal["auto", "compiled", "graph", "pyro"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_every: float = 30.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def total_epochs(self, images: int) -> int:
        """Epochs of a training on so many images."""
        if self.epochs is not None:
            return self.epochs
        steps = -(-images // self.batch_size)
        return max(MIN_EPOCHS, -(-MIN_STEPS // steps))

    def check(self, model: LatentVariableModel, data: ImageSet) -> None:
        """Find what would stop a training, without training: `fit` does so first.

        Raises:
            ValueError: If the device does not exist, or the images do not suit the model or these settings.
        """
        choose_device(self.device)
        check_shapes(model, data)
        self.objective.notice(model)
        check_support(model, data, self.pixels)
        if self.patience and not len(data.splits["validation"]):
            raise ValueError("early stopping (patience) needs validation images, and there are none")

    def fit(
        self,
        model: LatentVariableModel,
        data: ImageSet,
        folder: RunFolder | None = None,
        *,
        resume: bool = False,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> History:
        """Train a model in place, and keep what is needed to go on in a run folder.

        The global random number generators and Pyro's parameter store are left as they were.

        Args:
            model: Any object with Pyro programs `model(x, y)` and `guide(x, y)` and modules' parameters.
            data: The images; trained on its split "train", watched on "validation" if that has images.
            folder: Where checkpoints, weights and metrics go; by default nowhere.
            resume: Whether to go on from the folder's checkpoint.
            progress: Whether to show a progress bar; in a log file, lines.
            tensorboard: Whether to write TensorBoard events into the folder as well.

        Returns:
            What was logged, an epoch a row.

        Raises:
            ValueError: If the images do not suit the model, or the loss stops being finite.
            OSError: If a file of the folder cannot be written.
            Interrupted: After Ctrl-C or SIGTERM, when the checkpoint is written.
        """
        self.check(model, data)
        device = choose_device(self.device)
        with seeded(self.seed, device), InterruptFlag() as flag:
            loop = Loop(self, model, data, device, folder)
            if resume:
                loop.resume()
            else:
                loop.start(data)
            with Progress(loop.total_steps, loop.steps_done, enabled=progress) as shown:
                loop.run(shown, flag, tensorboard)
        return loop.history


__all__ = ["Interrupted", "Trainer"]
