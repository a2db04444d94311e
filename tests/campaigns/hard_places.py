"""Places and surroundings that are hard on a command: names, rights, links, streams and environment variables."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HARD_NAMES = ("a b", "ä", "🙂", ".hidden", "a%b", "it's", "#x", "a,b", "$HOME", "*", "x" * 200, "a=b", "null", "1e3")
"""Names that a run may have, whoever gave them."""
NO_NAMES = (
    "a\nb",
    "a\tb",
    "\x1b[31mred",
    "a\x7f",
    "x" * 201,
    "é" * 101,
    "a\udcff",
    "\u2028",
    "a/\n",
    "..",
    "a/..",
    "/a",
)
"""Names that no new run may have."""
COPIED = (*HARD_NAMES, "~", "[x]", "{c}", '"q"', "a\nb", "-dash")
"""Names that a run's folder may have got by other means."""

Prepare = Callable[[Path], None]


@dataclass(frozen=True)
class Place:
    """Something hard, and how a command must end there.

    Attributes:
        prepare: Makes it, in the child, in the folder that is given, where a run lies as `run` and images as `images`.
        expected: "accepted", "refused", or "unread" where a pipe is closed.
        words: What is given to a command beside its usual words.
        commands: Commands for which it is; none for all that look at a run.
        environment: Variables that are set; None takes one out.
        run: What is given as the run.
    """

    prepare: Prepare
    expected: str
    words: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    environment: dict[str, str | None] = field(default_factory=dict)
    run: str = "{tmp}/run"


def without_rights() -> None:
    """Give up what lets root read and write everything; others never could."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of capabilities, of this process
        if ctypes.CDLL(None).capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())):
            raise OSError("capset failed")


def nothing(_: Path) -> None:
    """As it is."""


def _forbidden(name: str) -> Prepare:
    def prepare(tmp: Path) -> None:
        (tmp / name).chmod(0)
        without_rights()

    return prepare


def _read_only(tmp: Path) -> None:
    for path in (*(tmp / "run").rglob("*"), tmp / "run"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    without_rights()


def _written(name: str, content: bytes) -> Prepare:
    return lambda tmp: (tmp / name).write_bytes(content) and None


def _other(name: str, make: Callable[[Path], object]) -> Prepare:
    """Something else in the place of a file."""

    def prepare(tmp: Path) -> None:
        (tmp / name).unlink()
        make(tmp / name)

    return prepare


def _linked(name: str, to: str) -> Prepare:
    def prepare(tmp: Path) -> None:
        path = tmp / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return prepare


def _link_to_run(tmp: Path) -> None:
    (tmp / "run").rename(tmp / "other")
    (tmp / "run").symlink_to("other")


def _renamed_class(name: str) -> Prepare:
    return lambda tmp: (tmp / "images" / "0").rename(tmp / "images" / name) and None


def _file_for_figures(tmp: Path) -> None:
    shutil.rmtree(tmp / "run" / "figures", ignore_errors=True)
    (tmp / "run" / "figures").write_text("")


def _gone(tmp: Path) -> None:
    (tmp / "gone").mkdir()
    os.chdir(tmp / "gone")
    (tmp / "gone").rmdir()


def _ascii(_: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")


def _onto(open_it: Callable[[], int]) -> Prepare:
    """Standard output somewhere else."""

    def prepare(_: Path) -> None:
        descriptor = open_it()
        os.dup2(descriptor, 1)
        os.dup2(descriptor, sys.stdout.fileno())

    return prepare


def _closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _closed(_: Path) -> None:
    os.close(1)
    sys.stdout = None


WRITING = ("evaluate", "explore", "export")
"""Commands that write into a run's folder other things than a picture."""
DRAWING = ("generate", "reconstruct", "marginals", "latent_space", "inpaint")
"""Commands that need no more than a run, and put a picture into its folder."""
LOOKING = ("generate", "reconstruct", "evaluate")
TRAIN = ("train",)

PLACES: dict[str, Place] = {
    "a run without rights": Place(_forbidden("run"), "refused"),
    "settings without rights": Place(_forbidden("run/config.yaml"), "refused"),
    "weights without rights": Place(_forbidden("run/model.safetensors"), "refused"),
    "settings are a folder": Place(_other("run/config.yaml", Path.mkdir), "refused"),
    "weights are a folder": Place(_other("run/model.safetensors", Path.mkdir), "refused"),
    "settings are a pipe": Place(_other("run/config.yaml", os.mkfifo), "refused"),
    "weights are a pipe": Place(_other("run/model.safetensors", os.mkfifo), "refused"),
    "settings are no text": Place(_written("run/config.yaml", b"\xff\xfe\x00"), "refused"),
    "settings are empty": Place(_written("run/config.yaml", b""), "refused"),
    "weights are empty": Place(_written("run/model.safetensors", b""), "refused"),
    "a run is a link in a circle": Place(_linked("run", "run"), "refused"),
    "a run is a link to nothing": Place(_linked("run", "nothing"), "refused"),
    "weights are a link to nothing": Place(_linked("run/model.safetensors", "nothing"), "refused"),
    "a run is a link": Place(_link_to_run, "accepted", commands=LOOKING),
    "a run to be read only": Place(_read_only, "refused", commands=(*DRAWING, *WRITING)),
    "a run to be read only, a picture elsewhere": Place(
        _read_only, "accepted", ("--output={tmp}/a.png",), commands=("generate", "reconstruct")
    ),
    "figures are a file": Place(_file_for_figures, "refused", commands=DRAWING),
    "a folder that is gone": Place(_gone, "refused", commands=(*LOOKING, "list_runs", "train")),
    "a style that is none": Place(
        _written("style", b"lines.linewidth: 3\nno: 1\n"), "refused", ("--style={tmp}/style",), DRAWING
    ),
    "a style": Place(_written("style", b"lines.linewidth: 3\n"), "accepted", ("--style={tmp}/style",), ("generate",)),
    "output without a name": Place(nothing, "refused", ("--output=",), DRAWING),
    "output with a long name": Place(nothing, "refused", ("--output={tmp}/" + "x" * 300 + ".png",), DRAWING),
    "output where nothing can be": Place(nothing, "refused", ("--output=/dev/null/a.png",), DRAWING),
    "images without rights": Place(_forbidden("images"), "refused", commands=TRAIN),
    "a class without rights": Place(_forbidden("images/1"), "refused", commands=TRAIN),
    "an image without rights": Place(_forbidden("images/1/3.png"), "refused", commands=TRAIN),
    "an image is a link to nothing": Place(_linked("images/1/3.png", "nothing"), "refused", commands=TRAIN),
    "an image is empty": Place(_written("images/2/0.png", b""), "refused", commands=TRAIN),
    "an image is none": Place(_written("images/2/19.png", b"x" * 99), "refused", commands=TRAIN),
    "settings to train by, without rights": Place(
        _forbidden("mine.yaml"), "refused", ("--config={tmp}/mine.yaml",), TRAIN
    ),
    "settings to train by are a folder": Place(nothing, "refused", ("--config={tmp}",), TRAIN),
    "settings to train by are not there": Place(nothing, "refused", ("--config={nowhere}",), TRAIN),
    "settings to train by have no name": Place(nothing, "refused", ("--config=",), TRAIN),
    "settings to train by are a pipe": Place(
        _other("mine.yaml", os.mkfifo), "refused", ("--config={tmp}/mine.yaml",), TRAIN
    ),
    "settings to train by are nothing": Place(nothing, "accepted", ("--config=/dev/null",), TRAIN),
    "runs nowhere": Place(nothing, "refused", ("--runs_dir=",), TRAIN),
    "runs below a device": Place(nothing, "refused", ("--runs_dir=/dev/null/runs",), TRAIN),
    "runs where nobody may write": Place(_forbidden("run"), "refused", ("--runs_dir={tmp}/run/a",), TRAIN),
    "runs in a folder with a line break": Place(nothing, "refused", ("--runs_dir={tmp}/a\nb",), TRAIN),
    "a set that is a device": Place(
        nothing, "refused", ("--data=mnist",), TRAIN, environment={"PYROVAE_DATA": "/dev/null"}
    ),
    "an odd environment": Place(
        nothing,
        "accepted",
        commands=LOOKING,
        environment={"PYROVAE_DATA": "/dev/null", "HOME": "/dev/null", "TMPDIR": "/nowhere", "LANG": "x", "TERM": ""},
    ),
    "an empty environment": Place(
        nothing, "accepted", commands=LOOKING, environment=dict.fromkeys(("HOME", "PATH", "TMPDIR", "LANG"))
    ),
    "a screen of no width": Place(nothing, "accepted", ("--help",), environment={"COLUMNS": "0", "NO_COLOR": "1"}),
    "output in ASCII": Place(_ascii, "accepted", commands=LOOKING),
    "output onto a full disk": Place(
        _onto(lambda: os.open("/dev/full", os.O_WRONLY)), "refused", commands=(*LOOKING, "list_runs")
    ),
    "output that nobody reads": Place(_onto(_closed_pipe), "unread", commands=(*LOOKING, "list_runs")),
    "no output": Place(_closed, "accepted", commands=(*LOOKING, "list_runs")),
    **{
        f"a run copied to {name!r:.20}": Place(
            lambda tmp, name=name: (tmp / "run").rename(tmp / name) and None,
            "accepted",
            commands=("generate",),
            run=name if not name.startswith("-") else f"./{name}",
        )
        for name in COPIED
    },
    **{f"a run called {name!r:.20}": Place(nothing, "accepted", (f"--name={name}",), TRAIN) for name in HARD_NAMES},
    **{f"a run not called {name!r:.20}": Place(nothing, "refused", (f"--name={name}",), TRAIN) for name in NO_NAMES},
    **{
        f"a class called {name!r:.20}": Place(_renamed_class(name), "accepted", commands=TRAIN)
        for name in ("a b", "ä", "-x", "a\nb", "null", "🙂")
    },
}
"""Everything that is hard, by what it is."""


def prepare(name: str, tmp: Path, run: Path, images: Path) -> None:
    """Make a place in a child, of copies of a run and of images."""
    place = PLACES[name]
    shutil.copytree(run, tmp / "run")
    shutil.copytree(images, tmp / "images")
    (tmp / "mine.yaml").write_text("seed: 3\n")
    for variable, value in place.environment.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value
    place.prepare(tmp)
