"""How much memory is left, and refusals before it is taken."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyrovae import memory
from pyrovae.data import ImageSet
from pyrovae.memory import NotEnoughMemory, check_memory, free_memory, in_words, refused_bytes
from pyrovae.models import VAE
from pyrovae.objectives import BetaTCVAE, InfoVAE, Objective
from pyrovae.training import Trainer, footprint
from pyrovae.training.footprint import check_footprint


def test_it_is_the_least_of_machine_container_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_of_the_machine", lambda: [(5, "machine")])
    monkeypatch.setattr(memory, "_of_the_container", lambda: [(3, "container"), (9, "container")])
    monkeypatch.setattr(memory, "_of_the_process", lambda: [])
    assert free_memory() == (3, "container")


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the group or of one above it; what is only cached is free."""
    inside = tmp_path / ("memory/a/b" if version == 1 else "a/b")
    inside.mkdir(parents=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    cached = "total_inactive_file" if version == 1 else "inactive_file"
    for folder, limit in ((inside, 2**62 if version == 1 else "max"), (inside.parent, 1000)):
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text("700\n")
        (folder / "memory.stat").write_text(f"rss 5\n{cached} 100\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    line = "4:memory:/a/b\n" if version == 1 else "0::/a/b\n"
    original = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, **kw: line if str(self) == "/proc/self/cgroup" else original(self, **kw)
    )
    assert list(memory._of_the_container()) == [(400, "left of the container's 1000 bytes")]


def test_the_limit_of_a_process() -> None:
    """In a process of its own, which lives with it afterwards."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2); "
        "from pyrovae.memory import free_memory; print(*free_memory())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 0 < int(out.split()[0]) <= 8 * 2**30
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_refusal_has_the_sum_and_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": (2**30, "free here"))
    check_memory({"a": 2**29, "b": 2**29}, "take less")
    with pytest.raises(NotEnoughMemory, match=r"a 1.0 GiB \+ b 512.0 MiB = 1.5 GiB, and 1.0 GiB are free here; take"):
        check_memory({"a": 2**30, "b": 2**29}, "take less")


def test_what_allocators_say() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert refused_bytes(caught.value) == f"out of memory: could not get {in_words(2**52)}"
    assert refused_bytes(MemoryError()) == "out of memory"
    assert refused_bytes(RuntimeError("mat1 and mat2")) is None


def test_a_training_is_estimated_from_sizes(few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients and Adam's two numbers a weight are exact; a sketch has no memory at all."""
    seen: dict[str, int] = {}
    monkeypatch.setattr("pyrovae.training.footprint.check_memory", lambda parts, *_: seen.update(parts))
    with torch.device("meta"):
        sketch = VAE((1, 8, 8), 2)
    weights = sum(p.numel() for p in sketch.parameters())
    check_footprint(sketch, torch.optim.Adam, 128, 1000)
    values = list(seen.values())
    assert values[0] == 4 * weights + sum(b.nbytes for b in sketch.buffers())
    assert values[1] == 4 * weights
    assert values[2] == pytest.approx(8 * weights, rel=0.02)  # and a count of steps
    assert values[3] > 1000 * 4 * 256
    check_footprint(sketch, torch.optim.SGD, 128, 1000)
    assert seen["state of SGD"] == 0
    assert next(sketch.parameters()).device.type == "meta"


def test_a_training_that_does_not_fit_is_refused(few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": (10_000, "free here"))
    with pytest.raises(NotEnoughMemory, match=r"gradients .* \+ state of Adam .* = .*, and 9.8 KiB are free here"):
        Trainer().check(VAE((1, 8, 8), 2), few_digits)


@pytest.mark.parametrize("objective", [BetaTCVAE(), InfoVAE()], ids=lambda objective: type(objective).__name__)
def test_pairs_of_images_grow_with_the_square_of_the_batch(
    objective: Objective, few_digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said beside what autograd keeps for tensors of the size of all pairs."""
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes * (tensor.ndim >= 3 and tensor.shape[-3:-1] == (200, 200))
        return tensor

    model = VAE((1, 8, 8), 7)
    programs = objective.programs(model, images=200)
    x = torch.rand(200, 1, 8, 8).round()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        programs.elbo.differentiable_loss(programs.model, programs.guide, torch.tensor(1.0), x)
    told = {}
    monkeypatch.setattr(footprint, "check_memory", lambda parts, *_: told.update(parts))
    Trainer(objective=objective, batch_size=500).check_memory(model, few_digits)
    batch = min(500, len(few_digits.splits["train"]))
    expected = told[f"pairs of {batch:,} images"] * (200 / batch) ** 2
    assert 0.3 * kept < expected <= kept
    Trainer(batch_size=500).check_memory(model, few_digits)
    assert told[f"pairs of {batch:,} images"] == 0


def test_a_batch_whose_pairs_do_not_fit_is_refused(digits: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": (2**26, "free here"))
    Trainer(batch_size=1000).check_memory(VAE((1, 8, 8), 10), digits)
    with pytest.raises(NotEnoughMemory, match=r"pairs of 1,000 images .* a smaller --batch_size"):
        Trainer(batch_size=1000, objective=BetaTCVAE()).check_memory(VAE((1, 8, 8), 10), digits)
