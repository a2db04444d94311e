"""Calls of the public functions with one argument made wrong at a time, against an oracle that reads no annotation.

    python tests/campaigns/api_calls.py

Each function has arguments that are right, written down by hand; each argument's name says what would be wrong for it.
A fault is a call that is accepted, an exception that is neither ValueError nor TypeError, or one that another library
raised, whose words know nothing of the argument.
"""

import importlib
import json
import math
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

import pyrovae
from pyrovae import inference, latent, metrics
from pyrovae.data import Split, fix_pixels, fixed_split, to_unit
from pyrovae.likelihoods import Normal

PACKAGE = Path(pyrovae.__file__).parent
ROOMS = ("inference", "latent", "diagnostics", "metrics")


@dataclass(frozen=True)
class Call:
    """A call with one argument that is wrong."""

    room: str
    function: str
    argument: str
    value: Any

    def __str__(self) -> str:
        return f"{self.room}.{self.function}({self.argument}={str(self.value)[:60]!r} of {type(self.value).__name__})"


def world() -> SimpleNamespace:
    """Models, images and what was computed of them, all tiny."""
    digits = pyrovae.load_images("digits")
    w = SimpleNamespace(digits=digits)
    w.vae = pyrovae.VAE((1, 8, 8), 2)
    w.cvae = pyrovae.CVAE((1, 8, 8), 10, 2)
    w.split = fixed_split(digits.split("test"), "dynamic").take(range(60))
    w.few = w.split.take(range(4))
    w.codes = latent.encode(w.vae, w.split)
    w.gaussians = latent.class_gaussians(w.codes, [0, 1], bootstrap=3)
    w.draws = inference.guide_draws(w.vae, w.few, 20)
    w.truth = inference.quadrature_posterior(w.vae, w.few, 16, tolerance=100.0)
    has = w.codes.labels == 1
    w.vector = latent.attribute_vector(w.codes, has)
    w.has = has
    w.policy = metrics.Policy("digits", "test", "dynamic", "NLL")
    w.factors = metrics.Factors(w.codes.labels[:, None] % 3 + np.zeros((1, 2)), ("a", "b"), (True, False))
    w.report = metrics.Report(w.policy, 0, ())
    return w


def right_arguments(w: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """Arguments that are right, by the name of the function."""
    looks = {"model": w.vae, "split": w.few, "seed": 0}
    grid = np.zeros((2, 3, 2))
    holes = pyrovae.VAE((1, 1, 3), latent_dim=2, likelihood=Normal, missing="zeros")
    rows = Split(torch.tensor([[[[0.1, math.nan, 1.0]]], [[[0.0, 1.0, math.nan]]]]), torch.zeros(2, dtype=torch.int64))
    return {
        "annealed": looks | {"settings": inference.Annealing(2, 2, 1)},
        "bidirectional": {"model": w.vae, "images": 4, "settings": inference.Annealing(2, 2, 1), "seed": 0},
        "classify": looks | {"model": w.cvae, "samples": 2, "engine": "graph"},
        "estimate_elbo": looks | {"batch_size": 2},
        "fit_local": looks | {"steps": 4, "particles": 1, "lr": 0.1},
        "guide_draws": looks | {"draws": 4},
        "half": {"image_shape": (1, 8, 8), "side": "left"},
        "importance_weighted": looks | {"samples": 4, "engine": "graph"},
        "impute": {"model": holes, "split": rows, "samples": 4, "draws": 2, "mass": 0.5, "seed": 0},
        "inpaint": looks | {"seen": inference.half((1, 8, 8), "left"), "completions": 2, "method": "auto"},
        "nuts_posterior": looks | {"chains": 2, "warmup": 2, "draws": 4},
        "predict_labels": {"model": pyrovae.SemiSupervisedVAE((1, 8, 8), 10, 2), "split": w.few},
        "quadrature": {"model": w.vae, "split": w.few, "points": 8, "engine": "graph", "tolerance": 1.0},
        "quadrature_posterior": {"model": w.vae, "split": w.few, "points": 8, "tolerance": 1.0},
        "importance": {"train": w.codes, "test": w.codes, "factors": (w.factors, w.factors), "trees": 2, "seed": 0},
        "information_gap": {"codes": w.codes, "factors": w.factors, "bins": 5},
        "separation": {"train": w.codes, "test": w.codes, "factors": (w.factors, w.factors)},
        "agreement": {"first": w.gaussians, "second": w.gaussians},
        "attribute_effect": {"model": w.vae, "codes": w.codes, "vector": w.vector, "alphas": [0.0, 1.0]},
        "attribute_vector": {"codes": w.codes, "has": w.has},
        "axes_through": {"centre": np.zeros(2), "values": [0.0, 1.0], "dims": [0]},
        "class_ellipses": {"codes": w.codes, "gaussians": w.gaussians, "masses": [0.5]},
        "class_gaussians": {"codes": w.codes, "classes": [0], "shrink": 0.1, "bootstrap": 2, "seed": 0},
        "compare_classes": {"codes": w.codes, "gaussians": w.gaussians, "draws": 10, "seed": 0},
        "decode": {"model": w.vae, "z": torch.zeros(3, 2)},
        "decode_manifold": {"model": w.vae, "size": 2, "seed": 0},
        "ellipse": {"mean": np.zeros(2), "covariance": np.eye(2), "mass": 0.5},
        "encode": looks | {"batch_size": 4},
        "every_class": {"model": w.cvae, "codes": np.zeros((2, 2))},
        "extremes": {"values": np.arange(5.0), "share": 0.5},
        "find_attribute": {"name": "slant", "split": w.few, "share": 0.5},
        "grid_around": {"centre": np.zeros(2), "rows": 2, "columns": 2, "step": 1.0, "dims": (0, 1)},
        "interpolate": {"start": np.zeros(2), "end": np.ones(2), "steps": 3, "path": "linear"},
        "lda_plane": {"codes": w.codes},
        "marginals": looks | {"points": 10, "dims": [0]},
        "mean_codes": {"model": w.vae, "images": np.zeros((2, 1, 8, 8)), "labels": np.zeros(2, int), "batch_size": 2},
        "measure": {"images": np.ones((2, 1, 8, 8))},
        "move_along": {"model": w.vae, "codes": w.codes, "vector": np.ones(2), "alphas": [1.0]},
        "pair_plane": {"latent_dim": 2, "first": 0, "second": 1},
        "pca_plane": {"codes": w.codes},
        "reconstruct": {"model": w.vae, "split": w.few},
        "sample_per_class": {"model": w.cvae, "columns": 2, "classes": torch.tensor([0]), "seed": 0},
        "sample_prior": {"model": w.vae, "rows": 2, "columns": 2, "seed": 0},
        "traverse": {"model": w.vae, "coordinates": grid},
        "calibrate": {"model": w.vae, "images": 20, "draws": 9, "mass": 0.9, "seed": 0},
        "compare": {"model": w.vae, "split": w.few, "truth": w.truth, "samples": 4, "seed": 0},
        "density_ratio": {"model": w.vae, "split": w.few, "points": 4, "extent": 2.0, "seed": 0},
        "predictive_check": {"model": w.vae, "split": w.few, "posterior": w.draws, "mass": 0.9, "draws": 3, "seed": 0},
        "split_kl": looks,
        "to_arviz": {"model": w.vae, "split": w.few, "posterior": w.draws, "predictive": 2, "seed": 0},
        "check_comparable": {"first": w.policy, "second": w.policy, "names": ("a", "b")},
        "code_accuracy": {"train": w.codes, "test": w.codes, "labels": [10], "k": 2, "repeats": 2, "seed": 0},
        "compare_reports": {"first": w.report, "second": w.report, "names": ("a", "b")},
        "evaluate": looks | {"policy": w.policy, "budget": metrics.EvaluationBudget(2, 2, 8, others=4)},
        "precision_recall": {"real": np.zeros((9, 2)), "samples": np.zeros((9, 2)), "k": 3},
        "rate_distortion": {"models": [w.vae], "betas": [1.0], "split": w.split, "seed": 0},
        "sample_quality": looks | {"split": w.split},
        "trained_classifier": {"data": w.digits, "pixels": "dynamic", "seed": 0},
    }


def wrong_values(w: SimpleNamespace, function: str, argument: str, right: Any) -> list[Any]:
    """What must be refused in an argument's place."""
    junk = [None, "x", object(), {}, b"x"]
    picture = Image.new("L", (8, 8))
    if argument == "model":
        return [*junk, 3, torch.nn.Linear(2, 2), torch.zeros(2), w.vae.prior, pyrovae.VAE]
    if isinstance(right, Split):
        raw = w.digits.images[:4]
        other = Split(torch.zeros(4, 3, 9, 9, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
        minus = Split(raw, torch.full((4,), -1))
        shaped = [] if function == "find_attribute" else [other] if function != "classify" else [other, minus]
        return [*junk, 3, picture, raw, raw.numpy(), raw / 255.0, [raw], w.digits, *shaped]
    if isinstance(right, bool):
        return [*junk, 2]
    if isinstance(right, int):
        return [*(x for x in junk if x is not None), 1.5, -1, True, float("nan"), [1], np.zeros(2), 10**25, "3"]
    if isinstance(right, float):
        return [*junk, float("nan"), float("inf"), [1.0], True, np.zeros(2), "1.0"]
    if isinstance(right, str):
        return [None, 3, "no such name", object(), [], b"left"]
    if isinstance(right, torch.Tensor):
        bad = [object(), "x", right.numpy(), picture, 3]
        return [None, *bad, right[..., :-1], right.double()] if argument == "z" else bad
    if isinstance(right, np.ndarray):
        return ["x", object(), {}, b"x", [None], ["a"]]
    if isinstance(right, list | tuple):
        return ["x", object(), 3, {}, [None], ["a", "b"] if argument != "names" else [1, 2]]
    return junk


def calls(w: SimpleNamespace) -> Iterator[tuple[Call, dict[str, Any]]]:
    """Every call, with all of its arguments."""
    right = right_arguments(w)
    for room in ROOMS:
        public = importlib.import_module(f"pyrovae.{room}").__all__
        for function in (name for name in public if name in right):
            for argument, value in right[function].items():
                for wrong in wrong_values(w, function, argument, value):
                    yield Call(room, function, argument, wrong), right[function] | {argument: wrong}


def part_calls(w: SimpleNamespace) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Calls of models' parts with wrong images, codes and labels: what they are, the part, and its arguments."""
    x, z, y = torch.rand(4, 1, 8, 8), torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    picture = Image.new("L", (8, 8))
    for wrong in (None, 3, "x", picture, x.numpy(), x.double(), (255 * x).byte(), x[0], x[..., :7], x.flatten(1), [x]):
        yield "images", w.vae.posterior, (wrong,)
        yield "images and labels", w.cvae.posterior, (wrong, y)
    for wrong in (None, 3, "x", z.numpy(), z.double(), z[:, :1], torch.zeros(4, 3), z[0], z.long(), [z]):
        yield "codes", w.vae.likelihood, (wrong,)
        yield "codes and labels", w.cvae.likelihood, (wrong, y)
    for wrong in (None, 3, "x", y.numpy(), y.float(), y + 0.5, y - 1, y + 10, y[:3], torch.zeros(4, dtype=torch.bool)):
        yield "labels", w.cvae.posterior, (x, wrong)
        yield "labels", w.cvae.likelihood, (z, wrong)


def library_calls(w: SimpleNamespace) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Calls of what a notebook begins with: sets, models, objectives, trainers, with one wrong argument each."""
    digits, trainer, picture = w.digits, pyrovae.Trainer(epochs=1, engine="pyro"), Image.new("L", (8, 8))
    few, shape = digits.images[:2], (1, 8, 8)
    wrong = {
        pyrovae.load_images: [(None,), (3,), (["a"],), ("x",), ("digits", 3), ("digits", object())],
        pyrovae.ImageSet.from_arrays: [
            *[(None,), (picture,), ("x",), (np.zeros((4, 8, 8)),), (np.zeros(3, np.uint8),), ([[1]],)],
            *[(few, labels) for labels in ("xy", [1.5, 0], [-2, 0], [0], object())],
        ],
        pyrovae.VAE: [(None,), ("x",), ((8, 8),), *[(shape, dim) for dim in (None, "2", 2.0, -1, True)]],
        pyrovae.CVAE: [(shape, classes) for classes in (None, 1, "x", 2.5, -1)],
        pyrovae.load: [(None,), (3,)],
        pyrovae.run_info: [(None,), (3,)],
        pyrovae.TraceELBO: [(None,), ("x",), (-1,), (float("nan"),), (1, None), (1, 1, "x"), (1, 1, 0, "x")],
        pyrovae.ImportanceWeighted: [(None,), ("x",), (0,), (1.5,), (2, "x")],
        pyrovae.Sparse: [(-1,), ("x",), (1, 1, 0, "linear", 4, 0), (1, 1, 0, "linear", 4, 1, None)],
        pyrovae.Renyi: [(None,), ("x",), (1,), (-1,), (0.5, None)],
        trainer.fit: [(None, digits), (w.vae, None), (w.vae, few), (pyrovae.VAE, digits), (w.vae, digits, 3)],
        digits.split: [(None,), (3,), ("x",)],
        digits.split("test").take: [(3,), ("x",), ([-1],), ([1.5],), ([None],)],
        to_unit: [(None,), (picture,), (few.numpy(),)],
        fix_pixels: [(None, "dynamic"), (few, None), (few, "x"), (few.numpy(), "none"), (few, "dynamic", -1)],
        fixed_split: [(None, "dynamic"), (digits, "dynamic"), (w.split, None), (w.split, "dynamic", "x")],
    }
    for function, cases in wrong.items():
        for arguments in cases:
            yield "arguments", function, arguments
    for name, values in {
        "epochs": ("x", 0, 1.5, True),
        "batch_size": (None, 0, "x"),
        "seed": (None, 1.5, -1, 2**40),
        "objective": (None, "x"),
        "optimizer": (None, "Adam"),
        "scheduler": (3, "StepLR"),
        "pixels": (None, "x"),
        "engine": (None, "x"),
        "precision": ("x",),
        "patience": ("x", 0),
        "checkpoint_every": (None, -1, float("nan")),
        "device": ("x", 3),
    }.items():
        for value in values:
            yield name, lambda name=name, value=value: pyrovae.Trainer(**{name: value}).check(w.vae, digits), ()


def fault(function: Any, *args: Any, **kwargs: Any) -> str | None:
    """What is wrong with how a wrong call ends, or None."""
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError) as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if PACKAGE not in last.parents:
            return f"{type(error).__name__} of {last.parent.name}/{last.name}: {str(error)[:150]}"
        return None if str(error) and "\n" not in str(error) else f"said nothing in one line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:150]}"
    return "accepted"


def main() -> None:
    """Count."""
    w = world()
    found, count = [], 0
    for call, arguments in calls(w):
        count += 1
        wrong = fault(getattr(importlib.import_module(f"pyrovae.{call.room}"), call.function), **arguments)
        if wrong:
            found.append(f"{call}: {wrong}")
    for what, part, arguments in (*part_calls(w), *library_calls(w)):
        count += 1
        wrong = fault(part, *arguments)
        if wrong:
            found.append(f"{type(part).__name__} given wrong {what} {str(arguments)[:60]}: {wrong}")
    print("\n".join(found))
    print(json.dumps({"calls": count, "faults": len(found)}))
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
