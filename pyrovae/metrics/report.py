"""One report of a model: every number with its error, its images and how it was estimated; and what cannot be known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split
from pyrovae.diagnostics.information import split_kl
from pyrovae.estimates import Estimate
from pyrovae.inference.annealing import PILOTS, Annealing, annealed, bidirectional
from pyrovae.inference.elbo import ElboEstimate, estimate_elbo
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.likelihood import check_has_likelihood
from pyrovae.inference.quadrature import quadrature
from pyrovae.inference.target import other_codes
from pyrovae.latent import encode
from pyrovae.metrics.classifier import Predictions
from pyrovae.metrics.codes import code_accuracy
from pyrovae.metrics.samples import sample_quality
from pyrovae.models import LatentVariableModel


@dataclass(frozen=True)
class Policy:
    """What two reports must share for their numbers to be comparable.

    Attributes:
        data: Name of the image set.
        split: Name of the split.
        pixels: How images became pixels.
        score: What the reconstruction term is: "NLL", or "cross-entropy" where it is no density.
    """

    data: str
    split: str
    pixels: str
    score: str

    @classmethod
    def of(cls, model: LatentVariableModel, data: str, split: str, trained: str, asked: str | None = None) -> Policy:
        """The policy of a run's report.

        Args:
            model: Its model.
            data: Name of the image set.
            split: Name of the split.
            trained: How images became pixels in its training.
            asked: How they shall in its evaluation; the same by default.

        Raises:
            ValueError: If these differ.
        """
        if asked not in (None, trained):
            raise ValueError(
                f"the run was trained on pixels {trained}, and its figures on pixels {asked} would be comparable with "
                f"nothing: evaluate it on its own, or train a run on those"
            )
        return cls(data, split, trained, model.likelihood.score)

    def __str__(self) -> str:
        return f"{self.data}, split {self.split}, pixels {self.pixels}, scored by {self.score}"


@dataclass(frozen=True)
class Row:
    """A number of a report.

    Attributes:
        name: What it is.
        estimate: The number and its errors.
        images: Number of images that it is of.
        how: How it was estimated, and its unit where that is not nats per image.
    """

    name: str
    estimate: Estimate
    images: int
    how: str

    @property
    def error(self) -> float:
        """The error of the number of these very images, if it is known; otherwise that of their choice, or NaN."""
        own = self.estimate.monte_carlo
        return self.estimate.sampling if math.isnan(own) else own

    def to_dict(self) -> dict[str, Any]:
        """Everything under its name, for JSON; an error that is not known is None."""
        errors = {"error": self.error, "sampling": self.estimate.sampling}
        return {
            "name": self.name,
            "value": self.estimate.value,
            **{kind: None if math.isnan(error) else error for kind, error in errors.items()},
            "images": self.images,
            "how": self.how,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """Put together what `to_dict` gave, or an older version, which did not say which error it meant."""
        error, sampling = (math.nan if e is None else e for e in (values["error"], values.get("sampling")))
        own = math.nan if error == sampling else error
        return cls(values["name"], Estimate(values["value"], sampling, own), values["images"], values["how"])


@dataclass(frozen=True)
class EvaluationBudget:
    """How much a report may cost.

    Attributes:
        images: Images for log p(x) and its diagnostics; the bound takes the whole split.
        samples: Codes for each image, k.
        points: Quadrature points along each side, for a code of two dimensions.
        engine: "graph", or "compiled", which pays from some million codes on.
        annealing: Temperatures and chains of annealed importance sampling, or None for none.
        simulated: Images that are drawn from the model, and bounded by it from both sides.
        others: Images for the parts of the KL, the quality of samples and the accuracy of codes.

    Raises:
        ValueError: If a number is out of its range.
    """

    images: int = 200
    samples: int = 1000
    points: int = 200
    engine: str = "graph"
    annealing: Annealing | None = None
    simulated: int = 50
    others: int = 2000

    def __post_init__(self) -> None:
        # Three neighbours, of the precision of samples, need a fourth image.
        for name, least in (("images", 1), ("samples", 1), ("points", 2), ("simulated", 1), ("others", 4)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.points % 2:
            raise ValueError(f"points must be an even number, got {self.points}")
        if self.engine not in ("graph", "compiled"):
            raise ValueError(f"engine must be graph or compiled, got {self.engine!r}")


@dataclass(frozen=True)
class Report:
    """All numbers of a model on a split.

    Attributes:
        policy: What comparable reports share.
        seed: Seed of all draws.
        rows: The numbers.
        missing: What does not exist for this model, and why.
    """

    policy: Policy
    seed: int
    rows: tuple[Row, ...]
    missing: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything under its name, for JSON; what is no number is None."""
        return {**asdict(self), "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """Put together what `to_dict` gave.

        Raises:
            ValueError: If it is something else.
        """
        try:
            rows = [Row.from_dict(row) for row in values["rows"]]
            return cls(Policy(**values["policy"]), values["seed"], tuple(rows), values["missing"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no evaluation of pyrovae ({error}): evaluate the run again") from error

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what scripts/evaluate.py kept in a run's folder.

        Raises:
            ValueError: If the run was not evaluated, or the file is damaged.
        """
        if not path.exists():
            raise ValueError(f"there is no {path}: evaluate it first: python scripts/evaluate.py {path.parent}")
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    def __str__(self) -> str:
        lines = [
            f"{self.policy}, seed {self.seed}; nats per image unless it says otherwise; "
            "± is the sampling error unless it says Monte Carlo"
        ]
        width = max(len(row.name) for row in self.rows)
        for row in self.rows:
            lines.append(f"{row.name:<{width}} {_number(row):>20}  {row.images:>6,} images  {row.how}".rstrip())
        return "\n".join([*lines, *(f"no {what}: {why}" for what, why in self.missing.items())])


def evaluate(
    model: LatentVariableModel,
    split: Split,
    policy: Policy,
    budget: EvaluationBudget = EvaluationBudget(),
    *,
    train: Split | None = None,
    judge: Callable[[np.ndarray], Predictions] | None = None,
    seed: int = 0,
    progress: Callable[[str, int], Callable[[int], object]] = lambda name, total: lambda done: None,
) -> Report:
    """Estimate all that a model has numbers for.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,), binarised by `fixed_split` as the model was trained.
        policy: What is said of these images in the report.
        budget: How much it may cost.
        train: Training images with labels, for the accuracy of codes.
        judge: A classifier of images, for the quality of samples.
        seed: Seed of all draws.
        progress: Given a name and a total, returns what is called with the work done since the last call.

    Raises:
        ValueError: If the images do not suit the model, or there are none.
    """
    few, some = _evenly_spaced(split, budget.images), _evenly_spaced(split, budget.others)
    rows = list(_bound(model, estimate_elbo(model, split, seed=seed)))
    missing: dict[str, str] = {}
    for what, numbers in {
        "log p(x)": lambda: _likelihoods(model, few, budget, seed, progress),
        "annealed log p(x)": lambda: _annealed(model, few, budget, seed, progress),
        "parts of the KL": lambda: _parts_of_kl(model, some, seed),
        "quality of samples": lambda: _samples(model, some, judge, seed),
        "accuracy of codes": lambda: _accuracy(model, train, some, seed),
    }.items():
        try:
            rows += list(numbers())  # all of them or none: an error may come after the first
        except NotApplicable as reason:
            missing[what] = str(reason)
    return Report(policy, seed, tuple(rows), missing)


def check_comparable(first: Policy, second: Policy, names: tuple[str, str]) -> None:
    """Refuse to hold numbers of different images, pixels or scores against each other.

    Raises:
        ValueError: If the policies differ.
    """
    for what, mine in asdict(first).items():
        other = getattr(second, what)
        if mine != other:
            raise ValueError(
                f"{names[0]} and {names[1]} cannot be compared: the {what} of one is {mine} and of the other {other}, "
                f"and figures of different ones are of different things"
            )


def compare_reports(first: Report, second: Report, names: tuple[str, str]) -> str:
    """Two reports side by side: the numbers that were estimated in the same way, and their difference.

    Raises:
        ValueError: If their policies differ.
    """
    check_comparable(first.policy, second.policy, names)
    others = {(row.name, row.images, row.how): row for row in second.rows}
    lines = [f"{first.policy}; {names[0]} | {names[1]} | difference"]
    for row in first.rows:
        match = others.get((row.name, row.images, row.how))
        if match is not None:
            difference = row.estimate.value - match.estimate.value
            error = math.hypot(row.error, match.error)
            judged = "" if math.isnan(error) or not error else f" = {abs(difference) / error:.1f} errors"
            lines.append(
                f"{row.name:<24} {_number(row):>20} | {_number(match):>20} | {difference:+.4g}{judged}  "
                f"({row.images:,} images{', ' if row.how else ''}{row.how})"
            )
    return "\n".join(lines)


def _bound(model: LatentVariableModel, bound: ElboEstimate) -> Iterable[Row]:
    n, is_likelihood = bound.images, bound.score == "NLL"
    name = "-ELBO" if is_likelihood else "loss"
    whole = "reconstruction + KL" if is_likelihood else f"{bound.score} + KL, no bound of any likelihood"
    yield Row(name, bound.negative_elbo, n, whole)
    yield Row("reconstruction", bound.reconstruction, n, f"{bound.score}, one code an image")
    yield Row("KL", bound.kl, n, "one code an image" if bound.kl_per_dim is None else "in closed form")
    yield Row("active units", Estimate(bound.active_units), n, f"of {model.shapes.latent_dim} dimensions")
    for j, kl in enumerate(() if bound.kl_per_dim is None else bound.kl_per_dim):
        yield Row(f"KL of z[{j}]", Estimate(float(kl)), n, "")


def _likelihoods(
    model: LatentVariableModel,
    few: Split,
    budget: EvaluationBudget,
    seed: int,
    progress: Callable[[str, int], Callable[[int], object]],
) -> Iterable[Row]:
    check_has_likelihood(model)
    n = len(few)
    weighted = importance_weighted(
        model,
        few,
        budget.samples,
        engine=budget.engine,
        seed=seed,
        progress=progress("importance weighting, codes", budget.samples * n),
    )
    for k, mean in weighted.sweep.items():
        estimate = weighted.estimate if k == budget.samples else Estimate(mean, monte_carlo=weighted.sweep_errors[k])
        yield Row("log p(x) at least", estimate, n, f"importance-weighted, k = {k:,}")
    yield Row("its bias", Estimate(-weighted.mean_bias), n, f"k = {budget.samples:,}, to first order")
    seen = (few.images == few.images).sum().item() / n  # of each image, without what is missing
    bits = Estimate(weighted.bits_per_dim(seen))
    yield Row("bits per dimension", bits, n, weighted.method)
    if weighted.pareto is not None:
        how = f"guide's weights of shape above {weighted.pareto_threshold:.2g}, k = {budget.samples:,}"
        yield Row("images that it fails", Estimate(float(weighted.failed or 0)), n, how)
        yield Row("Pareto shape", Estimate(float(np.median(weighted.pareto))), n, "median over images")
    if model.shapes.latent_dim == 2 and not other_codes(model):
        exact = quadrature(model, few, budget.points, engine=budget.engine)
        how = f"{exact.method}; the error is at most {exact.error.max():.1g}"
        yield Row("log p(x)", replace(exact.estimate, monte_carlo=float(exact.error.mean())), n, how)


def _annealed(
    model: LatentVariableModel,
    few: Split,
    budget: EvaluationBudget,
    seed: int,
    progress: Callable[[str, int], Callable[[int], object]],
) -> Iterable[Row]:
    settings = budget.annealing
    if settings is None:
        return
    each = settings.temperatures * (PILOTS + settings.chains)
    bar = progress("annealing, transitions", each * len(few))
    found = annealed(model, few, settings, seed=seed, progress=bar)
    yield Row("log p(x) at least", found.estimate, len(few), found.method)
    yield Row("its bias", Estimate(-found.mean_bias), len(few), f"{found.method}, to first order")
    bar = progress("annealing both ways, transitions", 2 * each * budget.simulated)
    bounds = bidirectional(model, budget.simulated, settings, seed=seed, progress=bar)
    for name, side in (("least", bounds.lower), ("most", bounds.upper)):
        yield Row(f"log p(simulated) at {name}", side.estimate, budget.simulated, side.method)


def _parts_of_kl(model: LatentVariableModel, some: Split, seed: int) -> Iterable[Row]:
    parts = split_kl(model, some, seed=seed)
    n = parts.images
    for name, estimate, how in (
        ("information I(x; z)", parts.information, f"at least, up to log {n:,} = {math.log(n):.2f}"),
        ("information, from above", parts.information_above, "an image's own posterior left out"),
        ("KL(q(z) || p(z))", parts.marginal, "of the aggregate of these images"),
        ("total correlation", parts.total_correlation, "of the aggregate of these images"),
        ("dimension-wise KL", parts.dimension_wise, "of the aggregate of these images"),
        ("holes", parts.holes, "prior probability of q(z) < p(z) / 10"),
    ):
        if estimate is not None:
            yield Row(name, estimate, n, how)


def _samples(
    model: LatentVariableModel, some: Split, judge: Callable[[np.ndarray], Predictions] | None, seed: int
) -> Iterable[Row]:
    quality = sample_quality(model, some, judge, seed=seed)
    n = quality.samples
    yield Row("precision of samples", quality.precision, n, f"share, 3 neighbours, {quality.space}")
    yield Row("recall of samples", quality.recall, n, f"share, 3 neighbours, {quality.space}")
    if quality.confidence and quality.entropy and quality.balance is not None:
        real = f"real images {quality.confidence[1]:.3f}"
        yield Row("confidence in samples", Estimate(quality.confidence[0]), n, f"probability of first choice, {real}")
        real = f"real images {quality.entropy[1]:.3f}"
        yield Row("entropy of samples", Estimate(quality.entropy[0]), n, f"of the classifier's probabilities, {real}")
        yield Row("imbalance of classes", Estimate(quality.balance), n, "KL from the real images' classes")


def _accuracy(model: LatentVariableModel, train: Split | None, some: Split, seed: int) -> Iterable[Row]:
    if train is None or len(some.labels.unique()) < 2:
        raise NotApplicable("it needs training images, of several classes")
    accuracy = code_accuracy(
        encode(model, _evenly_spaced(train, 10_000), seed=seed), encode(model, some, seed=seed), seed=seed
    )
    for name, found in ((f"{accuracy.k} nearest codes", accuracy.neighbours), ("linear in codes", accuracy.linear)):
        for labels, share in found.items():
            yield Row(name, share, len(some), f"share classified correctly, {labels:,} labels, 5 draws")


def _evenly_spaced(split: Split, count: int) -> Split:
    """At most so many images, evenly spaced over a split: sets are often ordered by their source."""
    return split if count >= len(split) else split.take([i * len(split) // count for i in range(count)])


def _number(row: Row) -> str:
    text, estimate = f"{row.estimate.value:.3f}", row.estimate
    if not math.isnan(estimate.monte_carlo):
        text += f" ± {estimate.monte_carlo:.2g} (Monte Carlo)"
    return text if math.isnan(estimate.sampling) else f"{text} ± {estimate.sampling:.2g}"
