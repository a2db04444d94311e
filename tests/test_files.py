"""A run folder's files: whole or the old ones, and clear words about damaged ones."""

import errno
import io
import itertools
import math
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from campaigns.hard_places import without_rights
from safetensors.torch import save_file

from pyrovae import VAE
from pyrovae.files import replace_file, replace_text
from pyrovae.plots import new_figure, save_figure
from pyrovae.training import RunFolder
from pyrovae.training.checkpoint import find_checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
from pyrovae.training.run_folder import free_names
from pyrovae.training.weights import load_weights, read_weights, save_weights


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere root keeps its rights")
def test_weights_that_nobody_may_read_are_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, {"w": torch.ones(2)})
    path.chmod(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(without_rights).result()  # of that thread
        with pytest.raises(PermissionError, match=r"model\.safetensors"):
            pool.submit(read_weights, path).result()


def test_weights_that_are_no_file_are_refused_at_once(tmp_path: Path) -> None:
    for name, make in (("pipe", os.mkfifo), ("folder", os.mkdir)):
        make(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is damaged .it is no file."):
            read_weights(tmp_path / name)
    strange = tmp_path / "a\udcff"
    strange.write_bytes(b"")
    with pytest.raises(ValueError, match="must be a path in UTF-8 for safetensors to read it: rename its folder"):
        read_weights(strange)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path) -> None:
    path = tmp_path / "checkpoint.pt"
    replace_text(path, "good")

    def full(beside):
        beside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        OSError,
        match=r"cannot write .*\.pt: the disk is full: more than .* needed, .* free in .*; make room",
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


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "pyrovae-test", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root may mount a small disk, and not in every container")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(small_disk) -> None:
    """What was there stays whole, and the message says how much was needed, and where."""
    folder = RunFolder.create(small_disk / "run")
    small, large = {"epoch": 1, "model": {"w": torch.ones(9)}}, {"epoch": 2, "model": {"w": torch.ones(100_000)}}
    save_checkpoint(folder, small)
    save_weights(folder.last_weights, small["model"])
    needed = rf"the disk is full: 40\d kB needed, 2\d\d kB free in {folder.path}; make room there; what was"
    with pytest.raises(OSError, match=rf"cannot write .*checkpoint\.pt: {needed} there before is untouched"):
        save_checkpoint(folder, large)
    with pytest.raises(OSError, match=rf"cannot write .*model\.safetensors: {needed}"):
        save_weights(folder.last_weights, large["model"])
    with pytest.raises(OSError, match=rf"cannot write .*metrics\.csv: {needed}"):
        replace_text(folder.metrics, "1" * 400_100)
    figure, (ax,) = new_figure(20, 20)
    ax.imshow(torch.rand(1000, 1000).numpy(), interpolation="nearest")
    with pytest.raises(OSError, match=r"cannot write .*a\.png: the disk is full: more than 2\d\d kB needed"):
        save_figure(figure, folder.figures / "a.png")
    assert load_checkpoint(folder)["epoch"] == 1
    assert read_weights(folder.last_weights)["w"].tolist() == [1.0] * 9
    assert {p.name for p in folder.path.rglob("*")} == {".lock", "figures", "checkpoint.pt", "model.safetensors"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_during_a_checkpoint_keeps_the_last(tmp_path, monkeypatch, number: int) -> None:
    """The system's error is found in the chain of torch's own, which says something else."""
    folder = RunFolder.create(tmp_path / "run")
    save_checkpoint(folder, {"epoch": 1})
    opened = Path.open

    def full(self, mode="r", *args, **settings):
        file = opened(self, mode, *args, **settings)
        if "tmp" in self.name and "w" in mode:

            class Full(type(file)):
                def write(self, content) -> int:
                    raise OSError(number, "no more")

            return Full(io.FileIO(file.fileno(), "w", closefd=False))
        return file

    monkeypatch.setattr(Path, "open", full)
    what = "the disk is full" if number == errno.ENOSPC else "the disk quota is used up"
    with pytest.raises(OSError, match=rf"cannot write .*checkpoint\.pt: {what}: 40\d kB needed, .*untouched"):
        save_checkpoint(folder, {"epoch": 2, "model": {"w": torch.ones(100_000)}})
    assert load_checkpoint(folder)["epoch"] == 1


def test_what_the_dead_left_unfinished_goes_and_what_the_living_write_stays(tmp_path) -> None:
    with subprocess.Popen(["sleep", "0"]) as ended:
        pass
    here = re.sub("[^0-9A-Za-z-]", "-", platform.node())[:40]
    dead, old = f".a.pt.{ended.pid}@{here}.0.pyrovae-tmp.pt", f".a.pt.1@{here}.0.pyrovae-tmp.pt"
    mine, elsewhere = f".a.pt.{os.getpid()}@{here}.99.pyrovae-tmp.pt", ".a.pt.1@elsewhere.0.pyrovae-tmp.pt"
    living = f".a.pt.{os.getppid()}@{here}.0.pyrovae-tmp.pt"
    others = [".a.pt.123.tmp", "a.pt.123@x.0.pyrovae-tmp.pt", ".swp"]
    for name in (dead, old, mine, elsewhere, living, *others):
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / old, (0, 0))

    def write(beside: Path) -> None:
        beside.write_text("whole")
        replace_text(tmp_path / "b.txt", "while the other one is written")

    replace_file(tmp_path / "a.pt", write)
    assert {p.name for p in tmp_path.iterdir()} == {"a.pt", "b.txt", elsewhere, living, *others}
    os.utime(tmp_path / elsewhere, (0, 0))
    replace_text(tmp_path / "b.txt", "again")
    assert not (tmp_path / elsewhere).exists()


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_are_readable_by_whom_the_umask_says(tmp_path, mask: int) -> None:
    before = os.umask(mask)
    try:
        folder = RunFolder.create(tmp_path / "run")
        save_weights(folder.last_weights, {"w": torch.ones(2)})
        save_checkpoint(folder, {"epoch": 1})
    finally:
        os.umask(before)
    for path in (folder.last_weights, folder.checkpoint):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_every_flipped_bit_of_the_numbers_is_found(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(
        path, {"w": torch.arange(4.0), "flag": torch.tensor(True), "half": torch.ones(3, dtype=torch.bfloat16)}
    )
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged \(its digest is another .*--resume"):
            read_weights(path)
    save_file({"w": torch.arange(4.0)}, path)  # as version 0.1 wrote them
    assert read_weights(path)["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("epoch", v) for v in (-5, True, "3", None, 1.5)],
        *[("rng", v) for v in (None, [1], {"cpu": 3}, {1: torch.ones(1)})],
        *[("optimizer", v) for v in ([], {}, {"state": {}, "param_groups": 3}, {"state": 1, "param_groups": []})],
        *[("sums", v) for v in (3, {"loss": "x"}, {"loss": None})],
        *[("rows", v) for v in ({}, [3], [{"epoch": "x"}], [{"epoch": 1}, {"epoch": 2}])],
        *[("engine", v) for v in (3, {"engine": None}, {"engine": "pyro", "reason": "x", "settled": 1})],
        *[("seconds", v) for v in (-1.0, math.nan, "x")],
        *[("model", v) for v in ([], {"w": 3})],
        *[("best", v) for v in ("x", None, True)],
    ],
)
def test_a_checkpoint_of_version_0_1_with_an_entry_of_another_kind(tmp_path, name: str, value: object) -> None:
    """It has no digest; the one before it is taken."""
    folder = RunFolder.create(tmp_path / "run")
    torch.save({"format": "pyrovae checkpoint 1", "epoch": 1}, folder.previous_checkpoint)
    torch.save({"format": "pyrovae checkpoint 1", "epoch": 3, name: value}, folder.checkpoint)
    state, note = find_checkpoint(folder)
    assert state["epoch"] == 1
    assert "\n" not in note
    assert f"is damaged: {name!r} must be" in note or "it is of epoch 3 and has 2 rows" in note


@pytest.mark.parametrize(
    ("name", "value"), [*[("best", v) for v in (-1, 3, 1.5, math.nan, math.inf)], ("epochs_without_better", 2)]
)
@pytest.mark.parametrize("column", ["validation_negative_elbo", "validation_negative_bound"])
def test_what_early_stopping_recorded_is_what_its_rows_say(tmp_path, name: str, value: float, column: str) -> None:
    rows = [{"epoch": 1.0, "loss": 9.0, column: 8.0}, {"epoch": 2.0, column: 7.5}, {"epoch": 3.0, column: 7.75}]
    state = {"format": "pyrovae checkpoint 1", "epoch": 3, "rows": rows, "best": 7.5, "epochs_without_better": 1}
    folder = RunFolder.create(tmp_path / "run")
    torch.save(state, folder.checkpoint)
    assert read_checkpoint(folder.checkpoint)["best"] == 7.5
    torch.save(state | {name: value}, folder.checkpoint)
    with pytest.raises(ValueError, match=f"is damaged: '{name}' is .* where its rows say {state[name]}"):
        read_checkpoint(folder.checkpoint)


def test_damaged_metrics_are_refused_in_one_line(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    good = "epoch,loss\n1,2.5\n2,\n"
    folder.metrics.write_text(good)
    assert folder.rows() == [{"epoch": 1, "loss": 2.5}, {"epoch": 2}]
    for bad in (
        "epoch,loss\n1,x\n",
        "epoch,loss\n1,2,3\n",
        "epoch,loss\n1\n",
        "e,loss\n1,2\n",
        "epoch\n2\n",
        "epoch\nnan\n",
    ):
        folder.metrics.write_text(bad)
        with pytest.raises(ValueError, match=r"metrics\.csv is damaged \(.*\): pyrovae train --resume .* anew"):
            folder.rows()
    folder.metrics.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is damaged"):
        folder.rows()


def test_a_folder_that_was_never_finished_is_taken(tmp_path) -> None:
    """Killed between its making and its settings, at each moment in turn."""
    path = tmp_path / "run"
    unfinished = ".config.yaml.999999@x.0.pyrovae-tmp.yaml"
    made = (".lock", "figures", "scaling.json", unfinished)
    for half in (*(made[:n] for n in range(len(made) + 1)), (".lock", "figures", unfinished)):
        path.mkdir()
        for name in half:
            (path / name).mkdir() if name == "figures" else (path / name).touch()
            os.utime(path / name, (0, 0))
        with RunFolder.making(path, "a: 1") as folder:
            assert folder.config.read_text() == "a: 1"
        assert {p.name for p in path.iterdir()} == {".lock", "figures", "config.yaml"}
        shutil.rmtree(path)


def test_overwriting_removes_the_settings_last(tmp_path, monkeypatch) -> None:
    """Killed while it is emptied, a folder is still a run, which can be overwritten."""
    folder = RunFolder.create(tmp_path / "run")
    for name in ("config.yaml", "checkpoint.pt", "zzz.json"):
        (folder.path / name).touch()
    unlink = Path.unlink

    def killed(self, missing_ok=False) -> None:
        if self.name == "config.yaml":
            raise KeyboardInterrupt
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(folder.path, overwrite=True)
    assert {p.name for p in folder.path.iterdir()} == {".lock", "config.yaml"}


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
