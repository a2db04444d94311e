"""Arithmetic with codes: the direction of an attribute, images moved along it, and the measured effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyrovae.checks import Positive, checked
from pyrovae.contracts import NotApplicable
from pyrovae.data import Split, to_unit
from pyrovae.estimates import Estimates
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


@checked
def attribute_vector(
    codes: Codes,
    has: np.ndarray,
    lacks: np.ndarray | None = None,
    *,
    name: str = "attribute",
    within_classes: bool = False,
) -> AttributeVector:
    """Mean code of the images with an attribute minus the mean code of the images without it.

    References:
        A. B. L. Larsen, S. K. Sønderby, H. Larochelle and O. Winther, Autoencoding beyond pixels using a learned
        similarity metric (2016), arXiv:1512.09300, for attribute vectors.

    Args:
        codes: The codes.
        has: Which images have it, bool (images,).
        lacks: Which images lack it, bool (images,); by default all others.
        name: Name of the attribute.
        within_classes: Whether to average the differences within each class, weighted by class size. Then the vector
            does not point from one class to another in which the attribute is more frequent.

    Raises:
        ValueError: If no image has the attribute or none lacks it, or a mask does not have one entry per image.
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
    vector, errors = _difference(codes.means.astype(np.float64), [(has & group, lacks & group) for group in groups])
    return AttributeVector(name, vector, errors, int(has.sum()), int(lacks.sum()))


def _difference(means: np.ndarray, groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean with minus mean without, averaged over groups by size, and its standard error: (latent_dim,) each."""
    sizes = np.array([(has | lacks).sum() for has, lacks in groups], dtype=float)
    vector, variance = np.zeros(means.shape[1]), np.zeros(means.shape[1])
    for weight, (has, lacks) in zip(sizes / sizes.sum(), groups, strict=True):
        for sign, some in ((1, means[has]), (-1, means[lacks])):
            vector += sign * weight * some.mean(0)
            variance += weight**2 * (some.var(0, ddof=1) / len(some) if len(some) > 1 else np.nan)
    return vector, np.sqrt(variance)


@checked
def extremes(values: np.ndarray, share: Positive = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """The images with the largest and with the smallest values of a measured attribute.

    Args:
        values: The attribute, (images,). NaN is in neither group.
        share: Share of the images in each group, above 0 and at most 0.5, which splits at the median.

    Returns:
        Which values are large and which small, both bool (images,).

    Raises:
        ValueError: If the share is out of range.
    """
    _check_share(share)
    low, high = np.nanquantile(values, [share, 1 - share])
    return values > high, values <= low


def _check_share(share: float) -> None:
    if not 0 < share <= 0.5:
        raise ValueError(f"the share of images on each side must be above 0 and at most 0.5, got {share}")


@checked
def find_attribute(
    name: str, split: Split, attribute_names: Sequence[str] = (), *, share: Positive = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Which images have an attribute and which lack it, by the attribute's name.

    Args:
        name: An attribute of the image set ("Smiling"); a measured attribute ("slant"): largest against smallest
            values; "class:3": against all other classes; or "class:3-vs:5".
        split: The grey or coloured images, not binarised, with labels and attributes.
        attribute_names: Names of the set's own attributes.
        share: Share of the images in each group of a measured attribute, at most 0.5.

    Returns:
        Which images have it and which lack it, both bool (images,).

    Raises:
        ValueError: If there is no such attribute, or the share is out of range.
    """
    _check_share(share)
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


@checked
def move_along(
    model: LatentVariableModel,
    codes: Codes,
    vector: np.ndarray,
    alphas: Sequence[float],
    labels: np.ndarray | None = None,
) -> Traversal:
    """Decode z + alpha * vector for the mean codes z of some images: one row per image, one column per alpha.

    Args:
        model: The model.
        codes: Codes of the images.
        vector: The direction, (latent_dim,).
        alphas: Multiples of the vector, (columns,).
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
    """The effect of a traversal along an attribute vector on images, relative to alpha = 0.

    Attributes:
        name: The attribute of the vector.
        alphas: Multiples of the vector, (alphas,).
        images: Number of images.
        attributes: Names of the measured attributes, (attributes,).
        changes: Mean change over the images, in each attribute's unit, (attributes, alphas).
        travelled: Movement of the re-encoded images along the vector v, in units of v, (alphas,): mean over the images
            of (mean code at alpha - mean code at 0) · v / |v|². It equals alpha if the encoder inverts the decoder,
            and is defined for every attribute, measured or not.
        scales: Standard deviation of each attribute over the images at alpha = 0, (attributes,). Changes are compared
            across attributes in these units.
        kept: Share of images whose predicted class is that at alpha = 0, (alphas,); NaN without a classifier.
    """

    name: str
    alphas: np.ndarray
    images: int
    attributes: tuple[str, ...]
    changes: Estimates
    travelled: Estimates
    scales: np.ndarray
    kept: Estimates

    def __str__(self) -> str:
        rows = [(attribute, self.standardised[row]) for row, attribute in enumerate(self.attributes)]
        if self.name in self.attributes:
            rows.insert(0, (f"{self.name}, {UNITS.get(self.name, 'units')}", self.of(self.name)))
        rows.append(("travelled", self.travelled))
        if not np.isnan(self.kept.value).any():
            rows.append(("class kept", self.kept))
        lines = [
            f"z + alpha * {self.name}, {self.images:,} images; changes in standard deviations of each attribute",
            f"{'alpha':18}" + "".join(f"{alpha:>16g}" for alpha in self.alphas),
        ]
        for name, found in rows:
            pairs = zip(found.value, found.sampling, strict=True)
            lines.append(f"{name:18}" + "".join(f"{mean:8.3f} ± {error:5.3f}" for mean, error in pairs))
        return "\n".join(lines)

    def of(self, attribute: str) -> Estimates:
        """Mean change of one attribute, (alphas,).

        Raises:
            ValueError: If it was not measured.
        """
        if attribute not in self.attributes:
            raise ValueError(f"{attribute} was not measured; there are {', '.join(self.attributes)}")
        return self.changes[self.attributes.index(attribute)]

    @property
    def standardised(self) -> Estimates:
        """Changes in standard deviations of each attribute over the images, (attributes, alphas).

        The errors take the standard deviations as known.
        """
        return self.changes / self.scales[:, None]


@checked
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
    """Move images along an attribute vector and measure the effect.

    Args:
        model: The model.
        codes: Codes of the images to move; preferably not of those that the vector was estimated from.
        vector: The attribute vector.
        alphas: Multiples of the vector.
        measures: Measured attributes; by default `morphology` for images of one channel, and none for colour images or
            vectors.
        classifier: A classifier of images; without one, `kept` is NaN.
        labels: Class to decode each image with, (images,), for a conditional model; by default its own.

    Raises:
        ValueError: If there are fewer than two images.
    """
    if len(codes) < 2:
        raise ValueError(f"an effect with its error needs at least two images, got {len(codes)}")
    pictures = move_along(model, codes, vector.vector, [0.0, *alphas], labels).images
    n, columns = pictures.shape[:2]
    flat = pictures.reshape(n * columns, *pictures.shape[2:])
    measures = measures or (morphology if flat.shape[1] == 1 and flat.shape[2] > 1 else _nothing)
    names, values = _measured(measures, flat, n)
    return AttributeEffect(
        name=vector.name,
        alphas=np.asarray(alphas, dtype=np.float64),
        images=n,
        attributes=names,
        changes=Estimates.mean_of(values[:, :, 1:] - values[:, :, :1], 1),
        travelled=_travelled(model, flat, np.repeat(codes.labels if labels is None else labels, columns), n, vector),
        scales=values[:, :, 0].std(1, ddof=1),
        kept=_kept(classifier, flat, n),
    )


def _measured(measures: Measure, flat: np.ndarray, images: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the attributes, and their values, (attributes, images, columns), in (images * columns, C, H, W)."""
    found = measures(flat)
    values = np.array(list(found.values()), float).reshape(len(found), images, len(flat) // images)
    return tuple(found), values


def _travelled(
    model: LatentVariableModel, flat: np.ndarray, labels: np.ndarray, images: int, vector: AttributeVector
) -> Estimates:
    """Movement of the mean codes of images, (images * columns, C, H, W), along the vector, from the first column."""
    codes = mean_codes(model, flat, labels).reshape(images, -1, len(vector.vector))
    along = codes @ vector.vector / (vector.vector @ vector.vector)
    return Estimates.mean_of(along[:, 1:] - along[:, :1], 0)


def _kept(classifier: Classifier | None, flat: np.ndarray, images: int) -> Estimates:
    """Share of images that keep the predicted class of the first column; NaN without a classifier."""
    columns = len(flat) // images
    if classifier is None:
        return Estimates.mean_of(np.full((images, columns - 1), np.nan), 0)
    classes = np.asarray(classifier(flat)).reshape(images, columns)
    return Estimates.mean_of((classes[:, 1:] == classes[:, :1]).astype(float), 0)


def _nothing(images: np.ndarray) -> dict[str, np.ndarray]:
    return {}
