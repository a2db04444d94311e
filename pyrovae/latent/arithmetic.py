"""Arithmetic with codes: the direction of an attribute, pictures moved along it, and what that does to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, to_unit
from pyrovae.latent.codes import Codes, mean_codes
from pyrovae.latent.morphology import ATTRIBUTES, UNITS, measure
from pyrovae.latent.traversals import Traversal, traverse
from pyrovae.models import LatentVariableModel

Measure = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From images in [0, 1], (N, C, H, W), to named attributes, each (N,)."""
Classifier = Callable[[np.ndarray], np.ndarray]
"""From images in [0, 1], (N, C, H, W), to labels, (N,)."""


@dataclass(frozen=True, eq=False)
class AttributeVector:
    """The direction of an attribute in the latent space.

    Attributes:
        name: The attribute.
        vector: Mean code of the images with it minus mean code of those without, (latent_dim,).
        errors: Standard error of each component, (latent_dim,).
        with_count: Number of images with it.
        without_count: Number of images without it.
    """

    name: str
    vector: np.ndarray
    errors: np.ndarray
    with_count: int
    without_count: int

    def __str__(self) -> str:
        parts = ", ".join(f"{v:.3f} ± {e:.3f}" for v, e in zip(self.vector, self.errors, strict=True))
        return f"{self.name}: ({parts}) from {self.with_count:,} images with and {self.without_count:,} without"


def attribute_vector(
    codes: Codes,
    has: np.ndarray,
    lacks: np.ndarray | None = None,
    *,
    name: str = "attribute",
    within_classes: bool = False,
) -> AttributeVector:
    """Mean code of the images that have an attribute, minus that of those that lack it.

    References:
        A. B. L. Larsen, S. K. Sønderby, H. Larochelle and O. Winther, Autoencoding beyond pixels using a learned
        similarity metric (2016), arXiv:1512.09300, for attribute vectors.

    Args:
        codes: The codes.
        has: Which images have it, bool (images,).
        lacks: Which images lack it, bool (images,); by default all others.
        name: What the attribute is called.
        within_classes: Whether to take the difference inside of each class and average these by class size, so that
            the vector does not lead from one class to another in which the attribute is more frequent.

    Raises:
        ValueError: If no image has the attribute or none lacks it, or the columns are not of one entry an image.
    """
    has = np.asarray(has, dtype=bool)
    lacks = ~has if lacks is None else np.asarray(lacks, dtype=bool)
    if has.shape != codes.labels.shape or lacks.shape != codes.labels.shape:
        raise ValueError(f"an attribute needs one entry for each of {len(codes)} codes, got {len(has)}")
    if (has & lacks).any():
        raise ValueError(f"no image can both have and lack {name}, and {int((has & lacks).sum())} do")
    groups = [codes.labels == label for label in np.unique(codes.labels)] if within_classes else [np.ones_like(has)]
    groups = [group for group in groups if (has & group).any() and (lacks & group).any()]
    if not groups:
        raise ValueError(f"an attribute vector needs images with and without {name}, got {has.sum()} and {lacks.sum()}")
    weights = np.array([((has | lacks) & group).sum() for group in groups], dtype=float)
    weights /= weights.sum()
    vector, variance = np.zeros(codes.latent_dim), np.zeros(codes.latent_dim)
    for weight, group in zip(weights, groups, strict=True):
        for sign, chosen in ((1, has & group), (-1, lacks & group)):
            means = codes.means[chosen].astype(np.float64)
            vector += sign * weight * means.mean(0)
            variance += weight**2 * (means.var(0, ddof=1) / len(means) if len(means) > 1 else np.nan)
    return AttributeVector(name, vector, np.sqrt(variance), int(has.sum()), int(lacks.sum()))


def extremes(values: np.ndarray, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The images with the largest and with the smallest values of a measured attribute.

    Args:
        values: The attribute, (images,); NaN is neither large nor small.
        share: Share of the images on each side, above 0 and at most one half, which is a split at the median.

    Returns:
        Which are large and which small, both bool (images,).

    Raises:
        ValueError: If the share is out of its range.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"the share of images on each side must be above 0 and at most 0.5, got {share}")
    low, high = np.nanquantile(values, [share, 1 - share])
    return values > high, values <= low


def find_attribute(
    name: str, split: Split, attribute_names: Sequence[str] = (), *, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which images have an attribute and which lack it, by the attribute's name.

    Args:
        name: A column of the set's own attributes ("Smiling"); a measured attribute ("slant"), whose largest values
            are set against the smallest; "class:3", against all other classes; or "class:3-vs:5".
        split: The images as they are, not binarised, with labels and attributes.
        attribute_names: Names of the set's own attributes.
        share: Share of the images on each side of a measured attribute, at most one half.

    Returns:
        Who has it and who lacks it, both bool (images,).

    Raises:
        ValueError: If there is no such attribute.
    """
    if name in attribute_names and split.attributes is not None:
        has = split.attributes[:, list(attribute_names).index(name)].numpy()
        return has, ~has
    if name in ATTRIBUTES:
        if split.images.shape[-2] == 1:
            raise NotApplicable(f"{name} is measured on pictures, and these are vectors: give --attribute class:0")
        return extremes(getattr(measure(to_unit(split.images).numpy()), name), share)
    classes = re.fullmatch(r"class:(\d+)(?:-vs:(\d+))?", name)
    if not classes:
        known = ", ".join((*ATTRIBUTES, "class:A", "class:A-vs:B", *attribute_names))
        raise ValueError(f"attribute must be one of {known}, got {name!r}")
    labels = split.labels.numpy()
    for number in filter(None, classes.groups()):
        if int(number) not in labels:
            raise ValueError(f"class {number} has no images here; there are {', '.join(map(str, np.unique(labels)))}")
    has = labels == int(classes[1])
    return has, ~has if classes[2] is None else labels == int(classes[2])


def move_along(
    model: LatentVariableModel,
    codes: Codes,
    vector: np.ndarray,
    alphas: Sequence[float],
    labels: np.ndarray | None = None,
) -> Traversal:
    """Decode z + alpha * vector for the mean code z of some images: one row for each image, one column for each alpha.

    Args:
        model: The model.
        codes: Codes of the images.
        vector: The direction, (latent_dim,).
        alphas: How far to go, (columns,), in units of the vector.
        labels: Class to decode each image with, (images,), for a conditional model; by default its own.
    """
    steps = np.asarray(alphas, dtype=np.float64)[None, :, None] * np.asarray(vector, dtype=np.float64)
    labels = codes.labels if labels is None else labels
    return traverse(model, codes.means[:, None].astype(np.float64) + steps, labels[:, None])


def morphology(images: np.ndarray) -> dict[str, np.ndarray]:
    """The measured attributes of characters, by name; see `pyrovae.latent.morphology`."""
    return measure(images).to_dict()


@dataclass(frozen=True, eq=False)
class AttributeEffect:
    """What a traversal along an attribute vector does to pictures, against where each began (alpha = 0).

    Attributes:
        name: The attribute whose vector was followed.
        alphas: How far, in units of the vector, (alphas,).
        images: Number of images.
        attributes: What was measured, (attributes,).
        changes: Mean change over the images, in each attribute's own unit, (attributes, alphas).
        errors: Standard error of these means, (attributes, alphas).
        travelled: How far the pictures have moved along the vector as the encoder sees them, in units of the vector,
            (alphas,): mean over the images of (mean code at alpha - mean code at 0) · v / |v|². It is alpha where
            the encoder undoes the decoder, and says something of any attribute, measured or not.
        travelled_errors: Standard error of these means, (alphas,).
        scales: Standard deviation of each attribute over the images at alpha = 0, (attributes,): the ruler by which
            changes of different attributes compare.
        kept: Share of pictures that the classifier gives the class it gave at alpha = 0, (alphas,); NaN without one.
        kept_errors: Standard error of these shares, (alphas,).
    """

    name: str
    alphas: np.ndarray
    images: int
    attributes: tuple[str, ...]
    changes: np.ndarray
    errors: np.ndarray
    travelled: np.ndarray
    travelled_errors: np.ndarray
    scales: np.ndarray
    kept: np.ndarray
    kept_errors: np.ndarray

    def __str__(self) -> str:
        rows = list(zip(self.attributes, self.standardised, self.standardised_errors, strict=True))
        if self.name in self.attributes:
            rows.insert(0, (f"{self.name}, {UNITS.get(self.name, 'units')}", *self.of(self.name)))
        rows.append(("travelled", self.travelled, self.travelled_errors))
        if not np.isnan(self.kept).any():
            rows.append(("class kept", self.kept, self.kept_errors))
        lines = [
            f"z + alpha * {self.name}, {self.images:,} images; changes in standard deviations of each attribute",
            f"{'alpha':18}" + "".join(f"{alpha:>16g}" for alpha in self.alphas),
        ]
        for name, means, errors in rows:
            lines.append(f"{name:18}" + "".join(f"{m:8.3f} ± {e:5.3f}" for m, e in zip(means, errors, strict=True)))
        return "\n".join(lines)

    def of(self, attribute: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean change of one attribute and its standard error, each (alphas,).

        Raises:
            ValueError: If it was not measured.
        """
        if attribute not in self.attributes:
            raise ValueError(f"{attribute} was not measured; there are {', '.join(self.attributes)}")
        row = self.attributes.index(attribute)
        return self.changes[row], self.errors[row]

    @property
    def standardised(self) -> np.ndarray:
        """Changes in standard deviations of each attribute over the images, (attributes, alphas)."""
        return self.changes / self.scales[:, None]

    @property
    def standardised_errors(self) -> np.ndarray:
        """Standard errors of `standardised`, the standard deviations taken as known, (attributes, alphas)."""
        return self.errors / self.scales[:, None]


def attribute_effect(
    model: LatentVariableModel,
    codes: Codes,
    vector: AttributeVector,
    alphas: Sequence[float] = (-2.0, -1.0, 0.0, 1.0, 2.0),
    *,
    measures: Measure | None = None,
    classifier: Classifier | None = None,
    labels: np.ndarray | None = None,
) -> AttributeEffect:
    """Move images along an attribute vector and measure what becomes of them.

    Args:
        model: The model.
        codes: Codes of the images to move, best of other images than the vector was made of.
        vector: The attribute vector.
        alphas: How far to go, in units of the vector.
        measures: What to measure; by default `morphology` of images of one channel, and nothing of coloured ones or
            vectors.
        classifier: Names the class of pictures; without one, `kept` is NaN.
        labels: Class to decode each image with, (images,), for a conditional model; by default its own.

    Raises:
        ValueError: If there are fewer than two images, which have no standard error.
    """
    if len(codes) < 2:
        raise ValueError(f"an effect with its error needs at least two images, got {len(codes)}")
    labels = codes.labels if labels is None else labels
    channels, height, _ = model.shapes.image_shape
    measures = measures or (morphology if channels == 1 and height > 1 else _nothing)
    pictures = move_along(model, codes, vector.vector, [0.0, *alphas], labels).images
    n, columns = pictures.shape[:2]
    flat = pictures.reshape(n * columns, *pictures.shape[2:])
    measured = {name: np.asarray(values, float).reshape(n, columns) for name, values in measures(flat).items()}
    values = np.stack(list(measured.values())) if measured else np.zeros((0, n, columns))  # attributes, images, alphas
    changes = values[:, :, 1:] - values[:, :, :1]
    seen = mean_codes(model, flat, np.repeat(labels, columns)).reshape(n, columns, -1) @ vector.vector
    travelled = (seen[:, 1:] - seen[:, :1]) / (vector.vector @ vector.vector)
    kept = np.full((n, columns - 1), np.nan)
    if classifier is not None:
        named = np.asarray(classifier(flat)).reshape(n, columns)
        kept = (named[:, 1:] == named[:, :1]).astype(float)
    return AttributeEffect(
        name=vector.name,
        alphas=np.asarray(alphas, dtype=np.float64),
        images=n,
        attributes=tuple(measured),
        changes=changes.mean(1),
        errors=_error(changes, 1),
        travelled=travelled.mean(0),
        travelled_errors=_error(travelled, 0),
        scales=values[:, :, 0].std(1, ddof=1),
        kept=kept.mean(0),
        kept_errors=_error(kept, 0),
    )


def _nothing(images: np.ndarray) -> dict[str, np.ndarray]:
    return {}


def _error(values: np.ndarray, axis: int) -> np.ndarray:
    """Standard error of a mean over an axis."""
    return values.std(axis, ddof=1) / np.sqrt(values.shape[axis])
