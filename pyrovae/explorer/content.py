"""What the page shows, computed beforehand: codes, Gaussians, planes, draws of the prior, true posteriors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from pyrovae.contracts import NotApplicable, name_of
from pyrovae.data import Split, to_unit
from pyrovae.diagnostics.gap import compare
from pyrovae.inference.grid import quadrature_posterior
from pyrovae.latent import Codes, encode
from pyrovae.latent.codes import prior_moments
from pyrovae.runs.loading import Run
from pyrovae.runtime import frozen

PRIOR_DRAWS = 480
"""Draws of the prior, of all classes in turn where it looks at them."""
PRINCIPAL = 4
"""Principal axes that a page offers for codes of more than two dimensions."""
SHEET_COLUMNS = 40
THUMBNAIL = 28
"""Largest side of a small image, in pixels."""
GRID = 96
"""Points along each side of a true posterior."""
MASSES = (0.5, 0.9)
LIGHT = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#111111")
DARK = ("#9962f9", "#93b1d1", "#66ffcf", "#3fb451", "#9bea43", "#f0db86", "#ffb099", "#a15e79", "#f67aff", "#a8a8a8")
"""Colours of the classes on a light ground (P. Tol's muted scheme and black) and on a dark one. Any two differ by 14 or
more in CIE Lab, as people with either of the three kinds of colour blindness see them too."""


def facts_of(
    run: Run, codes: Codes, networks: Mapping[str, Any], missing: Mapping[str, str], footer: str
) -> dict[str, Any]:
    """All that is told in words and small numbers.

    Args:
        run: The run.
        codes: Codes of the images on the sheet.
        networks: What is known of the networks that there are, by name.
        missing: Why a network is not there, by its name.
        footer: Where the networks run.
    """
    shapes, data = run.model.shapes, run.data
    mean, covariance = prior_moments(run.model)
    parts = ", ".join(name_of(part) for part in (run.model.prior, run.model.likelihood, run.model.posterior))
    return {
        "about": f"{type(run.model).__name__} on {data.name}: {parts}; {shapes.latent_dim} dimensions",
        "footer": f"{len(codes):,} images, pixels {run.pixels}. {footer}",
        "latentDim": shapes.latent_dim,
        "imageShape": list(shapes.image_shape),
        "classes": list(data.class_names),
        "conditional": shapes.num_classes > 0,
        "binary": run.pixels != "none",
        "colours": {"light": LIGHT, "dark": DARK},
        "labels": codes.labels.tolist(),
        "axes": _axes(codes),
        "gaussians": _gaussians(codes),
        "prior": {"mean": _rounded(mean), "covariance": _rounded(covariance)},
        "networks": dict(networks),
        "missing": dict(missing),
    }


def _rounded(values: np.ndarray) -> Any:
    """Numbers of six digits, as lists; what is not finite would be no JSON."""
    return json.loads(json.dumps(np.vectorize(lambda x: float(f"{x:.6g}"))(np.nan_to_num(values)).tolist()))


def _axes(codes: Codes) -> list[dict[str, Any]]:
    """Axes to choose from, the first two of which are shown first: principal ones of more than two dimensions.

    A single code has no principal ones.
    """
    single = [{"name": f"z{j}", "vector": row.tolist()} for j, row in enumerate(np.eye(codes.latent_dim))]
    if codes.latent_dim < 3 or len(codes) < 2:
        return single
    _, vectors = np.linalg.eigh(np.cov(codes.means.T.astype(np.float64)))
    components = vectors[:, ::-1].T[:PRINCIPAL]
    largest = np.take_along_axis(components, np.abs(components).argmax(1, keepdims=True), 1)
    named = [{"name": f"PC{k}", "vector": _rounded(row)} for k, row in enumerate(components * np.sign(largest), 1)]
    return [*named, *single]


def _gaussians(codes: Codes) -> list[list[Any]]:
    """Label, mean and covariance of the aggregate posterior of each class that has images enough for one."""
    found: list[list[Any]] = []
    for label in np.unique(codes.labels):
        own = codes.of_class(label)
        if len(own) > 2:
            mean, covariance = own.aggregate()
            found.append([int(label), {"mean": _rounded(mean), "covariance": _rounded(covariance)}])
    return found


def prior_draws(run: Run, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Codes drawn from the prior, float32 (draws, latent_dim), and whether they are of all classes in turn."""
    classes = run.model.shapes.num_classes
    count = PRIOR_DRAWS - PRIOR_DRAWS % max(1, classes)
    with frozen(run.model, seed) as device:
        labels = torch.arange(max(count, classes), device=device) % classes if classes else None
        prior = run.model.prior(labels)
        by_class = bool(prior.batch_shape)
        draws = prior.sample() if by_class else prior.sample(torch.Size([count]))
    return draws.cpu().float().numpy(), by_class


def sheet(images: torch.Tensor) -> tuple[bytes, dict[str, int]]:
    """Small images side by side as PNG, and how they lie there.

    Args:
        images: Pixels as the data have them, (N, C, H, W).
    """
    numbers = np.nan_to_num(to_unit(images).numpy(), nan=0.0)
    pixels = _curves(numbers) if numbers.shape[2] == 1 else numbers.clip(0, 1)
    scale = min(1.0, THUMBNAIL / max(pixels.shape[2:]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[2:])
    mode = "RGB" if pixels.shape[1] > 2 else "L"
    rows = -(-len(pixels) // SHEET_COLUMNS)
    whole = Image.new(mode, (SHEET_COLUMNS * width, rows * height))
    for i, image in enumerate(np.round(255 * pixels).astype(np.uint8)):
        small = Image.fromarray(image[:3].transpose(1, 2, 0) if mode == "RGB" else image[0])
        if scale < 1:
            small = small.resize((width, height), Image.Resampling.BOX)
        whole.paste(small, (i % SHEET_COLUMNS * width, i // SHEET_COLUMNS * height))
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return file.getvalue(), {"columns": SHEET_COLUMNS, "width": width, "height": height}


def _curves(values: np.ndarray) -> np.ndarray:
    """Rows of values, (N, C, 1, W), as pictures of a curve, (N, 1, 20, 28); several channels as their mean."""
    rows = values.mean((1, 2))
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    share = (rows - low) / np.maximum(high - low, 1e-9)
    at = np.linspace(0, rows.shape[1] - 1, THUMBNAIL)
    below = np.minimum(at.astype(int), max(rows.shape[1] - 2, 0))
    above = np.minimum(below + 1, rows.shape[1] - 1)
    heights = 19 * (1 - share[:, below] * (1 - (at - below)) - share[:, above] * (at - below))
    before = np.concatenate([heights[:, :1], heights[:, :-1]], 1)  # a steep step fills its column
    line = np.arange(20)[:, None]
    ends = np.minimum(before, heights)[:, None], np.maximum(before, heights)[:, None]
    return ((line >= ends[0] - 0.5) & (line <= ends[1] + 0.5)).astype(np.float32)[:, None]


def truths(
    run: Run, split: Split, count: int, progress: Callable[[int], object] = lambda codes: None
) -> tuple[list[dict[str, Any]], bytes]:
    """True posteriors of a few images by quadrature, beside the guide's; none where they do not exist.

    Args:
        run: The run.
        split: The images on the sheet, as the model was trained on them.
        count: Images of which they are computed, of different classes as far as there are.
        progress: Called with the number of codes decoded since the last call.

    Returns:
        What is known of each, and the densities as shares of their largest, uint8 (images, 96, 96), as bytes.
    """
    chosen = _one_of_each(split.labels.tolist(), count)
    if run.model.shapes.latent_dim != 2 or not chosen:
        return [], b""
    few = split.take(chosen)
    try:
        grid = quadrature_posterior(run.model, few, progress=progress)
        both = compare(run.model, few, grid)
    except NotApplicable:
        return [], b""
    found, pictures = [], []
    for i, number in enumerate(chosen):
        low, high = grid.axes[i, :, 0], grid.axes[i, :, -1]
        picture, levels = _density(grid.log_density[i], grid.levels(MASSES)[i])
        pictures.append(picture)
        found.append(
            {
                "image": number,
                "label": int(few.labels[i]),
                "low": low.tolist(),
                "high": high.tolist(),
                "size": GRID,
                "levels": levels,
                "guide": {"mean": _rounded(both.guide[0][i]), "covariance": _rounded(both.guide[1][i])},
                "gap": float(both.gap.value[i]),
                "reverse": float(both.reverse.value[i]),
            }
        )
    return found, np.stack(pictures).tobytes()


def _one_of_each(labels: Sequence[int], count: int) -> list[int]:
    """Places of the first image of each class, then of the second, and so on, at most `count`."""
    seen: dict[int, int] = {}
    order = []
    for place, label in enumerate(labels):
        order.append((seen.setdefault(label, 0), label, place))
        seen[label] += 1
    return [place for *_, place in sorted(order)[:count]]


def _density(log_density: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """A density on a grid of 96 by 96 points between the same ends, as shares of its largest, and its levels."""
    top = log_density.max()
    share = np.exp(log_density - top)
    size = log_density.shape[0]
    at = np.linspace(0, size - 1, GRID)
    below = np.minimum(at.astype(int), size - 2)
    part = at - below
    rows = share[below] * (1 - part)[:, None] + share[below + 1] * part[:, None]
    whole = rows[:, below] * (1 - part) + rows[:, below + 1] * part
    return np.round(255 * whole).astype(np.uint8), [float(np.exp(edge - top)) for edge in edges]


def codes_of(run: Run, split: Split) -> Codes:
    """The codes of the images on the sheet.

    Raises:
        NotApplicable: If they have one dimension, and so no plane.
    """
    if run.model.shapes.latent_dim < 2:
        raise NotApplicable(
            "a page shows a plane of codes, and this run's have one dimension: train one of two or more "
            "(--model.latent_dim 2), or look at this one by the command traverse"
        )
    return encode(run.model, split)
