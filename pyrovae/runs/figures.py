"""The figures that a run leaves in its folder: results computed, then drawn."""

from collections.abc import Iterator
from pathlib import Path

import torch

from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split
from pyrovae.latent import decode_manifold, encode, reconstruct, sample_per_class, sample_prior
from pyrovae.latent.manifold import STANDARD
from pyrovae.metrics.samples import draw_images
from pyrovae.models import LatentVariableModel
from pyrovae.plots import (
    Figure,
    new_figure,
    plot_codes,
    plot_columns,
    plot_history,
    plot_image_grid,
    plot_manifold,
    plot_reconstructions,
    save_figure,
)
from pyrovae.plots.vectors import FEW_COLUMNS
from pyrovae.training import History

VECTORS_A_SIDE = 10
"""Of the plane of a 2-D code, where each is a small plot and not a picture."""


def save_run_figures(
    model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy, history: History, folder: Path
) -> list[Path]:
    """Draw and save every figure of a run: curves, reconstructions, samples and, for a 2-D code, the plane.

    Returns:
        The files.
    """
    test = fixed_split(data.split("test" if len(data.splits["test"]) else "train"), pixels)
    figures = dict(_figures(model, data, test, history))
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _figures(model: LatentVariableModel, data: ImageSet, test: Split, history: History) -> Iterator[tuple[str, Figure]]:
    if len(history):
        figure, axes = new_figure(11, 3.4, columns=3)
        plot_history(history, axes)
        yield "loss", figure

    chosen = torch.linspace(0, len(test) - 1, min(16, len(test))).long()
    pairs = reconstruct(model, Split(test.images[chosen], test.labels[chosen]))
    figure, (ax,) = new_figure(11, 1.9)
    plot_reconstructions(pairs, ax).set_title("test images and their reconstructions")
    yield "reconstructions", figure

    figure, (ax,) = new_figure(6, 0.6 * (model.shapes.num_classes or 10) + 0.3)
    if model.shapes.num_classes:
        samples = sample_per_class(model)
        names = [data.class_names[k] for k in samples.labels]  # type: ignore[union-attr]
        plot_image_grid(samples.images, ax, row_labels=names)
        ax.set_title("samples: codes from the prior, one class a row")
    else:
        plot_image_grid(sample_prior(model).images, ax)
        ax.set_title("samples: codes from the prior")
    yield "samples", figure

    yield from _columns(model, data, test)
    if model.shapes.latent_dim == 2:
        figure, (ax,) = new_figure(7, 6)
        plot_codes(encode(model, test), data.class_names, ax)
        ax.set_title(f"posterior means of {len(test):,} test images")
        yield "codes", figure
        yield from _manifolds(model, data)


def _columns(model: LatentVariableModel, data: ImageSet, test: Split) -> Iterator[tuple[str, Figure]]:
    """Histograms of a table's columns, of the test rows and of as many draws of the model, in the table's own units."""
    if data.scaling is None or not 0 < len(data.columns) <= FEW_COLUMNS or not model.likelihood.is_density:
        return
    draws = torch.from_numpy(draw_images(model, max(len(test), 200)))
    rows, drawn = (data.scaling.undo(x).flatten(1).numpy() for x in (test.images, draws))
    across = min(5, len(data.columns))
    down = -(-len(data.columns) // across)
    figure, axes = new_figure(2.2 * across, 1.6 * down + 0.4, across, down)
    plot_columns(rows, drawn, data.columns, axes)
    yield "columns", figure


def _manifolds(model: LatentVariableModel, data: ImageSet) -> Iterator[tuple[str, Figure]]:
    """The plane of a 2-D code decoded; for a conditional model with one of its classes, the last."""
    label = model.shapes.num_classes - 1 if model.shapes.num_classes else None
    figure, (ax,) = new_figure(7, 7.2)
    manifold = decode_manifold(model, 20 if model.shapes.image_shape[1] > 1 else VECTORS_A_SIDE, label=label)
    title = "the decoded plane" if label is None else f"the decoded plane of class {data.class_names[label]}"
    plot_manifold(manifold, ax).set_title(title + ("" if manifold.spacing == STANDARD else f", at {manifold.spacing}"))
    yield "manifold", figure
