"""Damaged run folders: bits flipped, files cut, swapped, emptied, and entries of other types.

    python -m tests.campaigns.files --seed 1 --cases 500

Each case damages one copy of a finished small run, or of one that was stopped half-way, and then loads and resumes it.
A case is well if everything is refused in one line, or what comes out is equal, to the bit, to what was never damaged.
The truth is known from the run before it was damaged, and read by other means than those under test.
"""

import contextlib
import io
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from unittest import mock

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns import oracle

FILES = ("config.yaml", "model.safetensors", "model.best.safetensors", "checkpoint.pt", "metrics.csv")
ODD = (None, True, -1, 3, 10**20, 1.5, float("nan"), "", "x", [], [[]], {}, {"a": None}, ["a", 1])
SETTINGS = ["--data", "digits", "--engine", "pyro", "--model.encoder.hidden", "[6]", "--model.decoder.hidden", "[6]"]
SETTINGS += ["--batch_size", "700", "--checkpoint_every", "0", "--progress", "false"]
EPOCHS = 3
SLOWEST = 60.0
"""Seconds that a case may take."""


def command(name: str, *argv: str) -> tuple[int, str, str]:
    """Run a command of pyrovae in this process: its exit status and what it wrote."""
    from pyrovae.cli import run_command, train

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [name, *argv]
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings(), no_figures():
            warnings.simplefilter("ignore")
            run_command(train.main, "A training.")
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:
        status = 99
        err.write(traceback.format_exc())
    finally:
        sys.argv = before
    return status, out.getvalue(), err.getvalue()


def no_figures() -> contextlib.AbstractContextManager:
    """Without the figures of a run: seconds of drawing, on which nothing depends."""
    return mock.patch("pyrovae.runs.figures.save_run_figures", return_value=[])


def flip(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 1, 4))):
        place = draw.randrange(len(content) if draw.random() < 0.6 else min(len(content), 2000))
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return "bits flipped"


def cut(path: Path, draw: random.Random) -> str:
    content = path.read_bytes()
    path.write_bytes(content[: draw.choice((0, 1, draw.randrange(len(content)), len(content) - 1))])
    return "cut off"


def swap_blocks(path: Path, draw: random.Random) -> str:
    content = path.read_bytes()
    size = draw.choice((1, 7, 64, 512))
    one, other = sorted(draw.sample(range(max(2, len(content) // size)), 2))
    a, b = (slice(i * size, (i + 1) * size) for i in (one, other))
    path.write_bytes(content[: a.start] + content[b] + content[a.stop : b.start] + content[a] + content[b.stop :])
    return "blocks swapped"


def overwrite(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content))
    length = draw.randrange(1, 200)
    content[place : place + length] = draw.choice((bytes(length), draw.randbytes(length)))
    path.write_bytes(content)
    return "overwritten"


def swap_files(path: Path, draw: random.Random) -> str:
    other = path.with_name(draw.choice([name for name in FILES if name != path.name and name[:5] != path.name[:5]]))
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)
    return "swapped with another file"


def vanish(path: Path, draw: random.Random) -> str:
    path.unlink()
    if draw.random() < 0.3:
        path.mkdir()
        return "a folder in its place"
    return "gone"


def retype(path: Path, draw: random.Random) -> str:
    """An entry of another type, in files whose format is known here; other files are flipped."""
    if path.name == "config.yaml":
        raw = yaml.safe_load(path.read_text())
        if draw.random() < 0.5:  # as version 0.1 wrote it, which nothing but the types can give away
            raw["run"].pop("digest", None)
            raw["run"]["format"] = 1
            _set(raw, draw.choice(NAMES_OF_CONFIG), draw.choice(ODD))
        else:
            _set_anywhere(raw, draw)
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        return "an entry of another type"
    if path.name == "checkpoint.pt":
        state = torch.load(path, weights_only=True)
        if draw.random() < 0.5:
            state.pop("digest", None)
            state["format"] = "pyrovae checkpoint 1"
        name = draw.choice([*state, "epoch", "rng", "optimizer", "sums", "engine"])
        if isinstance(state[name], dict) and state[name] and draw.random() < 0.5:
            _set_anywhere(state[name], draw)
        else:
            state[name] = draw.choice(ODD)
        torch.save(state, path)
        return "an entry of another type"
    return flip(path, draw)


NAMES_OF_CONFIG = [
    name.split(".")
    for name in (
        *("data", "validation", "image_size", "model", "model.class_path", "model.init_args", "pixels", "name"),
        *("model.init_args.latent_dim", "model.init_args.prior", "epochs", "objective", "optimizer", "scheduler"),
        *("optimizer.init_args.lr", "batch_size", "run", "runs_dir", "seed", "data_dir"),
        *("run.format", "run.image_shape", "run.class_names"),
    )
]


def _set(node: dict, names: list[str], value: object) -> None:
    for name in names[:-1]:
        node = node[name]
    node[names[-1]] = value


def _set_anywhere(node: object, draw: random.Random) -> None:
    """Replace one value somewhere below."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw.choice(keys)
        if isinstance(node[key], dict | list) and len(node[key]) and draw.random() < 0.7:
            node = node[key]
        else:
            node[key] = draw.choice(ODD)
            return


def poison(path: Path, draw: random.Random) -> str:
    """YAML that grows, nests or repeats itself; other files are overwritten."""
    if path.name != "config.yaml":
        return overwrite(path, draw)
    text = path.read_text()
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    kind = draw.choice(("bomb", "deep", "twice", "itself", "tag", "number", "text"))
    more = {
        "bomb": bomb,
        "deep": "deep: " + draw.choice("[{") * draw.choice((100, 5000, 50_000)),
        "twice": draw.choice(text.splitlines()[:4]),
        "itself": "me: &me [*me]",
        "tag": "code: !!python/object/apply:os.system ['false']",
        "number": "big: " + "9" * draw.choice((30, 5000)),
        "text": "".join(chr(draw.randrange(32, 0x3000)) for _ in range(50)),
    }[kind]
    path.write_text(text + more + "\n" if draw.random() < 0.5 else more + "\n" + text)
    return f"YAML: {kind}"


DAMAGES = (flip, flip, flip, cut, swap_blocks, overwrite, swap_files, vanish, retype, retype, retype, poison)


class Truth:
    """Two small runs: one that has ended, and one that was stopped half-way; and all that is true of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole, self.half = folder / "whole", folder / "half"
        for path, epochs in ((self.whole, EPOCHS), (self.half, EPOCHS - 1)):
            argv = [*SETTINGS, "--runs_dir", str(folder), "--name", path.name, "--epochs", str(epochs)]
            status, _, err = command("svi_train.py", *argv)
            assert status == 0, err
            (path / "figures").rmdir()
        self.result = oracle.result_of(self.whole)
        self.weights = self.result["best"]
        self.data = ("digits", (1, 8, 8), tuple("0123456789"), "dynamic")


def _refused(error: Exception) -> str:
    return f"BROKEN: a refusal in many lines: {error}" if "\n" in str(error) else "refused"


def check_load(run: Path, truth: dict) -> str:
    """Load a damaged run by Python: refused, or the same."""
    import pyrovae

    try:
        model, info = pyrovae.load(run), pyrovae.run_info(run)
    except (ValueError, OSError) as error:
        return _refused(error)
    found = {name: value.contiguous().numpy().tobytes() for name, value in model.state_dict().items()}
    same = found == {name: content for name, (_, _, content) in truth["weights"].items()}
    same = same and (info.data, info.image_shape, info.class_names, info.pixels) == truth["data"]
    return "the same" if same else "SILENT"


def check_resume(run: Path, truth: dict) -> str:
    """Resume a damaged run to its end on the command line: refused in one line, or as if nothing had happened."""
    status, out, err = command("svi_train.py", "--resume", str(run), "--epochs", str(EPOCHS), "--progress", "true")
    if oracle.is_refusal(status, err):
        return "refused"
    if status or "Traceback" in err:
        return f"BROKEN: status {status}: {err[-400:]}"
    if oracle.leftovers(run):
        return f"LEFTOVERS: {oracle.leftovers(run)}"
    different = oracle.differences(oracle.result_of(run), truth["result"])
    return f"SILENT: {different}: {out[-200:]}" if different else "the same"


def check_rows(run: Path, _: dict) -> str:
    """Read the metrics: refused, or numbers."""
    from pyrovae import RunFolder

    try:
        rows = RunFolder(run).rows()
    except (ValueError, OSError) as error:
        return _refused(error)
    return "read" if all(isinstance(value, float) for row in rows for value in row.values()) else "SILENT"


def main(seed: int, cases: int, say: bool = False) -> oracle.Report:
    """Run so many cases, drawn from a seed, and count their outcomes."""
    draw, report = random.Random(f"files {seed}"), oracle.Report()
    with tempfile.TemporaryDirectory() as folder:
        truth = Truth(Path(folder))
        for case in range(cases):
            began = time.monotonic()
            original = truth.whole if draw.random() < 0.5 else truth.half
            known = {"weights": oracle.tensors_of(original / "model.best.safetensors"), "data": truth.data}
            known["result"] = truth.result
            run = Path(folder) / f"case{case}"
            shutil.copytree(original, run)
            name, damage = draw.choice(FILES), draw.choice(DAMAGES)
            what = f"case {case} of seed {seed}, {original.name} {name}: {damage(run / name, draw)}"
            for check in (check_load, check_rows, check_resume):
                try:
                    outcome = check(run, known)
                except BaseException as error:
                    outcome = f"BROKEN: {type(error).__name__}: {error}"
                report.outcomes[f"{check.__name__[6:]}: {outcome.partition(':')[0]}"] += 1
                if outcome not in ("refused", "the same", "read"):
                    report.failures.append(f"{what}: {check.__name__}: {outcome}")
            if time.monotonic() - began > SLOWEST:
                report.failures.append(f"{what}: took {time.monotonic() - began:.0f} s")
            shutil.rmtree(run)
            if say and case % 25 == 24:
                print(case + 1, dict(report.outcomes), report.failures[-1:], flush=True)
    return report


if __name__ == "__main__":
    oracle.run_from_command_line(main, 500)
