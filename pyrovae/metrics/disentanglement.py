"""Disentanglement: how well single dimensions of the code stand for single factors that images were rendered from.

Three scores, each from 0 to 1, of the posterior means:

    MIG   the gap between the two dimensions that know most of a factor, in information
    SAP   the same gap in how well each dimension alone predicts the factor
    DCI   of the importance of dimensions in predicting all factors together: whether each dimension serves one factor
          (disentanglement), each factor needs one dimension (completeness), and factors are known (informativeness)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np

from pyrovae.checks import Count, Seed, Within, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet
from pyrovae.estimates import Estimate, jackknife_error
from pyrovae.latent import Codes

BINS = 20
"""Default number of intervals that a dimension's range is cut into."""
GROUPS = 20
"""Groups of images, of which the jackknife leaves out one at a time."""

Score = Callable[[np.ndarray], float]
"""A score of some of the images, by their numbers."""


@dataclass(frozen=True, eq=False)
class Factors:
    """What images were rendered from.

    Args:
        values: A number for each factor of each image, (images, factors).
        names: Name of each factor.
        categories: For each factor, whether its values are names of categories rather than amounts.

    Raises:
        ValueError: If the sizes do not agree.
    """

    values: np.ndarray
    names: tuple[str, ...]
    categories: tuple[bool, ...]

    def __post_init__(self) -> None:
        columns = len(self.names)
        if self.values.ndim != 2 or self.values.shape[1] != columns or len(self.categories) != columns:
            raise ValueError(
                f"factors must be of shape (images, {columns}), a column for each of the {columns} names and "
                f"categories, got {self.values.shape} and {len(self.categories)} categories"
            )

    @classmethod
    def of(cls, data: ImageSet, split: str) -> Factors:
        """The factors of a split. One that is the label is a category, the others are amounts.

        Raises:
            NotApplicable: If the factors of these images are not known.
        """
        if data.factors is None:
            raise NotApplicable(f"the factors of the images of {data.name} are not known; those of the set shapes are")
        index = data.splits[split]
        categories = (data.factors == data.labels.unsqueeze(1)).all(0).tolist()
        return cls(data.factors[index].numpy(), tuple(data.factor_names), tuple(categories))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: Sequence[int]) -> Factors:
        """Those of some of the images."""
        return Factors(self.values[index], self.names, self.categories)


@dataclass(frozen=True, eq=False)
class InformationGap:
    """Mutual information of dimensions and factors.

    Attributes:
        information: I(z_j; v_k), in nats, (latent_dim, factors).
        entropies: H(v_k), in nats, (factors,).
        score: The mean gap, MIG.
    """

    information: np.ndarray
    entropies: np.ndarray
    score: Estimate

    @property
    def gaps(self) -> np.ndarray:
        """The lead of the first dimension over the second, as a share of the entropy, (factors,)."""
        return _lead(self.information) / self.entropies


@dataclass(frozen=True, eq=False)
class Separation:
    """How well each dimension alone predicts each factor.

    Attributes:
        scores: For amounts the squared correlation, for categories the mean share of each that a linear classifier
            finds in other images, (latent_dim, factors).
        score: The mean gap, SAP.
    """

    scores: np.ndarray
    score: Estimate

    @property
    def gaps(self) -> np.ndarray:
        """The lead of the first dimension over the second, (factors,)."""
        return _lead(self.scores)


@dataclass(frozen=True, eq=False)
class Importance:
    """Which dimensions a predictor of each factor uses.

    Attributes:
        weights: Importance of each dimension for each factor, each factor's with sum 1, (latent_dim, factors).
        known: How well each factor is predicted in other images: 1 minus the error's share of the variance, at least 0;
            for categories the share that is right; (factors,).
        disentanglement: 1 minus the entropy over factors, in units of log factors, of each dimension, weighted by its
            importance.
        completeness: 1 minus the entropy over dimensions, in units of log latent_dim, of each factor; their mean.
        informativeness: The mean of `known`.
    """

    weights: np.ndarray
    known: np.ndarray
    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate


@checked
def information_gap(codes: Codes, factors: Factors, bins: Annotated[int, Within(2, 10_000)] = BINS) -> InformationGap:
    """The mutual information gap, MIG, of posterior means cut into intervals of equal width.

    References:
        R. Chen, X. Li, R. Grosse and D. Duvenaud, Isolating Sources of Disentanglement in VAEs (2018),
        arXiv:1802.04942; F. Locatello et al., Challenging Common Assumptions (2019), arXiv:1811.12359, for the bins.

    Args:
        codes: Codes of images.
        factors: Their factors. The states of one are its values, or intervals if there are more values than intervals.
        bins: Number of intervals.

    Raises:
        NotApplicable: If the code has a single dimension, or a factor never changes.
        ValueError: If there are not as many factors as codes.
    """
    _check_pair(codes, factors)
    states = np.stack([_state(column, bins) for column in factors.values.T])
    intervals = np.stack([_interval(column, bins) for column in codes.means.T])

    def score(rows: np.ndarray) -> float:
        information, entropies = _information(intervals[:, rows], states[:, rows])
        return _mean_lead(information / np.where(entropies > 0, entropies, 1))

    return InformationGap(*_information(intervals, states), _over_images(score, len(codes)))


@checked
def separation(train: Codes, test: Codes, factors: tuple[Factors, Factors]) -> Separation:
    """The separated attribute predictability, SAP, of posterior means.

    References:
        A. Kumar, P. Sattigeri and A. Balakrishnan, Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations (2018), arXiv:1711.00848.

    Args:
        train: Codes that the classifiers of categories are fitted to.
        test: Codes that all else is of.
        factors: The factors of both.

    Raises:
        NotApplicable: If the code has a single dimension, or a factor never changes.
        ValueError: If there are not as many factors as codes.
    """
    _check_pair(train, factors[0])
    _check_pair(test, factors[1])
    predicted: list[list[Score]] = []
    for z, other in zip(train.means.T, test.means.T, strict=True):
        predicted.append([])
        for k, is_category in enumerate(factors[1].categories):
            known, asked = (each.values[:, k] for each in factors)
            score = partial(_balanced, _classified(z, known, other)) if is_category else partial(_correlation, other)
            predicted[-1].append(partial(score, asked))

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.array([[score(rows) for score in of_dimension] for of_dimension in predicted])

    return Separation(scores(np.arange(len(test))), _over_images(lambda rows: _mean_lead(scores(rows)), len(test)))


@checked
def importance(
    train: Codes, test: Codes, factors: tuple[Factors, Factors], *, trees: Count = 30, seed: Seed = 0
) -> Importance:
    """Disentanglement, completeness and informativeness, DCI, by a random forest for each factor.

    References:
        C. Eastwood and C. Williams, A Framework for the Quantitative Evaluation of Disentangled Representations (2018).

    Args:
        train: Codes that the forests are fitted to.
        test: Codes that `known` is of.
        factors: The factors of both.
        trees: Trees of each forest.
        seed: Seed of the forests.

    Raises:
        NotApplicable: If the code has a single dimension, or a factor never changes.
        ValueError: If there are not as many factors as codes.
    """
    # Imported here: scikit-learn takes a second, which a training need not wait for.
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    _check_pair(train, factors[0])
    _check_pair(test, factors[1])
    weights, predicted = [], []
    for k, is_category in enumerate(factors[0].categories):
        family = RandomForestClassifier if is_category else RandomForestRegressor
        forest = family(trees, min_samples_leaf=5, max_features=None, random_state=seed)
        forest.fit(train.means, factors[0].values[:, k])
        weights.append(np.stack([tree.feature_importances_ for tree in forest.estimators_]))
        score = _right if is_category else _explained
        predicted.append(partial(score, forest.predict(test.means), factors[1].values[:, k]))

    def known(rows: np.ndarray) -> np.ndarray:
        return np.array([score(rows) for score in predicted])

    of_trees = np.stack(weights, 2)
    return Importance(
        _shares(of_trees.mean(0), 0),
        known(np.arange(len(test))),
        _over_trees(_disentanglement, of_trees),
        _over_trees(_completeness, of_trees),
        _over_images(lambda rows: float(known(rows).mean()), len(test)),
    )


def _over_images(score: Score, images: int) -> Estimate:
    """A score of all images, with its sampling error; images in a random order, as sets are often ordered by source."""
    rows = np.random.default_rng(0).permutation(images)
    groups = min(GROUPS, images)
    without = [score(np.delete(rows, slice(i, None, groups))) for i in range(groups)]
    return Estimate(score(np.arange(images)), sampling=jackknife_error(np.array(without)) if groups > 1 else math.nan)


def _over_trees(score: Callable[[np.ndarray], float], weights: np.ndarray) -> Estimate:
    """A score of the mean importance of all trees, with its Monte Carlo error; (trees, latent_dim, factors)."""
    trees = len(weights)
    without = [score(_shares(np.delete(weights, i, 0).mean(0), 0)) for i in range(trees if trees > 1 else 0)]
    error = jackknife_error(np.array(without)) if without else math.nan
    return Estimate(score(_shares(weights.mean(0), 0)), monte_carlo=error)


def _check_pair(codes: Codes, factors: Factors) -> None:
    """Refuse codes and factors of different images, and codes of which no two dimensions can be compared."""
    if len(codes) != len(factors):
        raise ValueError(f"there must be factors for each code, got {len(factors)} for {len(codes)} codes")
    if codes.latent_dim < 2:
        raise NotApplicable("disentanglement compares the dimensions of a code, and this one has a single dimension")
    for name, column in zip(factors.names, factors.values.T, strict=True):
        if len(np.unique(column)) < 2:
            raise NotApplicable(f"the factor {name!r} has the same value in every image: leave it out")


def _lead(scores: np.ndarray) -> np.ndarray:
    """The largest of each column minus the second largest."""
    second, first = np.sort(scores, axis=0)[-2:]
    return first - second


def _mean_lead(scores: np.ndarray) -> float:
    return float(_lead(scores).mean())


def _information(intervals: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information of each dimension and factor, and the entropy of each factor, in nats."""
    entropies = np.array([_entropy(state) for state in states])
    information = [
        [
            _entropy(cut) + entropy - _entropy(cut * (state.max() + 1) + state)
            for state, entropy in zip(states, entropies, strict=True)
        ]
        for cut in intervals
    ]
    return np.array(information), entropies


def _interval(values: np.ndarray, bins: int) -> np.ndarray:
    """The number of the interval, of equal width between the ends, that each value lies in."""
    edges = np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    return np.searchsorted(edges, values, side="right")


def _state(values: np.ndarray, bins: int) -> np.ndarray:
    """The number of the state that a factor is in."""
    levels, states = np.unique(values, return_inverse=True)
    return states if len(levels) <= bins else _interval(values, bins)


def _entropy(states: np.ndarray) -> float:
    """Entropy of the shares of states, in nats."""
    shares = np.unique(states, return_counts=True)[1] / len(states)
    return float(-(shares * np.log(shares)).sum())


def _disentanglement(weights: np.ndarray) -> float:
    return float(_concentration(weights) @ weights.sum(1) / weights.sum())


def _completeness(weights: np.ndarray) -> float:
    return float(_concentration(weights.T).mean())


def _concentration(weights: np.ndarray) -> np.ndarray:
    """1 minus the entropy of each row, in units of that of equal shares; 0 for a row of zeros."""
    if weights.shape[1] < 2:
        return np.ones(len(weights))
    shares = _shares(weights, 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return 1 + (shares * logs).sum(1) / np.log(weights.shape[1])


def _shares(weights: np.ndarray, axis: int) -> np.ndarray:
    """Weights over their sum along an axis; equal shares where all are zero."""
    total = weights.sum(axis, keepdims=True)
    return np.divide(weights, total, out=np.full_like(weights, 1 / weights.shape[axis]), where=total > 0)


def _correlation(first: np.ndarray, second: np.ndarray, rows: np.ndarray) -> float:
    """Pearson's correlation squared; 0 if one never changes."""
    first, second = first[rows] - first[rows].mean(), second[rows] - second[rows].mean()
    spread = (first**2).sum() * (second**2).sum()
    return float((first * second).sum() ** 2 / spread) if spread else 0.0


def _classified(z: np.ndarray, known: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The categories of other values by a linear classifier fitted to (z, known)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    return classifier.fit(z[:, None], known).predict(other[:, None])


def _balanced(found: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> float:
    """Mean share of each category that is found."""
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(asked[rows], found[rows]))


def _right(found: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> float:
    """Share of categories that are right."""
    return float((found[rows] == asked[rows]).mean())


def _explained(found: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> float:
    """1 minus the error's share of the variance, at least 0."""
    asked, error = asked[rows], found[rows] - asked[rows]
    spread = float(((asked - asked.mean()) ** 2).sum())
    return max(0.0, 1.0 - float((error**2).sum()) / spread) if spread else 0.0
