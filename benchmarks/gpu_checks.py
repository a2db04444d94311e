"""What must be right on a GPU: the sections of `gpu_acceptance.py` that measure no time. All raise `AssertionError`."""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import pyrovae
from pyrovae import CVAE, VAE, Trainer, networks
from pyrovae.data import ImageSet
from pyrovae.engine import SVI, compile_function, cuda_graphs, functions
from pyrovae.engine.compilation import tf32
from pyrovae.engine.cuda_graphs import Replay

TESTS = Path(__file__).parents[1] / "tests"
GPU = "cuda"
RTOL = 1e-3
HIDDEN = (64,)


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count recordings and replays."""
    counts: Counter[str] = Counter()

    class Counted(Replay):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            counts["recorded"] += 1

        def __call__(self, *inputs: Tensor) -> list[Tensor]:
            counts["replayed"] += 1
            return super().__call__(*inputs)

        def replay_together(self, inputs: Any) -> list[Tensor]:
            counts["together"] += len(inputs)
            return super().replay_together(inputs)

    with mock.patch.object(functions, "Replay", Counted):
        yield counts


def digits() -> ImageSet:
    """The embedded digits."""
    return pyrovae.load_images("digits")


def small(cls: type = VAE) -> Any:
    """A small model on the GPU, the same one at each call."""
    torch.manual_seed(0)
    classes = {"num_classes": 10} if cls is CVAE else {}
    encoder, decoder = partial(networks.MLPEncoder, hidden=HIDDEN), partial(networks.MLPDecoder, hidden=HIDDEN)
    return cls((1, 8, 8), latent_dim=2, encoder=encoder, decoder=decoder, **classes).to(GPU)


def trained(
    model: Any,
    engine: str,
    steps: int,
    change: Callable[[torch.optim.Optimizer, int], None] = lambda optimizer, step: None,
) -> list[float]:
    """Losses of steps on batches of 32 digits, of which every third is a partial one of 20."""
    images, labels = (tensor.to(GPU) for tensor in (digits().images[:512].float() / 255, digits().labels[:512]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    svi = SVI(model.model, model.guide, optimizer, engine=engine, check_every=None)
    torch.cuda.manual_seed(1)
    losses = []
    for step in range(steps):
        change(optimizer, step)
        index = torch.arange(20 if step % 3 == 2 else 32, device=GPU) + 13 * (step % 30)
        losses.append(svi.run([(images[index].round(), labels[index])]).loss)
    return torch.cat(losses).tolist()


def difference(found: list[float], expected: list[float], rtol: float = RTOL) -> float:
    """The largest relative difference, which must be small."""
    assert all(map(math.isfinite, found)), f"a loss is not finite: {found}"
    largest = max(abs(a / b - 1) for a, b in zip(found, expected, strict=True))
    assert largest < rtol, f"losses differ by {largest:.1e}, more than {rtol:g}"
    return largest


def versions(steps: int) -> dict[str, Any]:
    """What it all rests on."""
    triton = sys.modules.get("triton") or __import__("triton")
    return {
        "GPU": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "Triton": getattr(triton, "__version__", "?"),
        "TF32 in products": torch.backends.cuda.matmul.allow_tf32,
        "TF32 in convolutions": torch.backends.cudnn.allow_tf32,
    }


def engines(steps: int) -> dict[str, Any]:
    """Each engine's losses are Pyro's; graphs are replayed, and parameters move."""
    found: dict[str, Any] = {}
    steps = max(steps, 12)  # a graph is made at the third batch of a size
    for cls in (VAE, CVAE):
        by_pyro = trained(small(cls), "pyro", steps)
        for engine in ("graph", "compiled"):
            model = small(cls)
            before = [parameter.detach().clone() for parameter in model.parameters()]
            with counted() as counts:
                losses = trained(model, engine, steps)
            found[f"{cls.__name__} {engine}"] = f"{difference(losses, by_pyro):.1e}"
            still = [1 for old, new in zip(before, model.parameters(), strict=True) if torch.equal(old, new)]
            assert not still, f"{len(still)} parameters of {cls.__name__} by {engine} did not move"
            if engine == "compiled":
                assert counts["recorded"] == 2, f"{counts['recorded']} graphs for full and partial batches"
                assert counts["replayed"] == steps - 4, f"{counts['replayed']} replays in {steps} steps"
    return found


def together(steps: int) -> dict[str, Any]:
    """Many steps by one CUDA graph are those of single replays."""
    steps = max(steps, 40)
    images = digits().images[:512].to(GPU).float().div(255).round()
    losses: dict[str, list[float]] = {}
    for name, sizes in (("one by one", ()), ("together", cuda_graphs.TOGETHER)):
        model = small()
        svi = SVI(model.model, model.guide, torch.optim.Adam(model.parameters()), engine="compiled", check_every=None)
        torch.cuda.manual_seed(1)
        order = torch.arange(32 * steps, device=GPU) * 7 % 512
        with mock.patch.object(cuda_graphs, "TOGETHER", sizes), counted() as counts:
            losses[name] = svi.run([(images[index],) for index in order.split(32)]).loss.tolist()
    assert counts["together"] >= steps - 20, f"{counts['together']} of {steps} steps were taken together"
    found = difference(losses["together"], losses["one by one"], 1e-5)
    return {"difference": f"{found:.1e}", "steps together": counts["together"], "recorded": counts["recorded"]}


def parts(steps: int) -> dict[str, Any]:
    """Every part of the tests' tables, in as few models as hold them all: recorded, and the losses of Pyro."""
    sys.path.insert(0, str(TESTS))
    import test_combinations as tables

    from pyrovae.objectives import TraceELBO

    largest, failed = 0.0, []
    for cls, prior, likelihood, posterior in tables.covering():
        losses = {}
        x, y = (tensor.to(GPU) for tensor in tables.batch(digits(), likelihood))
        for engine in ("pyro", "compiled"):
            model = tables.build(cls, prior, likelihood, posterior).to(GPU)
            objective = TraceELBO()
            svi = SVI(
                objective.weighted(model.model),
                objective.weighted(model.guide),
                torch.optim.SGD(model.parameters(), lr=1e-4),
                engine=engine,
                check_every=None,
            )
            torch.cuda.manual_seed(1)
            sizes = [16, 16, 16, 16, 7, 7, 7]
            with counted() as counts:
                run = [svi.run([(torch.ones((), device=GPU), x[:size], y[:size])]).loss for size in sizes]
            losses[engine] = torch.cat(run).tolist()
        try:
            largest = max(largest, difference(losses["compiled"], losses["pyro"]))
            assert counts["replayed"] == 3, f"{counts['replayed']} replays"
        except AssertionError as error:
            failed.append(f"{prior}, {likelihood}, {posterior}: {error}")
    assert not failed, "; ".join(failed)
    return {"models": len(tables.covering()), "largest difference": f"{largest:.1e}"}


def failed_recording(steps: int) -> dict[str, Any]:
    """A wait in a recording: the generator stays sound, and the compiled code goes on without replay."""

    class Waiting(Replay):
        def __init__(self, call: Any, captured: Any, leaves: Any) -> None:
            calls = [0]

            def waiting(*inputs: Tensor) -> Any:
                results = call(*inputs)
                calls[0] += 1
                if calls[0] > 3:  # not while it warms up
                    results[0].sum().item()
                return results

            super().__init__(waiting, captured, leaves)

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    functions.logger.addHandler(handler)
    try:
        with mock.patch.object(functions, "Replay", Waiting):
            found = difference(trained(small(), "compiled", steps), trained(small(), "pyro", steps))
    finally:
        functions.logger.removeHandler(handler)
    assert len([words for words in said if "CUDA graph" in words]) == 1, said
    torch.randn(3, device=GPU)
    return {"difference": f"{found:.1e}"}


def resumed(steps: int) -> dict[str, Any]:
    """A training that was stopped and resumed, against one that was not."""

    def fit(folder: Path | None, epochs: int) -> float:
        torch.manual_seed(0)
        model = VAE((1, 8, 8), 2)
        trainer = Trainer(epochs=epochs, batch_size=100, device=GPU, engine="compiled")
        resume = folder is not None and (folder / "checkpoint.pt").exists()
        few = ImageSet.from_arrays(digits().images[:300], digits().labels[:300], name="few", validation=50)
        return trainer.fit(model, few, folder, resume=resume, progress=False).rows[-1]["loss"]

    with tempfile.TemporaryDirectory() as place:
        whole = fit(None, 3)
        fit(Path(place) / "run", 1)
        again = fit(Path(place) / "run", 3)
    difference([again], [whole])
    return {"equal to the bit": again == whole}


def learning_rate(steps: int) -> dict[str, Any]:
    """A learning rate that changes between replays reaches them."""

    def change(optimizer: torch.optim.Optimizer, step: int) -> None:
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 + step % 4)

    return {"difference": f"{difference(*(trained(small(), e, steps, change) for e in ('compiled', 'pyro'))):.1e}"}


def not_finite(steps: int) -> dict[str, Any]:
    """NaN in the middle of steps that run together: the weights stay those of the step before it."""
    model = small()
    images = digits().images[:32].to(GPU).float().div(255).round()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    svi = SVI(model.model, model.guide, optimizer, engine="compiled", check_every=None)
    one = torch.ones((), device=GPU)

    def scaled(weight: Tensor, x: Tensor) -> tuple[Tensor]:
        return (x * weight,)

    svi = SVI(model.model, model.guide, optimizer, engine="compiled", check_every=None, prepare=scaled)
    svi.run([(one, images)] * 4)
    with contextlib.suppress(ValueError, FloatingPointError):
        loss = svi.run([(one, images), (one * math.nan, images), (one, images)]).loss
        assert loss.isfinite().tolist() == [True, False, False], loss.tolist()
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    assert not broken, f"not finite: {broken}"
    return {"weights": "finite"}


def to_the_cpu(steps: int) -> dict[str, Any]:
    """A model trained on the GPU means the same on the CPU."""
    model = small()
    trained(model, "compiled", steps)
    images = digits().images[:64].float().div(255).round()
    on_gpu = model.posterior(images.to(GPU)).mean.detach().cpu()
    on_cpu = model.to("cpu").posterior(images).mean.detach()
    largest = float((on_gpu - on_cpu).abs().max() / on_cpu.abs().max())
    assert largest < RTOL, largest
    return {"difference": f"{largest:.1e}"}


def precision(steps: int) -> dict[str, Any]:
    """Errors of a convolutional decoder against float64, with TF32 and without; analyses must be without."""
    from pyrovae.runtime import frozen
    from pyrovae.shapes import Shapes

    torch.manual_seed(0)
    decoder: nn.Module = networks.ConvDecoder(Shapes((1, 28, 28), 8, 0), 1).to(GPU)
    z = torch.randn(64, 8, device=GPU)
    errors = {}
    with torch.no_grad():
        for name, enabled in (("TF32", True), ("float32", False)):
            with tf32(enabled):
                errors[name] = decoder(z)
        with tf32(True), frozen(decoder):
            errors["in an analysis"] = decoder(z)
        exact = decoder.double()(z.double())
    found = {name: float((value - exact).abs().max() / exact.abs().max()) for name, value in errors.items()}
    assert found["float32"] < 1e-4, found
    assert found["in an analysis"] < 1e-4, found
    return {name: f"{value:.1e}" for name, value in found.items()}


def marked_tests(steps: int) -> dict[str, Any]:
    """The tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "cuda", str(TESTS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or ["nothing said"])[-1]
    assert ended.returncode == 0, last
    function = compile_function(lambda x: 2 * x)
    assert function(torch.ones(2, device=GPU)).tolist() == [2.0, 2.0]
    return {"pytest": last}
