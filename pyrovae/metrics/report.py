"""The report of a model: every number with its error, number of images and method, and the reason for missing ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from pyrovae.checks import Count, Seed, Within, check_fields, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split
from pyrovae.data.fixed import evenly_spaced
from pyrovae.diagnostics.information import split_kl
from pyrovae.estimates import Estimate, crossing
from pyrovae.inference.annealing import PILOTS, Annealing, annealed, bidirectional
from pyrovae.inference.classes import predict_labels
from pyrovae.inference.elbo import ElboEstimate, estimate_elbo
from pyrovae.inference.graphs import GraphEngine
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.likelihood import check_has_likelihood
from pyrovae.inference.quadrature import quadrature
from pyrovae.inference.target import other_codes
from pyrovae.latent import encode
from pyrovae.metrics.classifier import Predictions
from pyrovae.metrics.codes import code_accuracy
from pyrovae.metrics.disentanglement import BINS, Factors, importance, information_gap, separation
from pyrovae.metrics.samples import sample_quality
from pyrovae.models import LatentVariableModel
from pyrovae.program import command_line


@dataclass(frozen=True)
class Policy:
    """The settings that two reports must share to be comparable.

    Attributes:
        data: Name of the image set.
        split: Name of the split.
        pixels: The pixel policy: how grey images become pixels.
        score: Name of the reconstruction term: "NLL", or "cross-entropy" if the likelihood is not a density.
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
            trained: Pixel policy of its training.
            asked: Pixel policy of its evaluation; the same by default.

        Raises:
            ValueError: If these differ.
        """
        if asked not in (None, trained):
            raise ValueError(
                f"the run was trained on pixels {trained}, and its figures on pixels {asked} would be comparable with "
                f"nothing: evaluate it on {trained}, or train a run on {asked}"
            )
        return cls(data, split, trained, model.likelihood.score)

    def __str__(self) -> str:
        return f"{self.data}, split {self.split}, pixels {self.pixels}, scored by {self.score}"


@dataclass(frozen=True)
class Row:
    """A number of a report.

    Attributes:
        name: Its name.
        estimate: The number and its errors.
        images: Number of images.
        how: The method, and the unit if it is not nats per image.
    """

    name: str
    estimate: Estimate
    images: int
    how: str

    @property
    def error(self) -> float:
        """The Monte Carlo error if it is known, otherwise the sampling error, or NaN."""
        own = self.estimate.monte_carlo
        return self.estimate.sampling if math.isnan(own) else own

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, for JSON. An unknown error is None."""
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
        """The inverse of `to_dict`. It also reads older versions, which did not say which error they meant."""
        error, sampling = (math.nan if e is None else e for e in (values["error"], values.get("sampling")))
        own = math.nan if error == sampling else error
        return cls(values["name"], Estimate(values["value"], sampling, own), values["images"], values["how"])


@dataclass(frozen=True)
class EvaluationBudget:
    """The sizes of an evaluation.

    Attributes:
        images: Images for log p(x) and its diagnostics. The bound uses the whole split.
        samples: Codes per image for importance weighting, k.
        points: Quadrature points along each side, for a code of two dimensions.
        engine: "graph", or "compiled", which is faster from some million codes on.
        annealing: Settings of annealed importance sampling, or None to leave it out.
        simulated: Images drawn from the model, for bounds of log p(x) from both sides.
        others: Images for the parts of the KL, the quality of samples and the accuracy of codes.

    Raises:
        ValueError: If a number is out of its range.
    """

    images: Count = 200
    samples: Count = 1000
    points: Annotated[int, Within(2, 2**15)] = 200
    engine: GraphEngine = "graph"
    annealing: Annealing | None = None
    simulated: Count = 50
    others: Annotated[int, Within(4, 2**31)] = 2000  # three neighbours, of the precision of samples, need a fourth

    def __post_init__(self) -> None:
        check_fields(self)
        if self.points % 2:
            raise ValueError(f"points must be an even number, got {self.points}")


CROSSING = {
    ("log p(x) at least", "log p(x)"),
    ("log p(simulated) at least", "log p(simulated) at most"),
    ("information I(x; z)", "information, from above"),
}
"""Names of rows of which the first is a lower bound of what the second is, or bounds from above."""


@dataclass(frozen=True)
class Report:
    """All numbers of a model on a split.

    Attributes:
        policy: The settings that comparable reports share.
        seed: Seed of all draws.
        rows: The numbers.
        missing: The reason for each number that does not exist for this model.
    """

    policy: Policy
    seed: int
    rows: tuple[Row, ...]
    missing: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, for JSON. An unknown error is None."""
        return {**asdict(self), "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If the values are not those of a report.
        """
        try:
            rows = [Row.from_dict(row) for row in values["rows"]]
            return cls(Policy(**values["policy"]), values["seed"], tuple(rows), values["missing"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no evaluation of pyrovae ({error}): evaluate the run again") from error

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read the report that the command `evaluate` wrote into a run's folder.

        Raises:
            ValueError: If the run was not evaluated, or the file is damaged.
        """
        if not path.exists():
            raise ValueError(f"there is no {path}: evaluate it first: {command_line('evaluate', path.parent)}")
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    def __str__(self) -> str:
        lines = [
            f"{self.policy}, seed {self.seed}; nats per image unless it says otherwise; "
            "± is the sampling error unless it says Monte Carlo"
        ]
        lines += _aligned(
            [(row.name, *_number(row), f"{row.images:,}", f"images  {row.how}") for row in self.rows], "<><><"
        )
        missing = [f"no {what}: {why}" for what, why in self.missing.items()]
        return "\n".join([*lines, *self.remarks(), *missing])

    def remarks(self) -> list[str]:
        """A line for each two bounds of the same number of the same images that cross."""
        found = []
        for lower in self.rows:
            for upper in self.rows:
                if (lower.name, upper.name) in CROSSING and lower.images == upper.images:
                    crossed = crossing(lower.estimate, upper.estimate)
                    if crossed:
                        found.append(f"note: {lower.name} ({lower.how}) and {upper.name} ({upper.how}) {crossed}")
        return found


@checked
def evaluate(
    model: LatentVariableModel,
    split: Split,
    policy: Policy,
    budget: EvaluationBudget = EvaluationBudget(),
    *,
    train: Split | None = None,
    labelled: Split | None = None,
    predict: Callable[[np.ndarray], Predictions] | None = None,
    factors: tuple[Factors, Factors] | None = None,
    seed: Seed = 0,
    executor: Executor | None = None,
    progress: Callable[[str, int], Callable[[int], object]] = lambda name, total: lambda done: None,
) -> Report:
    """Estimate every number that exists for a model.

    Args:
        model: The model.
        split: Images, uint8 (N, C, H, W), and labels, (N,), with the pixels that the model was trained on.
        policy: Data, split, pixels and score, for the report.
        budget: Sizes of the evaluation.
        train: Training images with labels, for the accuracy of codes.
        labelled: The images of the split whose labels are known, for all accuracies; by default all of them.
        predict: A classifier of images, for the quality of samples.
        factors: What the training images and those of the split were rendered from, where that is known.
        seed: Seed of all draws.
        executor: Who does importance weighting and annealing, block by block and to the same bits: a
            `concurrent.futures.Executor`; by default this process.
        progress: Takes a name and a total; returns a function to call with the work done since the last call.

    Raises:
        ValueError: If the images do not fit the model, or there are none.
    """
    few, some = _some(split, budget.images), _some(split, budget.others)
    whole, true = split, split if labelled is None else labelled
    if model.infers_labels:  # the bounds are those of log p(x), the label summed over
        few, whole = few.without_labels(), split.without_labels()
    bound = list(_bound(estimate_elbo(model, whole, seed=seed)))
    sections: dict[str, Callable[[], Iterable[Row]]] = {
        "log p(x)": lambda: _likelihoods(model, few, budget, seed, executor, progress),
        "annealed log p(x)": lambda: _annealed(model, few, budget, seed, executor, progress),
        "parts of the KL": lambda: _parts_of_kl(model, some, seed),
        "quality of samples": lambda: _samples(model, some, predict, seed),
        "accuracy of codes": lambda: _accuracy(model, train, _some(true, budget.others), seed),
    }
    if factors is not None and train is not None:
        known = train, factors  # for the type checker, which does not follow them into the function
        sections["disentanglement"] = lambda: _disentanglement(model, *known, split, seed)
    if model.infers_labels and policy.split == "test":  # labels of other splits may have been hidden
        sections["predicted labels"] = lambda: _labels(model, true)
    rows, missing = _collect(sections)
    return Report(policy, seed, (*bound, *rows), missing)


def _collect(sections: dict[str, Callable[[], Iterable[Row]]]) -> tuple[list[Row], dict[str, str]]:
    """The rows of all sections, and the reason for each section that does not exist."""
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for what, numbers in sections.items():
        try:
            rows += list(numbers())  # all or none: an error may come after the first row
        except NotApplicable as reason:
            missing[what] = str(reason)
    return rows, missing


@checked
def check_comparable(first: Policy, second: Policy, names: tuple[str, str]) -> None:
    """Refuse to compare numbers of different images, pixels or scores.

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


@checked
def compare_reports(first: Report, second: Report, names: tuple[str, str]) -> str:
    """Two reports side by side: the numbers that were estimated by the same method, and their differences.

    Raises:
        ValueError: If their policies differ.
    """
    check_comparable(first.policy, second.policy, names)
    others = {(row.name, row.images, row.how): row for row in second.rows}
    table = []
    for row in first.rows:
        match = others.get((row.name, row.images, row.how))
        if match is not None:
            difference = row.estimate.value - match.estimate.value
            error = math.hypot(row.error, match.error)
            judged = "" if math.isnan(error) or not error else f" = {abs(difference) / error:.1f} errors"
            how = f"({row.images:,} images{', ' if row.how else ''}{row.how})"
            table.append((row.name, *_number(row), "|", *_number(match), "|", f"{difference:+.4g}{judged}", how))
    return "\n".join([f"{first.policy}; {names[0]} | {names[1]} | difference", *_aligned(table, "<><<><<<<")])


def _bound(bound: ElboEstimate) -> Iterable[Row]:
    n, is_likelihood = bound.images, bound.score == "NLL"
    name = "-ELBO" if is_likelihood else "loss"
    whole = "reconstruction + KL" if is_likelihood else f"{bound.score} + KL, no bound of any likelihood"
    yield Row(name, bound.negative_elbo, n, whole)
    yield Row("reconstruction", bound.reconstruction, n, f"{bound.score}, one code an image")
    yield Row("KL", bound.kl, n, "one code an image" if bound.kl_per_dim is None else "in closed form")
    yield Row("active units", Estimate(bound.active_units), n, f"of {bound.dimensions} dimensions")
    for j, kl in enumerate(() if bound.kl_per_dim is None else bound.kl_per_dim):
        yield Row(f"KL of z[{j}]", Estimate(float(kl)), n, "")


def _likelihoods(
    model: LatentVariableModel,
    few: Split,
    budget: EvaluationBudget,
    seed: int,
    executor: Executor | None,
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
        executor=executor,
        progress=progress("importance weighting, codes", budget.samples * n),
    )
    for k, bound in weighted.sweep.items():
        estimate = weighted.estimate if k == budget.samples else bound
        yield Row("log p(x) at least", estimate, n, f"importance-weighted, k = {k:,}")
    if budget.samples > 1:  # one code says nothing of the spread of its weights
        yield Row("its bias", Estimate(-weighted.mean_bias), n, f"k = {budget.samples:,}, to first order")
    seen = (few.images == few.images).sum().item() / n  # of each image, without what is missing
    bits = Estimate(weighted.bits_per_dim(seen))
    yield Row("bits per dimension", bits, n, weighted.method)
    if weighted.pareto is not None:
        how = f"guide's weights of shape above {weighted.pareto_threshold:.2g}, k = {budget.samples:,}"
        yield Row("images that it fails", Estimate(float(weighted.failed or 0)), n, how)
        yield Row("Pareto shape", Estimate(float(np.median(weighted.pareto))), n, "median over images")
    if model.shapes.latent_dim == 2 and not other_codes(model) and not model.infers_labels:
        exact = quadrature(model, few, budget.points, engine=budget.engine)
        how = f"{exact.method}; the error is at most {exact.error.max():.1g}"
        yield Row("log p(x)", replace(exact.estimate, monte_carlo=float(exact.error.mean())), n, how)


def _annealed(
    model: LatentVariableModel,
    few: Split,
    budget: EvaluationBudget,
    seed: int,
    executor: Executor | None,
    progress: Callable[[str, int], Callable[[int], object]],
) -> Iterable[Row]:
    settings = budget.annealing
    if settings is None:
        return
    if model.infers_labels:
        raise NotApplicable("annealing is for a given label, and this model's log p(x) sums over labels")
    each = settings.temperatures * (PILOTS + settings.chains)
    bar = progress("annealing, transitions", each * len(few))
    found = annealed(model, few, settings, seed=seed, executor=executor, progress=bar)
    yield Row("log p(x) at least", found.estimate, len(few), found.method)
    yield Row("its bias", Estimate(-found.mean_bias), len(few), f"{found.method}, to first order")
    bar = progress("annealing both ways, transitions", 2 * each * budget.simulated)
    bounds = bidirectional(model, budget.simulated, settings, seed=seed, executor=executor, progress=bar)
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
    model: LatentVariableModel, some: Split, predict: Callable[[np.ndarray], Predictions] | None, seed: int
) -> Iterable[Row]:
    quality = sample_quality(model, some, predict, seed=seed)
    n = quality.samples
    yield Row("precision of samples", quality.precision, n, f"share, 3 neighbours, {quality.space}")
    yield Row("recall of samples", quality.recall, n, f"share, 3 neighbours, {quality.space}")
    if quality.confidence and quality.entropy and quality.balance is not None:
        (confidence, real), (entropy, real_entropy) = quality.confidence, quality.entropy
        how = f"probability of the first choice, real images {real.value:.3f}"
        yield Row("confidence in samples", confidence, n, how)
        how = f"of the classifier's probabilities, real images {real_entropy.value:.3f}"
        yield Row("entropy of samples", entropy, n, how)
        yield Row("imbalance of classes", Estimate(quality.balance), n, "KL from the real images' classes")


def _accuracy(model: LatentVariableModel, train: Split | None, some: Split, seed: int) -> Iterable[Row]:
    if train is None or len(some.labels.unique()) < 2:
        raise NotApplicable("it needs training images, and labelled ones of several classes to be scored")
    accuracy = code_accuracy(encode(model, _some(train, 10_000), seed=seed), encode(model, some, seed=seed), seed=seed)
    # Labels that the training did not know come here as the model predicts them.
    kind = "predicted labels" if model.infers_labels else "labels"
    for name, found in ((f"{accuracy.k} nearest codes", accuracy.neighbours), ("linear in codes", accuracy.linear)):
        for labels, share in found.items():
            yield Row(name, share, len(some), f"share classified correctly, {labels:,} {kind}, 5 draws")


def _disentanglement(
    model: LatentVariableModel, train: Split, factors: tuple[Factors, Factors], split: Split, seed: int
) -> Iterable[Row]:
    chosen, n = evenly_spaced(len(train), 10_000), len(split)
    both = encode(model, train.take(chosen), seed=seed), encode(model, split, seed=seed)
    factors = factors[0].take(chosen), factors[1]
    gap = information_gap(both[1], factors[1])
    yield Row("MIG", gap.score, n, f"lead in information, as a share; {BINS} bins")
    yield Row("SAP", separation(*both, factors).score, n, "lead in predictability")
    found, how = importance(*both, factors, seed=seed), f"random forests, {len(chosen):,} training images"
    for name in ("disentanglement", "completeness", "informativeness"):
        yield Row(f"DCI {name}", getattr(found, name), n, how)


def _labels(model: LatentVariableModel, split: Split) -> Iterable[Row]:
    if not len(split):
        raise NotApplicable("no label of these images is known")
    found = predict_labels(model, split)
    yield Row("error of q(y | x)", found.error, len(split), "share of wrong labels")
    yield Row("-log q(label | x)", found.log_score, len(split), "nats")
    calibration = Estimate(found.reliability().expected_error)
    yield Row("its calibration error", calibration, len(split), "distance of accuracy and confidence, 10 bins")


def _some(split: Split, count: int) -> Split:
    """At most `count` images, evenly spaced."""
    return split if count >= len(split) else split.take(evenly_spaced(len(split), count))


def _number(row: Row) -> tuple[str, str]:
    """The number and its errors, but for one of 0, of what needs no draws; a count has no fraction."""
    errors, estimate = [], row.estimate
    if not math.isnan(estimate.monte_carlo) and estimate.monte_carlo:
        errors.append(f"± {estimate.monte_carlo:.2g} (Monte Carlo)")
    if not math.isnan(estimate.sampling):
        errors.append(f"± {estimate.sampling:.2g}")
    count = not estimate.is_known and float(estimate.value).is_integer()
    return f"{estimate.value:,.0f}" if count else f"{estimate.value:.3f}", " ".join(errors)


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Lines of a table; a column stands on the left (<) or on the right (>) of its width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [[f"{c:{side}{width}}" for c, side, width in zip(row, sides, widths, strict=True)] for row in rows]
    return [" ".join(row).rstrip() for row in cells]
