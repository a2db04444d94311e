"""What a training trains on and is measured on."""

from pathlib import Path

import pytest
import torch

import pyrovae
from pyrovae.data import ImageSet, evaluated_together, fixed_split, scratch
from pyrovae.latent import encode
from pyrovae.training import batches as staging
from pyrovae.training import block_order as block_orders
from pyrovae.training.batches import Batches
from pyrovae.training.block_order import BLOCK_BYTES, WINDOW_BYTES, block_order
from pyrovae.training.loop import Loop


@pytest.mark.parametrize("pixels", ["fixed", "threshold"])
def test_pixels_drawn_once_are_those_of_every_evaluation(pixels: str, digits: ImageSet) -> None:
    before = digits.images.clone()
    batches = Batches(digits, pixels, 128, 0, torch.device("cpu"))
    assert torch.equal(digits.images, before)
    for name, index in digits.splits.items():
        assert torch.equal(batches.images[index], fixed_split(digits.split(name), pixels).images)
    for name, split in batches.evaluated().items():
        assert torch.equal(split.images, batches.images[digits.splits[name]][: len(split)])


def test_an_order_of_blocks_holds_each_image_once_and_keeps_neighbours_together() -> None:
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        count, size = (int(torch.randint(1, most, (), generator=draw)) for most in (3000, 200_000))
        order = block_order(count, size, draw)
        assert torch.equal(order.sort().values, torch.arange(count))
        block = max(1, BLOCK_BYTES // size)
        blocks = WINDOW_BYTES // BLOCK_BYTES
        window = order[: block * (blocks - 1)] // block  # one of its blocks may be the last, which is shorter
        assert len(window.unique()) <= blocks
    assert not torch.equal(block_order(500, 9, draw), block_order(500, 9, draw))


@pytest.fixture
def packed(digits: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """A pack of small blocks, windows and chunks."""
    monkeypatch.setattr(block_orders, "BLOCK_BYTES", 64 * 10)
    monkeypatch.setattr(block_orders, "WINDOW_BYTES", 64 * 100)
    monkeypatch.setattr(staging, "STAGED_BYTES", 64 * 128 * 3)
    return pyrovae.pack(digits, tmp_path / "packed")


def test_an_epoch_of_a_pack_has_each_image_once_in_bounded_chunks(packed: ImageSet) -> None:
    batches = Batches(packed, "none", 128, 0, torch.device("cpu"))
    seen, first = [], 0
    while first < batches.per_epoch:
        chunk = batches.of_epoch(2, first, 2000)
        assert len(chunk) <= 3
        first += len(chunk)
        for index in chunk:
            x, y = batches.prepare(*batches.inputs(index))
            assert torch.equal(x, packed.images[index].float() / 255)
            assert torch.equal(y, packed.labels[index])
        seen += chunk
    assert torch.equal(torch.cat(seen).sort().values, packed.splits["train"])
    again = torch.cat(batches.of_epoch(2, 1, 2))
    assert torch.equal(again, torch.cat(seen)[128:384])  # whatever the chunks
    assert not torch.equal(torch.cat(batches.of_epoch(3, 1, 2)), again)


@pytest.mark.parametrize("engine", ["pyro", "graph"])
@pytest.mark.parametrize("policy", ["dynamic", "fixed"])
def test_a_training_on_a_pack_resumes_to_the_bit(engine: str, policy: str, packed: ImageSet, tmp_path: Path) -> None:
    settings = {"epochs": 2, "engine": engine, "pixels": policy, "device": "cpu", "batch_size": 50}
    weights = {}
    for name in ("whole", "stopped"):
        torch.manual_seed(0)
        model = pyrovae.VAE(packed.image_shape)
        trainer = pyrovae.Trainer(**settings, checkpoint_every=0 if name == "stopped" else 1000)
        if name == "stopped":
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Loop, "_maybe_stop", _stop_in_the_middle)
                with pytest.raises(_StoppedError):
                    trainer.fit(model, packed, tmp_path / name, progress=False)
            anew = pyrovae.load_images(f"pack:{packed.stored.folder}")
            trainer.fit(model, anew, tmp_path / name, resume=True, progress=False)
        else:
            trainer.fit(model, packed, tmp_path / name, progress=False)
        weights[name] = model.state_dict()
    assert all(torch.equal(weights["whole"][k], weights["stopped"][k]) for k in weights["whole"])


class _StoppedError(Exception):
    """As if the process had been killed after a checkpoint."""


def _stop_in_the_middle(loop: Loop, flag: object, progress: object) -> None:
    loop._save()
    if loop.epoch == 1 and loop.batch > 10:
        raise _StoppedError


@pytest.mark.parametrize("policy", ["dynamic", "threshold", "fixed"])
def test_large_draws_lie_in_a_file_and_are_the_same(policy: str, digits: ImageSet, monkeypatch) -> None:
    before = fixed_split(digits.split("train"), policy).images
    monkeypatch.setattr(scratch, "IN_MEMORY", 1000)
    assert torch.equal(fixed_split(digits.split("train"), policy).images, before)
    monkeypatch.setattr(scratch.tempfile, "TemporaryFile", _no_room)
    assert torch.equal(fixed_split(digits.split("train"), policy).images, before)


def _no_room() -> None:
    raise OSError(28, "No space left on device")


def test_analyses_of_a_pack_are_those_of_the_same_images(packed: ImageSet, digits: ImageSet) -> None:
    model = pyrovae.VAE(packed.image_shape)
    ours, theirs = (fixed_split(data.split("test"), "dynamic") for data in (packed, digits))
    assert torch.equal(ours.images, theirs.images)
    assert (encode(model, ours).means == encode(model, theirs).means).all()
    assert evaluated_together(digits) == 1000
    assert evaluated_together(packed) == 1000
    assert packed.split("train").take(range(20)).images.shape == (20, 1, 8, 8)


def test_many_images_cut_out_by_a_range_are_a_view(digits: ImageSet, monkeypatch) -> None:
    split = digits.split("test")
    monkeypatch.setattr("pyrovae.data.images.COPIED", 100)
    for numbers in (range(5), range(3, 90, 7), range(4, 4), range(9, 3), range(6, 2, -1)):
        part = split.take(numbers)
        assert torch.equal(part.images, split.images[list(numbers)])
        assert torch.equal(part.labels, split.labels[list(numbers)])
    assert split.take(range(50)).images.data_ptr() == split.images.data_ptr()
