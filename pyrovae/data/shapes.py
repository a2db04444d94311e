"""A rendered set of shapes whose factors are known, in the manner of dSprites.

One white shape on black, 32 x 32 pixels: every combination of

    shape     heart, half disc, L           (the label; none of them looks the same after a turn)
    scale     0.5, 0.625, 0.75, 0.875, 1    of a radius of 8 pixels
    rotation  0 to 330 degrees, in steps of 30
    x, y      -6 to 6 pixels from the middle

30,420 images. The factors lie beside them as `ImageSet.factors`.

References:
    L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, dSprites: Disentanglement testing Sprites dataset (2017).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pyrovae.data.images import VALIDATION_SHARE, ImageSet, draw_splits

SIDE, RADIUS = 32, 8.0
FACTORS = ("shape", "scale", "rotation", "x", "y")
"""Names of the factors: number of the shape, size, radians, and pixels to the right and down."""
SCALES = torch.linspace(0.5, 1.0, 5, dtype=torch.float64)
ROTATIONS = torch.arange(12, dtype=torch.float64) * (math.pi / 6)
SHIFTS = torch.arange(-6, 7)
_FINER = 8


def _heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = 1.3 * u, -1.3 * v + 0.1
    return (u.square() + v.square() - 1).pow(3) <= u.square() * v.pow(3)


def _half_disc(u: Tensor, v: Tensor) -> Tensor:
    return (u.square() + (v + 0.4).square() <= 1) & (v >= -0.4)


def _angle(u: Tensor, v: Tensor) -> Tensor:
    return (u.abs() <= 0.55) & (v.abs() <= 0.8) & ((u <= -0.1) | (v >= 0.35))


SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"heart": _heart, "half disc": _half_disc, "L": _angle}
"""Whether points (u, v), in radii from the middle, v downwards, lie in a shape that is not turned."""


def render_shapes(validation: float | int = VALIDATION_SHARE) -> ImageSet:
    """Renders the set; it needs no file.

    Args:
        validation: Share or number of the training images kept for validation.

    Returns:
        The set, uint8 (30420, 1, 32, 32), with its factors.
    """
    reach = int(SHIFTS.max())
    images, factors = [], []
    for label, inside in enumerate(SHAPES.values()):
        for scale in SCALES.tolist():
            for rotation in ROTATIONS.tolist():
                wide = _render(inside, scale, rotation, SIDE + 2 * reach)
                for y in SHIFTS.tolist():
                    for x in SHIFTS.tolist():
                        images.append(wide[reach - y : reach - y + SIDE, reach - x : reach - x + SIDE])
                        factors.append((label, scale, rotation, x, y))
    found = torch.tensor(factors, dtype=torch.float64)
    return ImageSet(
        name="shapes",
        images=torch.stack(images).unsqueeze(1),
        labels=found[:, 0].long(),
        class_names=tuple(SHAPES),
        splits=draw_splits(len(images), validation=validation),
        factors=found,
        factor_names=FACTORS,
    )


def _render(inside: Callable[[Tensor, Tensor], Tensor], scale: float, rotation: float, side: int) -> Tensor:
    """A shape in the middle of a square, uint8 (side, side): the share of each pixel that it covers."""
    places = (torch.arange(side * _FINER, dtype=torch.float64) + 0.5) / _FINER - side / 2
    down, right = torch.meshgrid(places, places, indexing="ij")
    u = (math.cos(rotation) * right + math.sin(rotation) * down) / (RADIUS * scale)
    v = (-math.sin(rotation) * right + math.cos(rotation) * down) / (RADIUS * scale)
    covered = inside(u, v).double().unfold(0, _FINER, _FINER).unfold(1, _FINER, _FINER).mean((-1, -2))
    return (255 * covered).round().to(torch.uint8)
