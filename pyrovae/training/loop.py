"""The training loop: it knows batches, clocks and files, and nothing of the model."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyrovae.data.fixed import fixed_split
from pyrovae.data.images import ImageSet, Split
from pyrovae.data.pixels import PixelPolicy, pixels, to_unit
from pyrovae.diagnostics.collapse import collapse_warning
from pyrovae.engine import SVI, Step, UntraceableError
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.models import LatentVariableModel
from pyrovae.runtime import restore_rng_state, rng_state
from pyrovae.training.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.training.history import History, Row, elbo_columns
from pyrovae.training.interrupts import Interrupted, InterruptFlag
from pyrovae.training.progress import Progress
from pyrovae.training.run_folder import RunFolder, save_weights

if TYPE_CHECKING:
    from pyrovae.training.trainer import Trainer

READ_EVERY = 0.2
"""Seconds of steps between two reads of their losses: on a GPU a read waits for all steps before it."""
MAX_CHUNK = 2000
"""Steps between two reads, at most."""

SHOWN_TO_PARTS = 10_000
"""Training images that a part made of data looks at, at most."""

Batch = tuple[Tensor, float]
"""Indices of a batch's images, and the weight of the KL term."""


class Loop:
    """One training, from its first step or from a checkpoint to its end.

    Args:
        trainer: The settings.
        model: The model, trained in place.
        data: The images.
        device: Where to train.
        folder: Where checkpoints go, or None.
    """

    def __init__(
        self,
        trainer: Trainer,
        model: LatentVariableModel,
        data: ImageSet,
        device: torch.device,
        folder: RunFolder | None,
    ) -> None:
        self.trainer = trainer
        self.device = device
        self.folder = folder
        self.model = model.to(device)
        self.history = History(score=model.likelihood.score)

        self.data = data = _drawn_once(data, trainer.pixels)
        self.images, self.labels = data.images, data.labels
        self._resident = _fits(self.images, device)
        if self._resident:
            self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.index = data.splits["train"]
        self.evaluated = self._evaluated_splits()

        self.epochs = trainer.total_epochs(len(self.index))
        self.steps_per_epoch = math.ceil(len(self.index) / trainer.batch_size)
        self.total_steps = self.epochs * self.steps_per_epoch

        self.optimizer = trainer.optimizer(model.parameters())
        self.scheduler = trainer.scheduler(self.optimizer) if trainer.scheduler else None
        self.svi = SVI(
            trainer.objective.weighted(model.model),
            trainer.objective.weighted(model.guide),
            self.optimizer,
            loss=trainer.objective.elbo(),
            engine=trainer.engine,
            precision=trainer.precision,
            prepare=self._prepare if self._resident else self._prepare_cut,
            steps=self.total_steps,
        )

        # What a checkpoint holds beside weights, optimiser, schedule and random numbers.
        self.epoch = 0
        self.batch = 0
        self.sums = {"loss": 0.0, "loss_reconstruction": 0.0, "loss_kl": 0.0}
        self.best = math.inf
        self.epochs_without_better = 0
        self.seconds = 0.0
        self.step_seconds = 0.0

        self._best_weights: dict[str, Tensor] | None = None
        self._warned = False
        self._engine = ""
        self._order: Tensor | None = None
        self._chunk = 1
        self._last_save = time.monotonic()
        self._last_metrics = 0.0

    # -- the programs' inputs ----------------------------------------------------------------------------------------

    def _prepare(self, beta: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        """Cut a batch out of the images on the device and make its pixels; part of the step's graph."""
        return self._prepare_cut(beta, self.images[index], self.labels[index])

    def _prepare_cut(self, beta: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Make the pixels of a batch that was cut on the host, of a set that does not fit on the device."""
        return beta, pixels(images, self.trainer.pixels), labels

    def _inputs(self, index: Tensor, beta: float) -> tuple[Tensor, ...]:
        """The arguments of a step."""
        weight = torch.full((), beta, device=self.device)  # a kernel: copying to a GPU would wait
        if self._resident:
            return weight, index
        return weight, self.images[index].to(self.device), self.labels[index].to(self.device)

    def _update(self, chunk: list[Batch]) -> Step:
        """A few steps, without a look at what they give."""
        try:
            return self.svi.run([self._inputs(*batch) for batch in chunk])
        except UntraceableError:
            raise
        except (FloatingPointError, ValueError) as error:
            # Pyro's own words name the site first and print whole tensors after it.
            reason = next(line.strip() for line in str(error).splitlines() if line.strip())
            raise ValueError(self._broken(reason.rstrip(":"), self.batch + 1)) from error

    # -- the run -----------------------------------------------------------------------------------------------------

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of the run."""
        return self.epoch * self.steps_per_epoch + self.batch

    def start(self) -> None:
        """What a run does before its first step, and a resumed one does not: parts made of data look at some."""
        few = self._fixed("train", SHOWN_TO_PARTS)
        self.model.prior.start_from(to_unit(few.images).to(self.device), few.labels.to(self.device))

    def run(self, progress: Progress, flag: InterruptFlag, tensorboard: bool = False) -> None:
        """Train to the end, to early stopping, or until the flag is raised."""
        notice = self.trainer.objective.notice(self.model)
        if notice and not self.steps_done:
            progress.say(notice)
        writer = _tensorboard(self.folder, self.epoch) if tensorboard else None
        started = time.monotonic() - self.seconds
        while self.epoch < self.epochs and not self._stopped_early():
            while self.batch < self.steps_per_epoch:
                chunk = self._next_batches()
                began = time.monotonic()
                step = self._update(chunk)
                self._read(chunk, step, began, progress)
                self.seconds = time.monotonic() - started
                self._maybe_stop(flag, progress)
            row = self._finish_epoch(progress)
            if writer is not None:
                for name, value in row.items():
                    writer.add_scalar(name, value, self.epoch)
        self._save()
        if writer is not None:
            writer.close()
        if self._stopped_early():
            progress.say(f"stopped early: no better validation bound for {self.epochs_without_better} epochs")

    def _next_batches(self) -> list[Batch]:
        """The epoch's next batches, as many as are run before their losses are read."""
        if self._order is None:
            generator = torch.Generator().manual_seed(self.trainer.seed * 1_000_003 + self.epoch)
            self._order = self.index[torch.randperm(len(self.index), generator=generator)].to(self.images.device)
        size = self.trainer.batch_size
        chunk = self._order[self.batch * size : (self.batch + self._chunk) * size]
        return [
            (index, self.trainer.objective.beta_at((self.steps_done + 1 + i) / self.total_steps))
            for i, index in enumerate(chunk.split(size))
        ]

    def _finish_epoch(self, progress: Progress) -> Row:
        """Log the epoch, move the schedule, remember the best weights."""
        row = self._row()
        self.history.rows.append(row)
        self.epoch, self.batch, self._order = self.epoch + 1, 0, None
        self.sums, self.step_seconds = dict.fromkeys(self.sums, 0.0), 0.0

        watched = row.get("validation_negative_elbo", math.nan)
        if watched < self.best:
            self.best, self.epochs_without_better = watched, 0
            if self.folder is not None:
                self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        elif not math.isnan(watched):
            self.epochs_without_better += 1
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(row["loss"] if math.isnan(watched) else watched)
        elif self.scheduler is not None:
            self.scheduler.step()
        # Short epochs do not wait for the disk each: a row is there within a second, and with every checkpoint.
        if self.folder is not None and time.monotonic() - self._last_metrics >= 1:
            self.history.save(self.folder.metrics)
            self._last_metrics = time.monotonic()
        self._warn_of_collapse(row, progress)
        # The first epoch is kept at once, so that a run that breaks later has something to go back to.
        if self.epoch == 1 or time.monotonic() - self._last_save >= self.trainer.checkpoint_every:
            self._save()
        return row

    def _row(self) -> Row:
        n = len(self.index)
        row: Row = {
            "epoch": self.epoch + 1,
            "step": self.steps_done,
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "beta": self.trainer.objective.beta_at(self.steps_done / self.total_steps),
            **{name: value / n for name, value in self.sums.items()},
        }
        for name, split in self.evaluated.items():
            row |= elbo_columns(name, estimate_elbo(self.model, split, seed=self.trainer.seed))
        return row | {"images_per_second": n / max(self.step_seconds, 1e-9), "seconds": self.seconds}

    def _stopped_early(self) -> bool:
        return self.trainer.patience is not None and self.epochs_without_better >= self.trainer.patience

    def _warn_of_collapse(self, row: Row, progress: Progress) -> None:
        name = "validation" if "validation" in self.evaluated else "train"
        # Early on, and while a warm-up has not reached its weight, a small KL is no verdict.
        if self._warned or self.epoch < max(3, self.epochs // 3):
            return
        latent_dim = self.model.shapes.latent_dim
        warning = collapse_warning(int(row[f"{name}_active_units"]), latent_dim, row[f"{name}_kl"])
        if warning:
            self._warned = True
            progress.say(f"warning: after epoch {self.epoch} {warning}")

    # -- reading losses ----------------------------------------------------------------------------------------------

    def _read(self, chunk: list[Batch], step: Step, began: float, progress: Progress) -> None:
        """Fetch the losses of a chunk of steps, and stop at the first that is not finite."""
        if self._engine != self.svi.description:
            self._engine = self.svi.description
            progress.say(self._engine)
        sizes = [len(index) for index, _ in chunk]
        values = _parts(step, torch.tensor(sizes, device=step.loss.device)).tolist()
        for i, (n, (loss, reconstruction, kl)) in enumerate(zip(sizes, values, strict=True)):
            if not math.isfinite(loss):
                raise ValueError(self._broken(self.svi.diagnose(*self._inputs(*chunk[i])), self.batch + i + 1))
            # Summed in the order of the steps, so that it does not matter to the last bit when losses are read.
            self.sums["loss"] += n * loss
            self.sums["loss_reconstruction"] += n * reconstruction
            self.sums["loss_kl"] += n * kl
        self.batch += len(chunk)
        took = time.monotonic() - began
        self.step_seconds += took
        # The first steps make the graph and say nothing of the speed, so a chunk grows by ten at most.
        self._chunk = int(min(max(READ_EVERY * len(chunk) / took, 1), 10 * len(chunk), MAX_CHUNK))

        seen = min(self.batch * self.trainer.batch_size, len(self.index))
        loss, reconstruction, kl = (value / seen for value in self.sums.values())
        # A bound from several codes at once is no sum of the two terms, which are shown beside it all the same.
        equals, plus = ("=", "+") if self.trainer.objective.additive else (" ", " ")
        progress.advance(
            len(chunk),
            f"epoch {self.epoch + 1}/{self.epochs}  loss {loss:.2f} {equals} {self.history.score} {reconstruction:.2f} "
            f"{plus} KL {kl:.2f} nats/image  {seen / self.step_seconds:,.0f} images/s",
        )

    def _broken(self, what: str, step: int) -> str:
        kept = ""
        if self.folder is not None and self.folder.checkpoint.exists():
            kept = f"; the last good checkpoint is {self.folder.checkpoint}"
        return (
            f"training broke in epoch {self.epoch + 1}, step {step} of {self.steps_per_epoch}: {what}{kept}; "
            f"try a smaller learning rate (--optimizer.lr) or a KL warm-up (--objective.warmup 0.2)"
        )

    # -- keeping -----------------------------------------------------------------------------------------------------

    def _maybe_stop(self, flag: InterruptFlag, progress: Progress) -> None:
        if flag.signal:
            self._save()
            progress.say(f"stopped in epoch {self.epoch + 1} after step {self.batch} of {self.steps_per_epoch}")
            raise Interrupted(flag.signal)
        if time.monotonic() - self._last_save >= self.trainer.checkpoint_every:
            self._save()

    def _save(self) -> None:
        """Write weights and checkpoint; weights that are not finite are never written over good ones."""
        if self.folder is None:
            return
        weights = self.model.state_dict()
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise ValueError(self._broken("a weight stopped being finite", self.batch))
        if self._best_weights is not None:
            save_weights(self.folder.best_weights, self._best_weights)
            self._best_weights = None
        self.history.save(self.folder.metrics)
        save_weights(self.folder.last_weights, weights)
        save_checkpoint(self.folder, self.state_dict())
        self._last_save = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to end as if it had never stopped."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "rng": rng_state(self.device),
            "rows": self.history.rows,
            **{name: getattr(self, name) for name in self._COUNTERS},
        }

    _COUNTERS = ("epoch", "batch", "sums", "best", "epochs_without_better", "seconds", "step_seconds")

    def resume(self) -> None:
        """Go on from the folder's checkpoint.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, or is the checkpoint of another model.
        """
        if self.folder is None:
            raise ValueError("there is nothing to resume without a run folder: pass folder=RunFolder(path)")
        state = load_checkpoint(self.folder)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state["scheduler"])
            self.history.rows = state["rows"]
            for name in self._COUNTERS:
                setattr(self, name, state[name])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self.folder.checkpoint} is the checkpoint of another run than config.yaml describes: {reason}"
            ) from error
        restore_rng_state(state["rng"], self.device)

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _evaluated_splits(self) -> dict[str, Split]:
        """The validation images, and as many of the training images: what each epoch is measured on."""
        validation = len(self.data.splits["validation"])
        splits = {"train": self._fixed("train", validation or 5000)}
        if validation:
            splits["validation"] = self._fixed("validation", validation)
        return splits

    def _fixed(self, name: str, at_most: int) -> Split:
        whole = self.data.split(name)
        return fixed_split(whole.take(range(min(at_most, len(whole)))), self.trainer.pixels)


def _drawn_once(data: ImageSet, policy: PixelPolicy) -> ImageSet:
    """Images whose pixels are the same in every epoch, and in every evaluation of a split."""
    if policy not in ("fixed", "threshold"):
        return data
    images = data.images.clone()
    for name, index in data.splits.items():
        images[index] = fixed_split(data.split(name), policy).images
    return replace(data, images=images)


def _parts(step: Step, images: Tensor) -> Tensor:
    """Loss, reconstruction and KL of each step in nats per image, (steps, 3), float64."""
    observed = kl = torch.zeros_like(step.loss)
    for name, value in step.log_probs.items():
        program, site = name.split(".", 1)
        if program == "guide":
            kl = kl + value
        elif f"guide.{site}" in step.log_probs:
            kl = kl - value
        else:
            observed = observed + value
    return torch.stack([step.loss, -observed / images, kl / images], 1).cpu().double()  # MPS has no float64


def _fits(images: Tensor, device: torch.device) -> bool:
    """Whether a set of images can stay on the device, with half of its free memory left."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.nbytes < free // 2


def _tensorboard(folder: RunFolder | None, epoch: int) -> Any:
    if folder is None:
        raise ValueError("TensorBoard events need a run folder")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        cure = "pip install 'pyrovae[tensorboard]', or leave --tensorboard"
        raise ValueError(f"TensorBoard is not installed: {cure}") from error
    return SummaryWriter(folder.path / "tensorboard", purge_step=epoch + 1)
