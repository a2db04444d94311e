"""Training by stochastic variational inference: an object of settings with a method `fit`."""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyrovae.checks import check_value
from pyrovae.data import ImageSet, PixelChoice, policy_of, to_unit
from pyrovae.engine.compilation import missing_compiler
from pyrovae.models import LatentVariableModel
from pyrovae.objectives import Objective, TraceELBO
from pyrovae.runtime import MAX_SEED, choose_device, seeded
from pyrovae.shapes import MOST, is_whole
from pyrovae.training.batches import Batches
from pyrovae.training.checkpoint import Checkpointer
from pyrovae.training.checks import check_optimizer, check_shapes, check_support, unused_greys
from pyrovae.training.early_stopping import EarlyStopping
from pyrovae.training.footprint import check_footprint
from pyrovae.training.history import History
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.learner import Learner
from pyrovae.training.logger import Logger
from pyrovae.training.loop import Loop
from pyrovae.training.measures import Measures
from pyrovae.training.order import order_of
from pyrovae.training.processes import ALONE, Processes
from pyrovae.training.progress import Progress
from pyrovae.training.run_folder import RunFolder

MIN_EPOCHS, MIN_STEPS = 20, 3000
SHOWN_TO_PARTS = 10_000
"""Maximum number of training images for parts that are initialised from data."""


@dataclass(frozen=True)
class Trainer:
    """Settings of a training by stochastic variational inference.

    Args:
        objective: The bound that is maximised, with the weights of its terms: TraceELBO, TraceMeanField, FreeBits,
            ImportanceWeighted, Renyi, or one with a further term.
        optimizer: Any optimiser of torch.optim.
        scheduler: Any learning-rate schedule of torch.optim.lr_scheduler, stepped after each epoch; ReduceLROnPlateau
            follows the validation bound.
        epochs: Passes over the training images; by default 20, or as many as make 3,000 steps of a small set.
        batch_size: Images in a step; the last one of an epoch takes those that are left.
        pixels: dynamic (drawn black or white anew for each batch), fixed (drawn once), threshold (white above
            one half), none (grey, between 0 and 1), or auto: dynamic for drawings such as MNIST, none for photographs.
        patience: Stop after so many epochs without a better bound on the validation images; by default never.
        seed: Seed of the order of the images, of the pixels and of the codes.
        device: auto (CUDA, else MPS, else the CPU), cpu, cuda, cuda:1 or mps.
        engine: auto (the fastest that pays), compiled, graph or pyro: how a step is run; the result is the same.
        precision: float32; bfloat16 for the products of the networks' layers with log-probabilities in float32; or
            tf32 for the same products on an NVIDIA GPU.
        checkpoint_every: Seconds between two checkpoints.

    Raises:
        ValueError: If a setting is of another kind or out of its range.
    """

    objective: Objective = TraceELBO()  # noqa: RUF009 - frozen
    optimizer: Callable[[Iterable[torch.nn.Parameter]], Optimizer] = torch.optim.Adam
    scheduler: Callable[[Optimizer], LRScheduler] | None = None
    epochs: int | None = None
    batch_size: int = 128
    pixels: PixelChoice = "auto"
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    engine: Literal["auto", "compiled", "graph", "pyro"] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    checkpoint_every: float = 30.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # that of a torch.device
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if not is_whole(value, 1) and (value is not None or name == "batch_size"):
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
            if value is not None and value > MOST:
                raise ValueError(f"{name} must be a whole number of at most {MOST:,}, got {value:,}")
        if not is_whole(self.seed, 0) or self.seed > MAX_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {self.seed!r}")
        if not isinstance(self.checkpoint_every, int | float) or not 0 <= self.checkpoint_every < math.inf:
            raise ValueError(f"checkpoint_every must be at least 0 seconds, got {self.checkpoint_every!r}")
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if not isinstance(self.objective, Objective):
            raise ValueError(f"objective must be one of pyrovae's, such as TraceELBO(), got {self.objective!r}")
        if not callable(self.optimizer):
            raise ValueError(
                f"optimizer must be a class of torch.optim, or a function of the parameters such as "
                f"lambda parameters: torch.optim.Adam(parameters, lr=1e-3), got {_named(self.optimizer)}"
            )
        if self.scheduler is not None and not callable(self.scheduler):
            raise ValueError(
                f"scheduler must be a function of the optimiser, such as "
                f"lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10), got {_named(self.scheduler)}"
            )

    def total_epochs(self, per_epoch: int) -> int:
        """Number of epochs of so many batches."""
        if self.epochs is not None:
            return self.epochs
        return max(MIN_EPOCHS, -(-MIN_STEPS // per_epoch))

    def check(self, model: LatentVariableModel, data: ImageSet) -> str | None:
        """Find errors that would stop a training, without training. `fit` calls it first.

        Returns:
            What the user should know of this objective and these pixels with this model, in a line, or None.

        Raises:
            ValueError: If the device or the compiler of the engine does not exist, the images do not suit the model or
                these settings, or the optimiser or its schedule cannot be made.
        """
        device = choose_device(self.device)
        lacking = missing_compiler(device) if self.engine == "compiled" else None
        if lacking:
            raise ValueError(f"the engine compiled cannot run on {device}: {lacking}; or choose engine graph")
        check_shapes(model, data)
        self.check_memory(model, data)
        notice = self.objective.check(model)
        pixels = policy_of(data, self.pixels)
        check_support(model, data, pixels, chosen=self.pixels != "auto")
        notices = notice, None if self.pixels != "auto" else unused_greys(model, pixels)
        epochs = self.total_epochs(order_of(data, self.batch_size).per_epoch)
        check_optimizer(model, self.optimizer, self.scheduler, epochs)
        if self.patience and not len(data.splits["validation"]):
            raise ValueError("early stopping (patience) needs validation images, and there are none")
        return "; ".join(filter(None, notices)) or None

    def check_memory(self, model: LatentVariableModel, data: ImageSet) -> None:
        """Refuse a training that does not fit into the memory that is left; a model on the device "meta" will do.

        Raises:
            NotEnoughMemory: If it does not; the text says the sum and the limit.
        """
        images = len(data.splits["train"])
        device = choose_device(self.device)
        codes = getattr(self.objective.elbo(), "num_particles", 1)
        codes *= model.shapes.num_classes if model.infers_labels else 1
        pair = self.objective.estimator.kept_of_a_pair(model.shapes.latent_dim)
        check_footprint(model, self.optimizer, self.batch_size, images, codes=codes, pair=pair, device=device)

    def fit(
        self,
        model: LatentVariableModel,
        data: ImageSet,
        folder: str | Path | RunFolder | None = None,
        *,
        resume: bool = False,
        progress: bool = True,
        tensorboard: bool = False,
        processes: Processes = ALONE,
    ) -> History:
        """Train a model in place, and write its state to a run folder.

        The global random number generators and Pyro's parameter store are left as they were.

        Args:
            model: Any object with Pyro programs `model(x, y)` and `guide(x, y)` and modules' parameters.
            data: The images; trained on its split "train", watched on "validation" if that has images.
            folder: Where checkpoints, weights and metrics go; by default nowhere. One given by its path is made, and
                must not hold anything yet unless the training is resumed.
            resume: Whether to go on from the folder's checkpoint.
            progress: Whether to show a progress bar; in a log file, lines.
            tensorboard: Whether to write TensorBoard events into the folder as well.
            processes: Those that train this model together, see `pyrovae.training.joined`; each calls `fit` with the
                same arguments, and the first one writes.

        Returns:
            What was logged, an epoch a row.

        Raises:
            ValueError: If the images do not suit the model, the folder is taken or in use by another process, its
                checkpoints are damaged, or the loss stops being finite.
            CompilerError: If the engine is "compiled" and compilation fails; see `pyrovae.engine`.
            OSError: If a file of the folder cannot be written.
            Interrupted: After Ctrl-C, SIGTERM or SIGHUP, when the checkpoint is written.
        """
        check_value("folder", folder, str | Path | RunFolder | None)
        check_value("processes", processes, Processes)
        notice = self.check(model, data)
        processes.check_batch(self.batch_size)
        device = processes.device(self.device)
        with ExitStack() as stack:
            if not processes.is_first:
                folder = None
            elif folder is not None:
                folder = claimed(folder, resume, stack)
            stack.enter_context(seeded(self.seed, device))
            flag = stack.enter_context(InterruptFlag())
            tensorboard = tensorboard and processes.is_first
            loop = self._loop(model.to(device), data, device, folder, tensorboard, processes)
            if resume:
                loop.resume()
            else:
                few = loop.batches.shown(SHOWN_TO_PARTS)
                model.prior.start_from(to_unit(few.images).nan_to_num(0.0).to(device), few.labels.to(device))
            processes.tensors_from_first(model.state_dict())
            steps, shows = loop.epochs * loop.batches.per_epoch, progress and processes.is_first
            with Progress(steps, loop.steps_done, enabled=shows) as shown:
                said = processes.description, loop.checkpointer.notice, None if loop.steps_done else notice
                for words in said:
                    if words:
                        shown.say(words)
                loop.run(shown, flag)
        return loop.logger.history

    def _loop(
        self,
        model: LatentVariableModel,
        data: ImageSet,
        device: torch.device,
        folder: RunFolder | None,
        tensorboard: bool,
        processes: Processes,
    ) -> Loop:
        """The training loop of these settings."""
        batches = Batches(data, policy_of(data, self.pixels), self.batch_size, self.seed, device, processes)
        measures = Measures(model, batches, self.seed, self.objective.codes)
        epochs = self.total_epochs(batches.per_epoch)
        learner = Learner(
            model,
            batches,
            self.objective,
            self.optimizer,
            self.scheduler,
            engine=self.engine,
            precision=self.precision,
            total_steps=epochs * batches.per_epoch,
            processes=processes,
        )
        logger = Logger(
            lambda: processes.from_first(measures.row()),
            measures.warning,
            batches.order.images(batches.per_epoch),
            model.likelihood.score,
            additive=self.objective.additive and not model.infers_labels,
            folder=folder,
            tensorboard=tensorboard,
        )
        checkpointer = Checkpointer(folder, self.checkpoint_every)
        return Loop(learner, batches, epochs, EarlyStopping(self.patience), checkpointer, logger, processes)


def claimed(folder: str | Path | RunFolder, resume: bool, stack: ExitStack) -> RunFolder:
    """The folder of a training, made if it is new and given by its path, and nobody else's until the stack ends."""
    if not resume and not isinstance(folder, RunFolder):
        return stack.enter_context(RunFolder.making(Path(folder)))
    found = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    stack.enter_context(found.locked())
    return found


def _named(value: object) -> str:
    """A text unchanged, any other object by the name of its class."""
    return repr(value) if isinstance(value, str) else f"an object of {type(value).__name__}"


__all__ = ["Interrupted", "Trainer"]
