"""Packs: what is written is what is read, a stopped pack goes on, and no damage goes unnoticed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyrovae
from pyrovae.cli.main import main
from pyrovae.data import ImageSet, from_values, load_images, pack_writer
from pyrovae.data.manifest import MANIFEST, partial_of
from pyrovae.shapes import WrongTypeError

COUNT = 100


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "SHARD_BYTES", 15 * 3 * 4 * 5)  # 15 images
    monkeypatch.setattr(pack_writer, "READ_ROWS", 4)


def colours(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (COUNT, 3, 4, 5), dtype=np.uint8)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checked.json"}


class Items:
    """A Dataset of images and words, which may break at one of them."""

    def __init__(self, breaks_at: int = -1, how: str = "raises") -> None:
        self.images, self.breaks_at, self.how = colours(), breaks_at, how

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, i: int) -> tuple[np.ndarray, str]:
        if i == self.breaks_at and self.how == "raises":
            raise KeyError("no such record")
        image = self.images[i]
        return (image[:, :2] if i == self.breaks_at else image), "zebra" if i % 3 else "ant"


def test_a_pack_holds_the_rows_of_its_source_in_an_order_of_its_own(tmp_path: Path) -> None:
    labels = np.arange(COUNT) % 4
    whole = ImageSet.from_arrays(colours(), labels)
    packed = pyrovae.pack(whole, tmp_path / "p")
    rows = torch.from_numpy(np.load(tmp_path / "p" / "rows.npy"))
    assert torch.equal(packed.images, whole.images[rows])
    assert torch.equal(packed.labels, whole.labels[rows])
    for name in ("train", "validation", "test"):
        assert set(rows[packed.splits[name]].tolist()) == set(whole.splits[name].tolist())
    assert torch.equal(packed.split("test").images, whole.split("test").images)
    assert not torch.equal(rows[packed.splits["train"]], whole.splits["train"])  # so that neighbours differ
    assert packed.split("train").images.data_ptr() == packed.images.data_ptr()  # and nothing is read


def test_every_source_of_the_same_images_makes_the_same_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", colours())
    for i, image in enumerate(colours()):
        folder = tmp_path / "files" / ("zebra" if i % 3 else "ant")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:03}.png")
    made = {
        "array": pyrovae.pack(colours(), tmp_path / "a"),
        "file": pyrovae.pack(tmp_path / "x.npy", tmp_path / "b"),
        "name": pyrovae.pack(f"array:{tmp_path / 'x.npy'}", tmp_path / "c"),
        "dataset": pyrovae.pack(Items(), tmp_path / "d"),
    }
    for name, packed in made.items():
        assert torch.equal(packed.images, made["array"].images), name
    assert made["dataset"].class_names == ("ant", "zebra")
    rows = np.load(tmp_path / "d" / "rows.npy")
    assert made["dataset"].labels.tolist() == [int(i % 3 > 0) for i in rows]
    folder = pyrovae.pack(tmp_path / "files", tmp_path / "e")
    assert folder.class_names == ("ant", "zebra")
    loaded = load_images(f"folder:{tmp_path / 'files'}")
    assert torch.equal(folder.images, loaded.images[np.load(tmp_path / "e" / "rows.npy")])
    assert torch.equal(load_images(f"pack:{tmp_path / 'e'}").labels, folder.labels)


@pytest.mark.parametrize("policy", ["standard", "unit", "none"])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 4)], ids=["table", "images"])
def test_values_are_scaled_as_in_memory(policy: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(50, 0.1, (COUNT, *shape)) * 10.0 ** rng.integers(-3, 4, shape[:1] + (1,) * (len(shape) - 1))
    values.reshape(COUNT, -1)[:, 1] = 2.5 if len(shape) == 1 else values.reshape(COUNT, -1)[:, 1]
    values[rng.random(values.shape) < 0.1] = np.nan
    whole = from_values(values, kind="vectors" if len(shape) == 1 else "images", scaling=policy)
    packed = pyrovae.pack(values, tmp_path / "p", scaling=policy)
    expected = whole.images[np.load(tmp_path / "p" / "rows.npy")]
    torch.testing.assert_close(packed.images, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert packed.missing == pytest.approx(whole.missing)
    assert packed.columns == whole.columns
    torch.testing.assert_close(packed.scaling.scale, whole.scaling.scale, rtol=1e-9, atol=0)


def test_the_validation_share_may_be_chosen_when_a_pack_is_loaded(tmp_path: Path) -> None:
    pyrovae.pack(colours(), tmp_path / "p")
    for share, count in ((0, 0), (0.25, 21), (30, 30)):
        data = load_images(f"pack:{tmp_path / 'p'}", validation=share)
        assert (len(data.splits["train"]), len(data.splits["validation"])) == (83 - count, count)
        assert len(data.splits["test"]) == 17


KILLED = """
import sys, os, signal
sys.path.insert(0, {tests!r})
import test_packs
import pyrovae
from pyrovae.data import pack_writer
pack_writer.SHARD_BYTES, pack_writer.READ_ROWS = 15 * 3 * 4 * 5, 4
class Dying(test_packs.Items):
    left = {reads}
    def __getitem__(self, i):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(i)
Dying.__name__ = "Items"
pyrovae.pack(Dying(), {place!r})
"""


@pytest.mark.parametrize("reads", [30, 70])
def test_a_killed_pack_goes_on_to_the_same_bytes(reads: int, tmp_path: Path) -> None:
    pyrovae.pack(Items(), tmp_path / "whole")
    code = KILLED.format(tests=str(Path(__file__).parent), reads=reads, place=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    with pytest.raises(FileNotFoundError, match="is unfinished: run the same command again"):
        load_images(f"pack:{tmp_path / 'killed'}")
    noted = pack_writer.read_journal(tmp_path / "killed.partial" / "journal.jsonl")
    assert len(noted) > 2  # some shards were whole
    read: list[int] = []

    class Counted(Items):
        def __getitem__(self, i: int) -> tuple[np.ndarray, str]:
            read.append(i)
            return super().__getitem__(i)

    Counted.__name__ = "Items"
    pyrovae.pack(Counted(), tmp_path / "killed")
    assert len(read) <= COUNT - 15 * (len(noted) - 2) + 2
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert not (tmp_path / "killed.partial").exists()


@pytest.mark.parametrize(("how", "words"), [("raises", "no such record"), ("shape", "items of Items must be alike")])
def test_a_dataset_that_breaks_in_the_middle_keeps_what_was_packed(how: str, words: str, tmp_path: Path) -> None:
    pyrovae.pack(Items(), tmp_path / "whole")
    last = int(np.load(tmp_path / "whole" / "rows.npy")[70])
    with pytest.raises(ValueError, match=words) as caught:
        pyrovae.pack(Items(last, how), tmp_path / "p")
    assert "; 4 whole shards are kept: set it right and run the same again" in str(caught.value)
    pyrovae.pack(Items(), tmp_path / "p")
    assert bytes_of(tmp_path / "p") == bytes_of(tmp_path / "whole")


def test_a_full_disk_keeps_what_was_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, real = [], pack_writer._write_through

    def filling(stream: object, array: np.ndarray) -> None:
        written.append(array)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(stream, array)  # type: ignore[arg-type]

    monkeypatch.setattr(pack_writer, "_write_through", filling)
    with pytest.raises(OSError, match="the disk is full; 2 whole shards are kept: set it right and run the same again"):
        pyrovae.pack(colours(), tmp_path / "p")
    monkeypatch.undo()
    monkeypatch.setattr(pack_writer, "SHARD_BYTES", 15 * 3 * 4 * 5)
    pyrovae.pack(colours(), tmp_path / "p")
    pyrovae.pack(colours(), tmp_path / "whole")
    assert bytes_of(tmp_path / "p") == bytes_of(tmp_path / "whole")


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(OSError, match=r"the disk is full: 5.9 KiB needed, 100 bytes free in .*; make room there"):
        pyrovae.pack(colours(), tmp_path / "p")


def test_another_source_does_not_go_on_with_an_unfinished_pack(tmp_path: Path) -> None:
    last = int(np.load(pyrovae.pack(Items(), tmp_path / "w").stored.folder / "rows.npy")[70])
    with pytest.raises(ValueError, match="no such record"):
        pyrovae.pack(Items(last), tmp_path / "p")
    before = bytes_of(tmp_path / "p.partial")
    with pytest.raises(ValueError, match="is an unfinished pack of 'Items' with another source: run the command that"):
        pyrovae.pack(colours(), tmp_path / "p")
    assert bytes_of(tmp_path / "p.partial") == before


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        ("there", {}, "exists already: remove it, or pack to another folder"),
        ("unwritable", {}, "cannot write .*: Not a directory"),
        (np.zeros((5, 2), complex), {}, "must hold numbers in at least two axes"),
        (np.zeros(5), {}, "must hold numbers in at least two axes"),
        (np.zeros((5, 4, 4, 3), np.uint8), {}, "must have the channels before the pixels"),
        (
            np.array([[1.0, np.inf]] * 5),
            {},
            "must be finite, or NaN where they are missing, got an infinite one in row 1",
        ),
        (np.array([[1.0, np.nan]] * 5), {}, "column '1' of array has no value among the training rows"),
        (np.array([[1.0, 1e300]] * 5), {"scaling": "none"}, "must fit into float32 when they are scaled"),
        (np.zeros((5, 2)), {"scaling": "log"}, "scaling must be one of standard, unit, none, got 'log'"),
        (np.zeros((5, 2)), {"labels": [1, 2]}, r"must be of shape \(5,\), one for each row"),
        ("digits", {"labels": [1, 2]}, "labels go with an array or a .npy file, and digits brings its own"),
        (np.zeros((5, 2)), {"image_size": 0}, "image_size cannot be given for a ndarray: leave it out"),
        ("folder:nowhere", {"label": "x"}, "go with table:FILE, array:FILE.* only, got folder:nowhere"),
        ("digits", {"image_size": 4}, "goes with celeba and folder:PATH only, got 4 for digits"),
        ("nothing.npy", {"skip": ["a"]}, "skip cannot be given for array:nothing.npy: leave it out"),
        ("pack:there", {}, "is a pack already"),
        ("nothing.npy", {}, "does not exist, or is no file: check the path of the array"),
        ([], {}, "list is empty: a dataset must have at least one item"),
    ],
)
def test_wrong_sources_are_one_line(source, settings, words, tmp_path: Path) -> None:
    place = tmp_path / "p"
    if source in ("there", "unwritable") if isinstance(source, str) else False:
        (tmp_path / "file").touch()
        place = tmp_path / ("file" if source == "there" else "file/p")
        source = colours()
    with pytest.raises((ValueError, OSError), match=words) as caught:
        pyrovae.pack(source, place, **settings)
    assert "\n" not in str(caught.value)
    assert not place.is_dir()


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongTypeError, match="source must be a name, an array, an ImageSet or a Dataset"):
        pyrovae.pack(3, tmp_path / "p")


def damage(folder: Path, rng: random.Random) -> str:
    """Damage a pack in one of many ways; returns which."""
    file = folder / rng.choice([MANIFEST, "images.npy", "labels.npy", "rows.npy", "attributes.npy"])
    content = bytearray(file.read_bytes())
    how = rng.choice(["flip", "cut", "longer", "missing", "swap", "empty"])
    if how == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del content[rng.randrange(len(content)) :]
    elif how == "longer":
        content += rng.randbytes(rng.randrange(1, 99))
    elif how == "swap":
        content[len(content) // 2 :] = reversed(content[len(content) // 2 :])
    elif how == "empty":
        content.clear()
    file.unlink()
    if how != "missing":
        file.write_bytes(content)
    return f"{how} {file.name}"


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    attributes = np.random.default_rng(0).random((COUNT, 2)) < 0.5
    data = ImageSet.from_arrays(colours(), np.arange(COUNT) % 4, attributes=attributes, attribute_names=("a", "b"))
    pyrovae.pack(data, tmp_path / "whole")
    before = bytes_of(tmp_path / "whole")
    for seed in range(200):
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "p")
        how = damage(tmp_path / "p", random.Random(seed))
        if bytes_of(tmp_path / "p") == before:
            continue  # a palindrome
        with pytest.raises((ValueError, FileNotFoundError), match=r"again|makes one") as caught:
            load_images(f"pack:{tmp_path / 'p'}")
        assert "\n" not in str(caught.value), f"seed {seed}: {how}"


def test_an_edited_manifest_and_one_of_another_version_are_refused(tmp_path: Path) -> None:
    pyrovae.pack(colours(), tmp_path / "p")
    file = tmp_path / "p" / MANIFEST
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"train": 10, "test": 90 - content["validation"]}))
    with pytest.raises(ValueError, match=r"is damaged: manifest.json is not as it was written"):
        load_images(f"pack:{tmp_path / 'p'}")
    file.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(ValueError, match="must be a pack of version 1, got version 2: pack its source again"):
        load_images(f"pack:{tmp_path / 'p'}")


def test_the_damaged_shard_is_named(tmp_path: Path) -> None:
    pyrovae.pack(colours(), tmp_path / "p")
    with (tmp_path / "p" / "images.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(ValueError, match=r"shard 6 of images.npy, rows 90 to 99, is not as it was written"):
        load_images(f"pack:{tmp_path / 'p'}")


def test_digests_are_compared_once_for_each_state_of_the_files(tmp_path: Path, monkeypatch) -> None:
    from pyrovae.data import packed

    pyrovae.pack(colours(), tmp_path / "p")
    calls, real = [], packed.check_digests
    monkeypatch.setattr(packed, "check_digests", lambda *args: calls.append(args) or real(*args))
    load_images(f"pack:{tmp_path / 'p'}")
    assert not calls
    shutil.copytree(tmp_path / "p", tmp_path / "q")
    load_images(f"pack:{tmp_path / 'q'}")
    assert len(calls) == 1


def test_official_validation_images_stay_so(tmp_path: Path) -> None:
    from dataclasses import replace

    from pyrovae.data.rows import of_images

    rows = replace(of_images(ImageSet.from_arrays(colours(), validation=10)), official_validation=True)
    pack_writer.Packing(rows, tmp_path / "p").run()
    assert len(load_images(f"pack:{tmp_path / 'p'}", validation=0).splits["validation"]) == 10


def test_two_do_not_write_one_pack(tmp_path: Path) -> None:
    target = tmp_path / "packed"
    partial = partial_of(target)
    partial.mkdir()
    code = (
        "import sys, pathlib, pyrovae.lock\n"
        "with pyrovae.lock.locked(pathlib.Path(sys.argv[1])): print('has it', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(partial)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(ValueError, match=r"another process is writing .*: wait for it, or stop it"):
            pyrovae.pack(Items(), target)
        other.communicate("")
    assert len(pyrovae.pack(Items(), target)) == len(Items())
    assert not (target / ".lock").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken.f", "got dataset:broken.f (invalid syntax"),
        ("mine.Needs", "missing 1 required positional argument"),
        ("mine.raises", "got dataset:mine.raises (no way)"),
        ("mine.none", "has no attribute 'none'"),
        ("nowhere.X", "No module named 'nowhere'"),
        ("X", "got dataset:X ("),
    ],
)
def test_a_module_that_names_no_dataset_is_one_line(name, words, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken.py").write_text("def f(:\n")
    text = "class Needs:\n    def __init__(self, a): pass\ndef raises():\n    raise RuntimeError('no\\nway')\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "argv", ["pyrovae", "pack", f"dataset:{name}", "out"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
