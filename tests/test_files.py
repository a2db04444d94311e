"""A run folder's files: whole or the old ones, and clear words about damaged ones."""

import errno
import itertools

import pytest
import torch

from pyrovae import VAE
from pyrovae.files import replace_file, replace_text
from pyrovae.training import RunFolder
from pyrovae.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from pyrovae.training.run_folder import free_names
from pyrovae.training.weights import load_weights, save_weights


def test_a_full_disk_leaves_the_old_file_whole(tmp_path) -> None:
    path = tmp_path / "checkpoint.pt"
    replace_text(path, "good")

    def full(beside):
        beside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        OSError,
        match=r"cannot write .*\.pt: the disk is full: it takes more than 4 bytes, and .* has .* free; make room",
    ):
        replace_file(path, full)
    assert path.read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_nothing_is_left_beside_a_file_that_was_not_written(tmp_path, error: type[BaseException]) -> None:
    path = tmp_path / "checkpoint.pt"
    replace_text(path, "good")

    def stopped(beside):
        beside.write_text("half")
        raise error

    with pytest.raises((error, OSError), match=r"^$|cannot write .*: MemoryError; what was there before") as caught:
        replace_file(path, stopped)
    assert caught.type is (OSError if error is MemoryError else error)
    assert path.read_text() == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_during_a_checkpoint_keeps_the_last(tmp_path, monkeypatch) -> None:
    folder = RunFolder.create(tmp_path / "run")
    save_checkpoint(folder, {"epoch": 1})

    def full(state, path):
        path.write_bytes(b"PK half of a file")
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint\.pt.*untouched"):
        save_checkpoint(folder, {"epoch": 2})
    assert load_checkpoint(folder)["epoch"] == 1


def test_the_checkpoint_before_the_last_is_kept(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    for epoch in (1, 2, 3):
        save_checkpoint(folder, {"epoch": epoch})
    assert load_checkpoint(folder)["epoch"] == 3
    folder.checkpoint.write_bytes(folder.checkpoint.read_bytes()[:100])
    state, note = find_checkpoint(folder)
    assert state["epoch"] == 2
    assert note == f"{folder.checkpoint} is damaged or no checkpoint; going on from checkpoint.previous.pt"
    folder.checkpoint.unlink()
    assert load_checkpoint(folder)["epoch"] == 2
    folder.previous_checkpoint.write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.pt does not exist, and .*previous\.pt is damaged .*: restore one"):
        load_checkpoint(folder)


def test_a_foreign_checkpoint_is_refused_and_not_unpickled(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    torch.save({"format": "somebody else's"}, folder.checkpoint)
    with pytest.raises(ValueError, match=r"is not a 'pyrovae checkpoint 2' \(found \"somebody else's\"\)"):
        load_checkpoint(folder)

    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("pwned").touch, ())

    torch.save(Payload(), folder.checkpoint)
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_checkpoint(folder)
    assert not (tmp_path / "pwned").exists()


def test_nothing_to_resume(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is nothing to resume"):
        load_checkpoint(RunFolder(tmp_path))


def test_weights_round_trip_and_damage(tmp_path) -> None:
    one, other = VAE((1, 4, 4), 2), VAE((1, 4, 4), 2)
    path = tmp_path / "model.safetensors"
    save_weights(path, one.state_dict())
    load_weights(path, other)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match=r"holds the weights of another model than its config\.yaml"):
        load_weights(path, VAE((1, 4, 4), 3))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="is damaged"):
        load_weights(path, other)
    with pytest.raises(FileNotFoundError, match="stopped before its first checkpoint"):
        load_weights(tmp_path / "none.safetensors", other)


def test_weights_that_share_memory_are_saved_whole(tmp_path) -> None:
    flat = torch.arange(6.0)
    save_weights(tmp_path / "w.safetensors", {"a": flat[:2], "b": flat[2:], "c": flat[:2]})
    model = torch.nn.Module()
    for name, size in (("a", 2), ("b", 4), ("c", 2)):
        model.register_buffer(name, torch.zeros(size))
    load_weights(tmp_path / "w.safetensors", model)
    assert model.b.tolist() == [2, 3, 4, 5]


def test_run_folders_are_never_overwritten_unasked(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    folder.config.write_text("a: 1")
    with pytest.raises(ValueError, match=r"already holds a run: choose another --name, continue it with --resume"):
        RunFolder.create(tmp_path / "run")
    RunFolder.create(tmp_path / "run", overwrite=True)
    assert not folder.config.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and holds no run of pyrovae"):
        RunFolder.create(tmp_path / "mine", overwrite=True)
    with pytest.raises(ValueError, match="is a file, not a folder"):
        RunFolder.create(tmp_path / "mine" / "thesis.tex")


def test_free_names(tmp_path) -> None:
    """Those that no run has; a folder that was never finished counts for none."""
    names = lambda: list(itertools.islice(free_names(tmp_path, "vae"), 2))  # noqa: E731
    assert names() == ["vae", "vae-2"]
    for name in ("vae", "vae-2", "vae-3"):
        (tmp_path / name / "figures").mkdir(parents=True)
    (tmp_path / "vae" / "config.yaml").write_text("a: 1")
    (tmp_path / "vae-3" / "notes.txt").write_text("mine")
    assert names() == ["vae-2", "vae-4"]
