"""Command lines and YAML files made by mutation, against an oracle that does not use the parser.

    python tests/campaigns/command_lines.py --seed 7 --cases 2000

Each case is drawn from a table of values that a command must accept, must refuse, or may do either with
(`command_options.py`). The oracle: exit status 0, 2 or 130 and no other; no traceback; a refusal is one line in plain
words; what is invalid by construction is refused, before anything is left behind; what is valid is accepted.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from children import Ended, in_a_child
from command_options import CLASSES, COMMANDS, HUGE, LISTING, ODD, PACKING, RUN, SCHEDULERS, TRAINING, Values
from hard_places import PLACES, prepare
from PIL import Image

JARGON = ("Traceback", "collections.abc", "typing.", "<class ", "NoneType", "Literal[", "Parser key", "DefaultCPU")
"""What a user should not be told."""
QUICK = {
    "--epochs": "1",
    "--engine": "pyro",
    "--model.encoder.hidden": "[4]",
    "--model.decoder.hidden": "[4]",
    "--progress": "false",
    "--name": "case",
}


@dataclass(frozen=True)
class Case:
    """A command line and what is known of it.

    Attributes:
        command: Name of the command.
        words: What is given to it; {tmp} and the like stand for places.
        expected: "accepted", "refused", "either", or "unread" where nobody reads the output.
        why: What the generator did.
        config: Text of a YAML file that {config} stands for.
        place: What is hard about the folder or its surroundings; see `hard_places`.
        kind: The run of which there is a copy then.
    """

    command: str
    words: tuple[str, ...]
    expected: str
    why: str
    config: str | None = None
    place: str | None = None
    kind: str = "vae"


# -- cases -----------------------------------------------------------------------------------------------------------


def draw_case(rng: random.Random) -> Case:
    """One case."""
    maker, *_ = rng.choices(list(MAKERS), list(MAKERS.values()))
    return maker(rng)


def _value(rng: random.Random, values: Values, kind: str) -> str:
    return rng.choice(getattr(values, kind))


def _given(rng: random.Random, name: str, value: str) -> list[str]:
    """An option as one word or as two, with dashes or underscores."""
    option = f"--{name}"
    return [f"{option}={value}"] if rng.random() < 0.5 or value.startswith("-") else [option, value]


def _of_a_run(rng: random.Random) -> Case:
    """A command that looks at a run, with a few of its options, at most one of them bad."""
    name = rng.choice(sorted(COMMANDS))
    command = COMMANDS[name]
    if rng.random() < 0.08:
        run, expected, why = rng.choice(RUN), "refused", "no run"
    elif command.refused and rng.random() < 0.08:
        run, expected, why = "{run:" + rng.choice(command.refused) + "}", "refused", "a run that it is not for"
    else:
        run, expected, why = "{run:" + (kind := rng.choice(command.runs)) + "}", "accepted", "all good"
        return _with_options(rng, name, run, kind)
    if name == "side_by_side":
        run = f"[{run}]" if run not in ("[]", "null", "") else run
    return Case(name, (run, *command.base), expected, why)


def _with_options(rng: random.Random, name: str, run: str, kind: str) -> Case:
    command = COMMANDS[name]
    names = [o for o in command.options if kind in command.only.get(o, command.runs)]
    chosen = rng.sample(names, min(len(names), rng.randint(1, 3)))
    for group in (*command.exclusive, ("output", "format")):
        inside = [o for o in chosen if o in group]
        chosen = [o for o in chosen if o not in inside[1:]]
    roll = rng.random()
    mutated = chosen[0]
    values = command.options[mutated]
    how = "bad" if roll < 0.5 and values.bad else "open" if roll < 0.6 and values.open else "good"
    words, why = [], f"{mutated} {how}"
    for option in chosen:
        value = _value(rng, command.options[option], how if option == mutated else "good")
        words += _given(rng, option, value)
    foreign = [o for o in command.options if o not in names]
    if how == "good" and foreign and rng.random() < 0.15:
        option = rng.choice(foreign)
        value = next(v for v in command.options[option].good if v not in ("null", "false"))
        words, how, why = [*words, f"--{option}={value}"], "bad", f"{option} with a run that has none"
    place = f"[{run}]" if name == "side_by_side" else run
    expected = {"good": "accepted", "bad": "refused", "open": "either"}[how]
    if "--data_dir" in " ".join(words) and how == "good":
        expected = "accepted"
    return Case(name, (place, *command.base, *words), expected, why)


def _training_options(rng: random.Random) -> tuple[dict[str, str], str, str]:
    """A few options of a training, at most one of them not good; what is expected, and why."""
    names = [name for name, values in TRAINING.items() if values.good]
    chosen = rng.sample(names, rng.randint(0, 3))
    options = {name: _value(rng, TRAINING[name], "good") for name in chosen}
    roll, mutated = rng.random(), rng.choice(sorted(TRAINING))
    values = TRAINING[mutated]
    how = "bad" if roll < 0.65 and values.bad else "open" if roll < 0.75 and values.open else "good"
    if how != "good" or values.good:
        options[mutated] = _value(rng, values, how)
    return _consistent(options, mutated), {"good": "accepted", "bad": "refused", "open": "either"}[how], mutated


def _consistent(options: dict[str, str], mutated: str) -> dict[str, str]:
    """Without what would be refused for another reason than the mutation, or would hide it."""
    slots = ("model", "model.encoder", "model.decoder", "objective", "optimizer", "scheduler")
    found = dict(options)
    for slot in slots:
        inside = [name for name in found if name.startswith(f"{slot}.") or name == slot]
        if mutated in inside:
            inside.remove(mutated)
            for name in inside:
                del found[name]
        elif slot in inside and len(inside) > 1:
            for name in inside:
                if name != slot:
                    found.pop(name, None)
    if "patience" in found and mutated != "validation":
        found.pop("validation", None)
    if mutated == "resume":  # it brings the settings of a run; others would be refused
        found = {"resume": found["resume"]}
    if mutated in ("data", "image_size"):
        found.pop("data" if mutated == "image_size" else "image_size", None)
    return found


def _training_words(options: dict[str, str]) -> list[str]:
    """A quick training of the small set, with some options in the place of the usual ones."""
    quick = {"--data": "folder:{images}", "--runs_dir": "{tmp}/runs", **QUICK}
    if any(name.startswith(("model.encoder", "model.decoder")) for name in options):
        quick = {k: v for k, v in quick.items() if not k.startswith("--model.")}
    if "model" in options:
        quick = {k: v for k, v in quick.items() if not k.startswith("--model.")}
    given = {f"--{name}": value for name, value in options.items()}
    if "resume" in options and options["resume"] != "null":
        return [word for name, value in given.items() for word in (name, value)]
    return [f"{name}={value}" for name, value in (quick | given).items()]


def _training(rng: random.Random) -> Case:
    options, expected, mutated = _training_options(rng)
    return Case("train", tuple(_training_words(options)), expected, f"{mutated}={options.get(mutated)}")


def _yaml(rng: random.Random) -> Case:
    """The same settings in a file, or a file that is none."""
    if rng.random() < 0.2:
        text = rng.choice(FILES)
        overruled = f"epochs: {HUGE}"  # by the command line
        harmless = text in ("", "null", "epochs:", "model: {init_args: {latent_dim: 2}}", overruled)
        words = ["--config={config}", *_training_words({})]
        return Case("train", tuple(words), "either" if harmless else "refused", f"file {text[:30]!r}", text)
    options, expected, mutated = _training_options(rng)
    if options.get("resume", "null") != "null" or any(name in slots for name in options for slots in (_SLOTS,)):
        return _training(rng)
    tree: dict[str, object] = {}
    for name, value in options.items():
        _put(tree, name, value)
    lines = "\n".join(_dump(tree, 0))
    value = options.get(mutated, "x")
    if value == "" or value.endswith(("null", "~")) or value != value.strip():
        expected = "either"  # in a file nothing is null, which many settings may be, and blanks at an end are nothing
    rest = [word for word in _training_words(options) if word.partition("=")[0].removeprefix("--") not in options]
    return Case("train", ("--config={config}", *rest), expected, f"file, {mutated}={options.get(mutated)}", lines)


FILES = (
    *("", "null", "[]", "3", "x", "epochs", "epochs:", "epochs: [", "\tepochs: 1", "epochs: 1\n- 2", "{", "a: &a [*a]"),
    *("epochs: !!python/object:os.system x", "epochs: 1\nepochs: 2", "? [1]\n: 2", "1: 2", "model: 3", "model: []"),
    *("model: {class_path: 3}", "model: {class_path: VAE, init_args: 3}", "model: {init_args: {latent_dim: 2}}"),
    *(
        "model: {class_path: VAE, init_args: {x: 1}}",
        "model: {class_path: [VAE]}",
        "optimizer: {class_path: Adam, x: 1}",
    ),
    *("objective: 3", "data: {a: 1}", "seed: {}", "scheduler: {class_path: StepLR}", "---\n---\nepochs: 1", "\x00"),
    *("epochs: 2001-01-01", "epochs: .inf", f"epochs: {HUGE}", "run: 3", "config: x", "print_config: true", "help: 1"),
    *("model: " + "[" * 2000, "a: " + "{a: " * 300),
)
"""Files that are no settings, but for the few that are."""

_SLOTS = ("model", "model.prior", "model.likelihood", "model.posterior", "model.encoder", "model.decoder", "objective")


def _put(tree: dict[str, object], name: str, value: str) -> None:
    """A setting where a file has it: arguments of a class below init_args of its class_path."""
    classes = {"model": "VAE", "encoder": "MLPEncoder", "decoder": "MLPDecoder", "optimizer": "Adam"}
    *above, last = name.split(".")
    for slot in above:
        tree = tree.setdefault(slot, {"class_path": classes.get(slot, "TraceELBO"), "init_args": {}})["init_args"]
    tree[last] = value


def _dump(tree: dict[str, object], indent: int) -> Iterator[str]:
    """Lines of YAML with values as they were written."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield f"{' ' * indent}{name}:"
            yield from _dump(value, indent + 2)
        else:
            yield f"{' ' * indent}{name}: {value}"


def _scheduler(rng: random.Random) -> Case:
    good, (name, argument, value) = rng.choice(SCHEDULERS)
    words = [*_training_words({"epochs": "3"}), f"--scheduler={name}", f"--scheduler.{argument}={value}"]
    return Case("train", tuple(words), "accepted" if good else "refused", f"{name} {argument}={value}")


def _sweep(rng: random.Random) -> Case:
    """A sweep that must be refused before it trains."""
    name = rng.choice(sorted(SWEEPS))
    value = rng.choice(SWEEPS[name])
    words = [word for word in _training_words({}) if not word.startswith("--name")]
    return Case("beta_sweep", (f"--{name}={value}", *words), "refused", f"{name}={value}")


SWEEPS = {
    "betas": ("[]", "[-1]", "[x]", "1", "[nan]", "[1,1]"),
    "points": ("1", "0", "x", "null", HUGE),
    "low": ("0", "-1", "nan"),
    "together": ("maybe", "2", "[]"),
    "high": ("0.01", "inf"),
    "workers": ("0", "-1", "x"),
}
"""Options of a sweep that must be refused."""


def _search(rng: random.Random) -> Case:
    """A search that must be refused before it trains: by its space, or by another option beside a good space."""
    name = rng.choice(["space", *SEARCHES])
    value = rng.choice(SPACES if name == "space" else SEARCHES[name])
    words = [word for word in _training_words({}) if not word.startswith("--name")]
    given = (f"--space={value}",) if name == "space" else ("--space=optimizer.lr=log(1e-4,1e-2)", f"--{name}={value}")
    return Case("search", (*given, *words), "refused", f"{name}={value}")


SPACES = (
    *ODD,
    "",
    "optimizer.lr",
    "optimizer.lr=log",
    "optimizer.lr=log(0,1)",
    "optimizer.lr=log(1,1)",
    "optimizer.lr=log(1,x)",
    "optimizer.lr=choice(a,b)",
    "model.latent_dim=int(0,5)",
    "model.latent_dim=int(1,1e9)",
    f"model.latent_dim=int(1,{HUGE})",
    "model.latent_dim=float(1,5)",
    "model.prior=choice(StandardNormal,Nothing)",
    "model.prior.components=int(1,5)",
    "nothing=int(1,5)",
    "data=choice(digits,mnist)",
    "name=choice(a,b)",
)
"""Spaces that must be refused."""
SEARCHES = {
    "trials": ("0", "-1", "x", "null", HUGE),
    "workers": ("0", "-1", "x"),
    "cluster": ("x", "tcp://", "tcp://localhost"),
    "sampler": ("x", "TPE", "null"),
    "pruner": ("x", "null", "[]"),
    "sampler_seed": ("-1", "x", HUGE),
}
"""Other options of a search that must be refused."""


def _odd_words(rng: random.Random) -> Case:
    """Words that no option has, options without a value, too many words, none, and calls for help."""
    name = rng.choice([*sorted(COMMANDS), "train"])
    base = list(COMMANDS[name].base) if name != "train" else _training_words({})
    run = [] if name == "train" else ["{run:vae}"] if name != "side_by_side" else ["[{run:vae}]"]
    some = sorted(COMMANDS[name].options if name != "train" else TRAINING)
    kind = rng.choice(["unknown", "no value", "too many", "none", "help", "near"])
    if kind == "help":
        return Case(name, ("--help",), "accepted", kind)
    if kind == "none" and name != "train":
        return Case(name, (), "refused", kind)
    if kind == "too many":
        return Case(name, (*run, *base, "one", rng.choice(ODD[:3])), "refused", kind)
    if kind == "no value":
        return Case(name, (*run, *base, f"--{rng.choice(some)}"), "refused", kind)
    option = rng.choice(some)
    at = rng.randrange(len(option))
    wrong = (
        option[:at] + "q" + option[at:] if kind == "near" else rng.choice(["zzz", "é", "latent_dim.x", "0", "model.zz"])
    )
    return Case(name, (*run, *base, f"--{wrong}", "1"), "refused", f"{kind} --{wrong}")


def _packing(rng: random.Random) -> Case:
    """A folder of images packed, with a few options, at most one of them bad."""
    given = {"source": "{images}", "output": "{tmp}/packed"}
    mutated = rng.choice(sorted(PACKING))
    values = PACKING[mutated]
    how = "bad" if values.bad and (rng.random() < 0.6 or not values.good) else "good"
    for name in rng.sample([name for name in PACKING if PACKING[name].good], 2):
        given[name] = _value(rng, PACKING[name], "good")
    given[mutated] = _value(rng, values, how)
    options = [
        word for name, value in given.items() if name not in ("source", "output") for word in _given(rng, name, value)
    ]
    words = ("--progress", "false", *options, "--", given["source"], given["output"])
    return Case("pack", words, "accepted" if how == "good" else "refused", f"{mutated} {how}")


def _listing(rng: random.Random) -> Case:
    """A list of runs in an order, one of the two bad or none."""
    given = {name: _value(rng, values, "good") for name, values in LISTING.items()}
    how, mutated = rng.choice(["good", "bad"]), rng.choice(sorted(LISTING))
    given[mutated] = _value(rng, LISTING[mutated], how)
    words = (f"--sort={given['sort']}", *rng.choice([(), ("--json",)]), given["folder"])
    return Case("list_runs", words, "accepted" if how == "good" else "refused", f"{mutated} {how}")


def _hard_place(rng: random.Random) -> Case:
    """A usual command, in a place or in surroundings that are hard."""
    name = rng.choice(sorted(PLACES))
    place = PLACES[name]
    command = rng.choice(place.commands or sorted(COMMANDS.keys() - {"side_by_side"}))
    if command == "train":
        given = {word.partition("=")[0] for word in place.words}
        usual = ["--data=folder:{tmp}/images", *_training_words({})[1:]]
        words = [*(word for word in usual if word.partition("=")[0] not in given), *place.words]
        return Case(command, tuple(words), place.expected, name, place=name)
    if command == "list_runs":
        return Case(command, ("{tmp}",), place.expected, name, place=name)
    words = [place.run, *COMMANDS[command].base, *place.words]
    return Case(command, tuple(words), place.expected, name, place=name, kind=rng.choice(COMMANDS[command].runs))


MAKERS: dict[Callable[[random.Random], Case], int] = {
    _of_a_run: 50,
    _training: 24,
    _yaml: 14,
    _scheduler: 3,
    _sweep: 3,
    _odd_words: 6,
    _search: 3,
    _packing: 5,
    _listing: 2,
    _hard_place: 20,
}
"""What makes cases, and how many of a hundred and thirty each."""


# -- oracle ----------------------------------------------------------------------------------------------------------


def faults(case: Case, ended: Ended, left: list[str]) -> list[str]:
    """What is wrong with how a case ended; empty if nothing is.

    Args:
        case: The case.
        ended: How its command ended.
        left: Names in the folder of runs afterwards.
    """
    found = []
    if ended.hung:
        return ["hung"]
    if ended.status not in ((141,) if case.expected == "unread" else (0, 2, 130)):
        found.append(f"exit status {ended.status}")
    found += [f"says {word!r}" for word in JARGON if word in ended.err or (ended.status and word in ended.out)]
    if case.expected == "refused" and ended.status == 0:
        found.append("silently accepted")
    if case.expected == "accepted" and ended.status:
        found.append("wrongly refused")
    if ended.status == 2:
        last = [line for line in ended.err.replace("\r", "\n").splitlines() if "error:" in line]
        if len(last) != 1 or not ended.err.rstrip().endswith(last[0].strip()):
            found.append(f"an error of {len(ended.err.splitlines())} lines")
        elif len(last[0]) > 900:
            found.append(f"an error of {len(last[0])} characters")
        if case.command == "train" and case.expected == "refused" and left:
            found.append("a refused training left a folder behind")
    if ended.status == 0 and re.search(r"\bnan\b", ended.out):
        found.append("prints nan")
    if ended.status == 0 and "error:" in ended.err:
        found.append("an error and status 0")
    return found


# -- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Where the cases run: a set of few small images, runs of it, and a file."""

    root: Path
    runs: dict[str, Path]

    def places(self, tmp: Path, kind_of_run: str) -> dict[str, str]:
        """What the words in braces stand for."""
        other = "colour" if kind_of_run != "colour" else "vae"
        found = {
            "{tmp}": tmp,
            "{file}": self.root / "file",
            "{folder}": self.root / "images",
            "{nowhere}": self.root / "nowhere",
            "{images}": self.root / "images",
            "{config}": tmp / "config.yaml",
            "{other}": self.runs[other],
            "{runs}": self.root / "runs",
        }
        return {name: str(path) for name, path in found.items()} | {
            "{run:" + name + "}": str(path) for name, path in self.runs.items()
        }


def write_images(folder: Path, rng: np.random.Generator, *, colour: bool) -> None:
    """Twenty images of 8 x 8 pixels in each of three classes: bars on black, or smooth colours."""
    for label in range(CLASSES):
        (folder / f"{label}").mkdir(parents=True)
        for i in range(20):
            if colour:
                corners = rng.integers(30, 220, (2, 2, 3)).astype(np.uint8)
                image = Image.fromarray(corners).resize((8, 8), Image.Resampling.BILINEAR)
            else:
                pixels = np.zeros((8, 8), np.uint8)
                pixels[1:7, 2 * label + rng.integers(0, 3)] = 255
                image = Image.fromarray(pixels)
            image.save(folder / f"{label}" / f"{i}.png")


def write_table(path: Path, rng: np.random.Generator) -> None:
    """Sixty rows of four columns, a tenth of the values missing."""
    values = rng.standard_normal((60, 4)).round(3).astype(str)
    values[rng.random(values.shape) < 0.1] = ""
    path.write_text("\n".join(["a,b,c,d", *(",".join(row) for row in values)]) + "\n")


RUNS: dict[str, tuple[str, ...]] = {
    "vae": (),
    "cvae": ("--model", "CVAE"),
    "five": ("--model.latent_dim", "6"),
    "one": ("--model.latent_dim", "1"),
    "autoencoder": ("--model", "Autoencoder"),
    "grey": ("--pixels", "none", "--model.likelihood", "CrossEntropy"),
    "colour": ("--model.likelihood", "DiscretizedLogistic", "--pixels", "none"),
    "table": ("--model.likelihood", "Normal", "--model.missing", "mask"),
}


def make_world(root: Path) -> World:
    """Images and untrained runs of them, made by the library."""
    from pyrovae.data import load_images
    from pyrovae.factory.build import build_model, instantiate
    from pyrovae.runs.config_file import create_run
    from pyrovae.runs.training import parse_training
    from pyrovae.training.weights import save_weights

    rng = np.random.default_rng(0)
    write_images(root / "images", rng, colour=False)
    write_images(root / "photographs", rng, colour=True)
    write_table(root / "table.csv", rng)
    (root / "file").write_text("a file\n")
    runs = {}
    places = {"colour": f"folder:{root / 'photographs'}", "table": f"table:{root / 'table.csv'}"}
    for name, words in RUNS.items():
        place = places.get(name, f"folder:{root / 'images'}")
        arguments = parse_training(["--data", place, "--runs_dir", str(root / "runs"), "--name", name, *words])
        data = load_images(arguments.data)
        folder = create_run(arguments, data)
        model = build_model(instantiate(arguments).model, data.image_shape, data.num_classes, 0)
        save_weights(folder.last_weights, model.state_dict())
        runs[name] = folder.path
    return World(root, runs)


def warm_up() -> None:
    """Import all that commands import, so that children need not."""
    import torch

    torch.set_num_threads(1)
    for name in (*COMMANDS, "train", "beta_sweep", "study", "pack", "list_runs", "search"):
        import_module(f"pyrovae.cli.{name}")
    for name in (
        "matplotlib.backends.backend_agg",
        "sklearn.linear_model",
        "arviz",
        "xarray",
        "h5netcdf",
        "scipy.stats",
    ):
        import_module(name)
    import_module("pyrovae.runs.figures")


DRAWN = 5
"""Of so many cases one draws the pictures of its training, which take ten times what all else does."""


def run_case(case: Case, world: World, pictures: bool = True) -> tuple[Ended, list[str]]:
    """Run a case in a child, in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=world.root) as place:
        tmp = Path(place)
        places = world.places(tmp, next((n for n in RUNS if f"{{run:{n}}}" in " ".join(case.words)), "vae"))

        def filled(word: str) -> str:
            for name, path in places.items():
                word = word.replace(name, path)
            return word

        words = [filled(word) for word in case.words]
        if case.config is not None:
            Path(places["{config}"]).write_text(filled(case.config), encoding="utf-8")
        before = {name: _names(path) for name, path in world.runs.items()}

        def command() -> None:
            from pyrovae.cli import run_command

            os.chdir(tmp)
            if not pictures:
                import_module("pyrovae.runs.figures").save_run_figures = lambda *_: []
            if case.place is not None:
                prepare(case.place, tmp, world.runs[case.kind], world.root / "images")
            sys.argv = [f"{case.command}.py", *words]
            run_command(import_module(f"pyrovae.cli.{case.command}").main, "A command.")

        ended = in_a_child(command)
        left = [p.name for p in (tmp / "runs").iterdir()] if (tmp / "runs").is_dir() else []
        for name, path in world.runs.items():
            for extra in _names(path) - before[name]:
                with contextlib.suppress(OSError):
                    (path / extra).unlink()
        shutil.rmtree(tmp / "runs", ignore_errors=True)
        return ended, left


def _names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def campaign(seed: int, cases: int, seconds: float) -> dict[str, object]:
    """Run so many cases, or those that the time is enough for, and count."""
    rng, counts, bad = random.Random(seed), Counter[str](), []
    drawn = [draw_case(rng) for _ in range(cases)]
    started, slowest = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="campaign-") as root:
        warm_up()
        world = make_world(Path(root))
        for number, case in enumerate(drawn):
            if time.monotonic() - started > seconds:
                drawn = drawn[:number]
                break
            ended, left = run_case(case, world, pictures=number % DRAWN == 0)
            counts[f"{case.expected}, exit {ended.status}"] += 1
            slowest = max(slowest, ended.seconds)
            wrong = faults(case, ended, left)
            if wrong:
                bad.append({"number": number, **asdict(case), "faults": wrong, "err": ended.err[-1500:]})
                print(f"{number}: {case.command} {' '.join(case.words)}  [{case.why}]: {', '.join(wrong)}")
                print(f"    {ended.err[-700:].strip()}\n", flush=True)
    import torch

    return {
        "what": "command lines and YAML files made by mutation; an oracle that does not use the parser",
        "command": f"python tests/campaigns/command_lines.py --seed {seed} --cases {cases}",
        "seed": seed,
        "cases": len(drawn),
        "distinct": len({(case.command, case.words, case.config) for case in drawn}),
        "by expectation and exit status": dict(sorted(counts.items())),
        "tracebacks": sum("says 'Traceback'" in one["faults"] for one in bad),
        "silently accepted": sum("silently accepted" in one["faults"] for one in bad),
        "wrongly refused": sum("wrongly refused" in one["faults"] for one in bad),
        "hung": sum("hung" in one["faults"] for one in bad),
        "cases with a fault": len(bad),
        "faults": bad,
        "seconds": round(time.monotonic() - started, 1),
        "slowest case, seconds": round(slowest, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> None:
    """Run a campaign; exit status 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop after the case in hand then.")
    parser.add_argument("--output", type=Path, default=None, help="JSON file of the counts.")
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # some names are no UTF-8
    found = campaign(options.seed, options.cases, options.seconds)
    if options.output:
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        options.output.write_text(text, encoding="utf-8", errors="backslashreplace")
    print(json.dumps({k: v for k, v in found.items() if k != "faults"}, indent=1, ensure_ascii=False))
    raise SystemExit(bool(found["faults"]))


if __name__ == "__main__":
    main()
