"""What each command takes, written down by hand: values that it must accept, that it must refuse, and that it may.

Nothing here asks the parser: a value is invalid by construction. A test holds the names against the parsers', so that
no option is forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

HUGE = "123456789012345678901"
"""A whole number of 21 digits, which fits nowhere."""
ODD = ("Ä", "日本", "🙂", "--", "\\x00", "../..", "{a: 1}", "*a", "- 1", "a: b", "%", "@", "'", '"')
"""Words that are hard on a parser."""


_NO_LIST = tuple(word for word in ODD if word not in ("- 1", "--"))
"""Those of them that are no list of numbers in YAML either."""


@dataclass(frozen=True)
class Values:
    """Values of an option.

    Attributes:
        good: Each must be accepted.
        bad: Each must be refused.
        open: Each may be accepted or refused in words.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    open: tuple[str, ...] = ()


def whole(*good: int, least: int = 1, most: int | None = None, none: bool = False, huge: bool = True) -> Values:
    """Whole numbers from `least` on; `huge` says that one of 21 digits must be refused."""
    bad = [str(least - 1), str(least - 10**9), "x", "1.5", "-0.5", "[]", "[1]", "{}", "nan", "inf", "true", *ODD]
    if most is not None:
        bad.append(str(most + 1))
    (bad if huge else (unsure := [])).append(HUGE)
    return Values(
        tuple(map(str, good)) + (("null",) if none else ()),
        tuple(bad) + (() if none else ("null",)),
        ("", "1e1", "0x1", "1_0", "٣", *(() if huge else unsure)),
    )


def number(*good: float, bad: Sequence[str] = (), none: bool = False) -> Values:
    """Numbers, but for some."""
    bad = ("x", "[]", "[1.0]", "{}", "nan", "inf", "-inf", "1,5", "true", *ODD, *bad)
    return Values(
        tuple(map(str, good)) + (("null",) if none else ()), bad + (() if none else ("null",)), ("", "1e400", "1e-400")
    )


def choice(*good: str, none: bool = False) -> Values:
    """One of some words."""
    bad = ("x", good[0].upper() + "x", "[]", "{}", "0", "3.5", f"[{good[0]}]", f"{good[0]} ", *ODD)
    return Values(
        good + (("null",) if none else ()), bad + (() if none else ("null",)), ("", good[0].upper(), f" {good[0]}")
    )


def slot(*good: str) -> Values:
    """A class by its name; settings of a class that say nothing leave the default."""
    values = choice(*good)
    return Values(values.good, tuple(word for word in values.bad if word != "{}"), (*values.open, "{}"))


def numbers(*good: str, bad: Sequence[str] = (), none: bool = False, element: str = "1.5") -> Values:
    """Lists of numbers; `element` is one that cannot be in them."""
    bad = ("x", "[x]", "3", "{}", "[[1]]", f"[{element}]", "[nan]", "[null]", "[1, x]", "[", "]", *_NO_LIST, *bad)
    return Values(good + (("null",) if none else ()), bad + (() if none else ("null",)), ("", "[1,]", "[true]"))


def some_images(most: int, *good: str) -> Values:
    """Numbers of images of a split that has so many."""
    good = good or ("[0]", "[3,1]", f"[{most - 1}]")
    return numbers(*good, bad=("[]", "[-1]", f"[{most}]", f"[0, {HUGE}]"))


def truth() -> Values:
    """Yes or no."""
    return Values(("true", "false"), ("x", "2", "[]", "{}", "null", "1.5", *ODD), ("", "yes", "no", "1", "0", "True"))


SEED = whole(0, 7, 2**32 - 1, least=0, most=2**32 - 1)
SPLIT = choice("test", "train", "validation")
ENGINE = choice("graph")
DEVICE = Values(("cpu", "auto"), ("x", "null", "[]", "cuda:99", "cpu:1", "0", *ODD), ("", "cuda", "CPU"))
OUTPUT = Values(("{tmp}/a.png", "{tmp}/new/a.svg", "{tmp}/ä.pdf", "null"), ("{folder}", "a.xyz", "a", "{file}/a.png"))
PICTURE = {
    "size": numbers("[6,4]", "[2.5,3]", none=True, bad=("[6]", "[0,1]", "[-1,2]", "[1,2,3]", "[]", "[1000,1]")),
    "format": choice("png", "svg", "pdf", none=True),
    "style": Values(("null", "ggplot", "seaborn-v0_8-paper"), ("x", "[]", "{nowhere}", "dark_background", *ODD), ("",)),
    "dpi": whole(30, 72, least=10, most=1200),
}
FIGURE = {"output": OUTPUT, **PICTURE}
"""Options of a picture; a format and a file of another would get in each other's way."""
DATA_DIR = Values(("null", "{tmp}"), (), ("x", "", "{file}", "[]", *ODD))
SHARED_OUT = {
    "workers": whole(1, 2, none=True),
    "cluster": Values(("null",), ("x", "", "localhost:1", "tcp://localhost", "tcp://:1", "http://a:1", "[]", *ODD)),
}
"""Options of who does the work; no scheduler is there."""
RUN = ("{nowhere}", "{folder}", "{file}", "", "null", "[]", "{nowhere}/" + "x" * 300, *ODD[:3])
"""What is no run folder."""


@dataclass(frozen=True)
class Command:
    """A command that looks at a run.

    Attributes:
        base: What is said first, to be quick.
        runs: Runs that it must accept.
        refused: Runs that it must refuse.
        options: Values of each option.
        only: Options that need one of some runs; with another they must be refused.
        exclusive: Options that may get in each other's way: of each group at most one is given.
    """

    base: tuple[str, ...]
    runs: tuple[str, ...]
    refused: tuple[str, ...]
    options: dict[str, Values]
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: tuple[tuple[str, ...], ...] = ()


EVERY = ("vae", "cvae", "five", "one", "autoencoder", "grey", "colour")
DENSITY = ("vae", "cvae", "five", "one", "colour")
TEST_IMAGES = 10
"""Test images of each run's set."""
CLASSES = 3

COMMANDS: dict[str, Command] = {
    "generate": Command(
        (),
        EVERY,
        (),
        {
            "rows": whole(1, 2, 12),
            "columns": whole(1, 3),
            "classes": numbers("[0]", "[2,2]", none=True, bad=("[]", "[-1]", "[3]", f"[{HUGE}]")),
            "seed": SEED,
            **FIGURE,
        },
        only={"classes": ("cvae",)},
    ),
    "reconstruct": Command(
        ("--images", "[0,1]"),
        EVERY,
        (),
        {"images": some_images(TEST_IMAGES), "split": SPLIT, "data_dir": DATA_DIR, **FIGURE},
        exclusive=(("images", "split"),),
    ),
    "marginals": Command(
        ("--images", "[0]"),
        tuple(run for run in EVERY if run != "autoencoder"),
        ("autoencoder",),
        {
            "images": some_images(TEST_IMAGES),
            "dims": numbers("[0]", none=True, bad=("[]", "[-1]", "[6]", f"[{HUGE}]")),
            "split": SPLIT,
            "data_dir": DATA_DIR,
            **FIGURE,
        },
        exclusive=(("images", "split"),),
    ),
    "traverse": Command(
        ("--rows", "2", "--columns", "2", "--around", "image:0"),
        tuple(run for run in EVERY if run not in ("one", "cvae")),
        ("one",),
        {
            "around": Values(
                ("origin", "image:0", f"image:{TEST_IMAGES - 1}", "class:0", "class:2"),
                (
                    "x",
                    "class:9",
                    "class:-1",
                    "image:-1",
                    f"image:{TEST_IMAGES}",
                    "class:",
                    "image:x",
                    "null",
                    "[]",
                    *ODD,
                ),
            ),
            "rows": whole(1, 3),
            "columns": whole(1, 3),
            "step": number(0.5, 2, bad=("0", "-1")),
            "dims": numbers("[0,1]", "[1,0]", bad=("[0]", "[0,0]", "[0,6]", "[-1,0]", "[0,1,2]", "[]")),
            "label": whole(0, 2, least=0, most=CLASSES - 1, none=True),
            "axes": truth(),
            "every_class": truth(),
            "data_dir": DATA_DIR,
            **FIGURE,
        },
        only={"label": ("cvae",), "every_class": ("cvae",)},
        exclusive=(("axes", "every_class", "dims"), ("label", "every_class")),
    ),
    "interpolate": Command(
        ("--pairs", "[[0,1]]", "--steps", "3"),
        EVERY,
        (),
        {
            "more": numbers("[]", bad=("[{nowhere}]", "[{other}]"), element="{nowhere}"),
            "pairs": numbers("[[0,1],[2,3]]", "[[4,4]]", bad=("[]", "[[0]]", "[[0,1,2]]", "[[-1,0]]", "[[0,99]]")),
            "classes": numbers("[[0,1]]", none=True, bad=("[]", "[[0]]", "[[0,9]]", "[[-1,0]]")),
            "steps": whole(2, 5, least=2),
            "path": choice("linear", "spherical", "quantile"),
            "data_dir": DATA_DIR,
            **FIGURE,
        },
        exclusive=(("pairs", "classes"),),
    ),
    "arithmetic": Command(
        ("--attribute", "class:0", "--images", "[0,1]", "--alphas", "[0,1]", "--measured", "5"),
        EVERY,
        (),
        {
            "attribute": Values(
                ("class:0", "class:1-vs:2"), ("x", "class:9", "class:0-vs:9", "class:", "null", "[]", *ODD), ("slant",)
            ),
            "share": number(0.5, 0.25, bad=("0", "-1", "0.51", "2")),
            "within_classes": Values(("false",), truth().bad, truth().open),
            "alphas": numbers("[0]", "[-2,0,2]", bad=("[]",), element="x"),
            "images": some_images(TEST_IMAGES),
            "measured": whole(2, 8, 1000, least=2, huge=False),
            "data_dir": DATA_DIR,
            **FIGURE,
        },
    ),
    "latent_space": Command(
        ("--split", "train"),
        tuple(run for run in EVERY if run not in ("one", "autoencoder")),
        ("one",),
        {
            "images": whole(200, none=True, huge=False),
            "masses": numbers("[0.5]", "[0.1,0.9]", bad=("[]", "[0]", "[1]", "[-0.5]", "[2]"), element="x"),
            "classes": numbers("[0]", "[2,1]", none=True, bad=("[]", "[-1]", "[3]", f"[{HUGE}]")),
            "estimate": choice("aggregate", "averaged"),
            "plane": choice("pair", "pca", "lda"),
            "dims": numbers("[0,1]", "[1,0]", bad=("[0]", "[0,0]", "[0,6]", "[-1,0]", "[0,1,2]", "[]")),
            "shrink": number(0, 0.5, 1, bad=("-0.1", "1.1")),
            "against": choice("halves", "test", none=True),
            "colours": Values(("null", "viridis", "[red, blue, teal]"), ("x", "[]", "[x]", "3", "{}", "[3]", *ODD)),
            "split": choice("train"),
            "data_dir": DATA_DIR,
            **FIGURE,
        },
        exclusive=(("plane", "dims"), ("classes", "plane")),
    ),
    "calibrate": Command(
        ("--images", "20", "--draws", "9"),
        DENSITY,
        ("autoencoder", "grey"),
        {
            "images": whole(20, 30, least=20),
            "draws": whole(9, 12, least=9),
            "mass": number(0.5, 0.95, bad=("0", "1", "-1", "2")),
            "seed": SEED,
            "device": DEVICE,
            **FIGURE,
        },
    ),
    "classify": Command(
        ("--images", "3", "--samples", "2"),
        ("cvae",),
        ("vae", "five", "autoencoder"),
        {
            "images": whole(1, 4, 10**6, huge=False),
            "samples": whole(1, 3),
            "split": SPLIT,
            "engine": ENGINE,
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            **FIGURE,
        },
    ),
    "evaluate": Command(
        ("--images", "2", "--samples", "3", "--points", "8", "--others", "6"),
        EVERY,
        (),
        {
            "pixels": choice("dynamic", none=True),
            "images": whole(1, 3, huge=False),
            "samples": whole(1, 4),
            "points": Values(("8", "10"), ("1", "0", "-2", "7", "x", "null", "[]", HUGE, *ODD)),
            "others": whole(4, 8, least=4, huge=False),
            "ais": whole(0, 2, least=0),
            "against": Values(("null",), ("{nowhere}", "{folder}", "{file}", "[]")),
            "classifier": Values(("false",), truth().bad, truth().open),
            "split": SPLIT,
            "engine": ENGINE,
            **SHARED_OUT,
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            **PICTURE,
        },
        only={"pixels": ("vae", "cvae", "five", "one", "autoencoder")},  # the others see pixels as they are
    ),
    "inspect_posterior": Command(
        ("--images", "[0]", "--draws", "5", "--warmup", "5"),
        ("vae", "cvae", "one", "grey"),
        ("autoencoder",),
        {
            "images": some_images(TEST_IMAGES, "[0]", f"[{TEST_IMAGES - 1}]"),
            "method": choice("auto", "quadrature"),
            "draws": whole(4, 6, least=4),
            "warmup": whole(1, 6),
            "target_accept": number(0.8, 0.5, bad=("0", "1", "-1", "2")),
            "ais": whole(0, least=0),
            "split": SPLIT,
            **SHARED_OUT,
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            **FIGURE,
            "output": Values(("{tmp}/a.png", "{tmp}/new/a.svg", "null"), OUTPUT.bad),
        },
        exclusive=(("images", "split"),),
    ),
    "inpaint": Command(
        (
            "--images",
            "[0]",
        ),
        ("vae", "cvae", "one", "grey"),
        ("autoencoder",),
        {
            "images": some_images(TEST_IMAGES, "[0]", f"[{TEST_IMAGES - 1}]"),
            "seen": choice("left", "right", "top", "bottom"),
            "method": choice("auto", "quadrature", "svi"),
            "completions": whole(1, 3),
            "split": SPLIT,
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            **FIGURE,
        },
        exclusive=(("images", "split"),),
    ),
    "side_by_side": Command(
        (),
        tuple(run for run in EVERY if run != "one"),
        ("one",),
        {
            "titles": Values(("null", "[Ä]", "[one]"), ("[]", "[a,b]", "{}")),
            "images": whole(1, 5, none=True, huge=False),
            "dims": numbers("[0,1]", "[1,0]", bad=("[0]", "[0,0]", "[0,6]", "[-1,0]", "[0,1,2]", "[]")),
            "limit": number(1, 2.5, none=True, bad=("0", "-1")),
            "colours": Values(("null", "viridis", "[red, blue, teal]"), ("x", "[]", "[x]", "3", "{}", *ODD)),
            "split": SPLIT,
            "data_dir": DATA_DIR,
            **FIGURE,
        },
    ),
    "export": Command(
        ("--images", "2"),
        EVERY,
        (),
        {
            "out": Values(("{tmp}/onnx", "{tmp}/a/b"), ("{file}",)),
            "images": whole(1, 3, 99, huge=False),
            "split": SPLIT,
            "data_dir": DATA_DIR,
        },
    ),
    "explore": Command(
        ("--images", "5", "--posteriors", "0"),
        ("vae", "cvae", "five"),
        ("one",),
        {
            "out": Values(("{tmp}/a.html", "{tmp}/new/ä.htm"), ("{file}", "a", "a.png", "{folder}")),
            "images": whole(1, 9, huge=False),
            "posteriors": whole(0, 1, least=0, huge=False),
            "most_mb": whole(20, 500, least=1, most=500),
            "split": SPLIT,
            "data_dir": DATA_DIR,
        },
    ),
    "compare": Command(
        ("{run:five}", "--images", "2"),
        ("vae", "one", "cvae"),
        ("grey", "colour"),
        {
            "images": whole(2, 9, least=2, none=True, huge=False),
            "samples": whole(1, 3),
            "split": SPLIT,
            "engine": ENGINE,
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            "output": Values(("{tmp}/a.json", "{tmp}/new/a.json"), ("{folder}", "{file}/a.json")),
        },
    ),
    "impute": Command(
        ("--samples", "5", "--draws", "2"),
        ("table",),
        ("vae", "cvae", "autoencoder"),
        {
            "samples": whole(5, 9),
            "draws": whole(1, 3),
            "mass": number(0.5, 0.95, bad=("0", "1", "-1", "2")),
            "calibrate": truth(),
            "table": Values(("null",), ("x", "", "{file}", "{nowhere}.csv", "{folder}", *ODD)),
            "skip": Values(("[]",), ("[x]", "[1]", "x", "{}", "null")),  # of another table alone
            "seed": SEED,
            "data_dir": DATA_DIR,
            "device": DEVICE,
            **FIGURE,
        },
    ),
}
"""The commands that look at runs. `traverse` of a CVAE needs a label and is among the cases of its own."""

PACKING: dict[str, Values] = {
    "source": Values(("{images}", "folder:{images}"), ("x", "", "{file}", "folder:{nowhere}", "array:{file}", *ODD)),
    "output": Values(("{tmp}/packed", "{tmp}/ä/b"), ("{file}", "{file}/a", "{folder}", "")),
    "labels": Values(("null",), ("{file}", "{nowhere}")),  # of arrays alone
    "label": Values(("null",), ("x",)),  # of tables alone
    "scaling": Values((), ("unit", "x", "null", "3", *ODD), ("standard", "none")),
    "skip": Values(("[]",), ("[a]",), ("null",)),
    "image_size": Values(("4", "6", "null"), ("0", "-1", "x", "1.5", "[]", HUGE, "1000000", *ODD)),
    "validation": Values(("0", "0.2", "3"), ("-1", "1.0", "1.5", "1000", "x", "nan", "inf", "null", "[]", HUGE, *ODD)),
    "data_dir": Values(("null",), (), ("x", "[]")),
    "check": Values(("false",), ("true", *truth().bad)),  # a folder of images is no pack
    "progress": truth(),
}
"""Options of `pack` for a folder of images."""
LISTING: dict[str, Values] = {
    "folder": Values(("{runs}", "{run:vae}"), ("{file}", "{nowhere}"), ("",)),
    "sort": Values(("name", "age", "bound"), ("x", "", "Name", "[]", *ODD)),
}
"""Options of `list`."""

HIDDEN = Values(("[4]", "[5,3]"), ("[]", "[0]", "[-1]", "[1.5]", "4", "x", "[x]", "{}", f"[{HUGE}]", "null", "[[4]]"))

TRAINING: dict[str, Values] = {
    "data": Values((), ("x", "", "null", "[]", "3", "folder:", "folder:{nowhere}", "folder:{file}", "emnist:x", *ODD)),
    "data_dir": Values(("null", "{tmp}"), (), ("x", "", "[]")),
    "data_label": Values(("null",), ("x", "0", *ODD)),  # of tables alone
    "data_scaling": Values(("standard",), ("unit", "none", "x", "null", "3", *ODD)),
    "data_skip": Values(("[]",), ("[a]",)),
    "data_labels": Values(("null",), ("0", "-3", "1", "100000", "x", "1.5", "[]", "[3]", "{}", HUGE, *ODD), ("3",)),
    "validation": Values(("0", "0.2", "3"), ("-1", "1.0", "1.5", "1000", "x", "nan", "inf", "null", "[]", HUGE, *ODD)),
    "image_size": Values(("4", "6", "null"), ("0", "-1", "x", "1.5", "[]", HUGE, "1000000", *ODD)),
    "model.latent_dim": Values(
        ("1", "2", "3"), ("0", "-1", "1.5", "x", "[]", "null", HUGE, "100000000", "true", "1000000000000", *ODD)
    ),
    "model": slot("VAE", "CVAE", "Autoencoder"),
    "model.encoder.hidden": HIDDEN,
    "model.decoder.hidden": HIDDEN,
    "model.encoder.activation": slot("Tanh", "ReLU"),
    "model.prior": Values(
        ("StandardNormal", "Laplace", "GaussianMixture", "VampPrior"),
        (
            "x",
            "Prior",
            "",
            "3",
            "[]",
            "1.5",
            "true",
            "pyrovae",
            "pyrovae.priors",
            "os.system",
            "a.b.C",
            "VAE",
            "ReLU",
            *ODD,
        ),
    ),
    "model.likelihood": Values(
        ("Bernoulli",), ("x", "3", "[]", "true", "pyrovae.priors.Laplace", "StandardNormal", "os.path.join", *ODD)
    ),
    "model.posterior": Values(
        ("DiagonalNormal", "LowRankNormal"), ("x", "3", "[]", "Delta", "true", "builtins.dict", *ODD)
    ),
    "model.encoder": Values(("MLPEncoder", "GatedMLPEncoder"), ("x", "3", "[]", "MLPDecoder", "true", *ODD)),
    "model.decoder": Values(("MLPDecoder", "GatedMLPDecoder"), ("x", "3", "[]", "MLPEncoder", "null", *ODD)),
    "optimizer": Values(
        ("Adam", "SGD", "AdamW", "RMSprop"),
        ("x", "LBFGS", "SparseAdam", "3", "[]", "null", "StepLR", "Optimizer", *ODD),
    ),
    "optimizer.lr": number(0.001, 0.01, bad=("-1", "null")),
    "scheduler": Values(
        ("null", "LinearLR"),
        ("x", "3", "[]", "{}", "Adam", "LRScheduler", "LambdaLR", "SequentialLR", "MultiplicativeLR", *ODD),
    ),
    "objective": slot("TraceELBO", "TraceMeanField", "ImportanceWeighted", "Renyi", "DIPVAE", "Sparse"),
    "objective.beta": number(0, 0.5, 4, bad=("-1", "null")),
    "objective.warmup": number(0, 0.5, 1, bad=("-0.1", "1.1", "null")),
    "objective.schedule": choice("linear", "sigmoid", "cyclical"),
    "objective.particles": whole(1, 2),
    "epochs": Values(("1", "2"), tuple(word for word in whole(1).bad if word != "null")),  # null trains for 3,000 steps
    "batch_size": whole(1, 4, 1000, huge=False),
    "pixels": choice("auto", "dynamic", "fixed", "threshold"),
    "patience": whole(1, 3, none=True),
    "seed": whole(0, 7, 2**32 - 1, least=0, most=2**32 - 1),
    "device": DEVICE,
    "engine": choice("pyro", "auto"),
    "precision": choice("float32"),
    "checkpoint_every": number(0, 1.5, 60, bad=("-1",)),
    "name": Values(("a", "Ä", "b c"), ("{file}", "a/b/../../..", ".", "..", ""), ("日本", "3", "null", "a/b", "[]")),
    "runs_dir": Values(("{tmp}/runs", "{tmp}/Ä"), ("{file}",)),
    "overwrite": truth(),
    "resume": Values(("null",), RUN[:3], ("",)),
    "tensorboard": Values(("false",), truth().bad, truth().open),
    "progress": truth(),
}
"""Options of a training, by their names, with values that are good, bad and open on the set of few small images."""

SCHEDULERS: tuple[tuple[bool, tuple[str, ...]], ...] = (
    (True, ("StepLR", "step_size", "3")),
    (True, ("ExponentialLR", "gamma", "0.9")),
    (True, ("CosineAnnealingLR", "T_max", "5")),
    (True, ("ReduceLROnPlateau", "patience", "2")),
    (False, ("StepLR", "step_size", "0")),
    (False, ("StepLR", "step_size", "x")),
    (False, ("StepLR", "step_size", "null")),
    (False, ("ExponentialLR", "gamma", "nan")),
    (False, ("ExponentialLR", "gamma", "-1")),
    (False, ("CosineAnnealingLR", "T_max", "0")),
    (False, ("OneCycleLR", "max_lr", "0.1")),
    (False, ("CosineAnnealingWarmRestarts", "T_0", "-1")),
    (False, ("LinearLR", "start_factor", "0")),
    (False, ("ReduceLROnPlateau", "factor", "2")),
    (False, ("MultiStepLR", "milestones", "x")),
)
"""A scheduler with one argument, and whether a training must be accepted with it."""
