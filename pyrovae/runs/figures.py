"""The figures in a run's folder."""

from collections.abc import Iterator
from pathlib import Path

import torch

from pyrovae.data import ImageSet, PixelPolicy, Split, fixed_split
from pyrovae.inference.classes import with_predicted_labels
from pyrovae.latent import Codes, decode_manifold, encode, reconstruct, sample_per_class, sample_prior
from pyrovae.metrics.samples import draw_images
from pyrovae.models import LatentVariableModel
from pyrovae.plots import (
    Figure,
    new_facets,
    new_figure,
    plot_code_facets,
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

MOST_FACETS = 64
"""Classes up to which the codes of each are drawn alone."""
MOST_PLANES = 10
"""Classes of a conditional model whose planes are drawn."""
LONGEST_LINE = 80
"""Characters of the names of columns in a title."""
MOST_ROWS = 20_000
"""Rows of a table, about, whose columns are drawn."""
VECTORS_A_SIDE = 10
"""Of the plane of a 2-D code, where each is a small plot and not a picture."""


def save_run_figures(
    model: LatentVariableModel, data: ImageSet, pixels: PixelPolicy, history: History, folder: Path
) -> list[Path]:
    """Draw and save every figure of a run: curves, reconstructions, samples and, for a 2-D code, the plane.

    Returns:
        The files.
    """
    test = fixed_split(data.split(_which(data)), pixels)
    if model.infers_labels:  # which needs no labels, so that none is read
        test = with_predicted_labels(model, test.without_labels())
    figures = dict(_figures(model, data, test, history))
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _which(data: ImageSet) -> str:
    """The split that is drawn: the training images where there are no test images."""
    return "test" if len(data.splits["test"]) else "train"


def _drawn(data: ImageSet) -> str:
    """What is drawn, in words."""
    return f"{_which(data)} {'rows' if data.columns else 'images'}"


def with_columns(title: str, data: ImageSet) -> str:
    """A title, with the names of the columns below it where each is a bar."""
    if data.scaling is None or not 0 < len(data.columns) <= FEW_COLUMNS:
        return title
    names = ", ".join(data.columns)
    order = names if len(names) <= LONGEST_LINE else "the columns in their order"
    return f"{title}\nbars: {order}{'' if data.scaling.policy == 'none' else ', scaled'}"


def _figures(model: LatentVariableModel, data: ImageSet, test: Split, history: History) -> Iterator[tuple[str, Figure]]:
    if len(history):
        figure, axes = new_figure(11, 3.4, columns=3)
        plot_history(history, axes)
        yield "loss", figure

    chosen = torch.linspace(0, len(test) - 1, min(16, len(test))).long()
    pairs = reconstruct(model, Split(test.images[chosen], test.labels[chosen]))
    figure, (ax,) = new_figure(11, 1.9)
    plot_reconstructions(pairs, ax).set_title(
        with_columns(f"{_drawn(data)} and their reconstructions, the mean of p(x | z)", data)
    )
    yield "reconstructions", figure

    figure, (ax,) = new_figure(6, 0.6 * (model.shapes.num_classes or 10) + 0.3)
    if model.shapes.num_classes:
        samples = sample_per_class(model)
        names = [data.class_names[k] for k in samples.labels]  # type: ignore[union-attr]
        plot_image_grid(samples.images, ax, row_labels=names)
        ax.set_title(with_columns("samples: the mean of p(x | z, y), z from the prior, one class a row", data))
    else:
        plot_image_grid(sample_prior(model).images, ax)
        ax.set_title(with_columns("samples: the mean of p(x | z), z from the prior", data))
    yield "samples", figure

    yield from _columns(model, data, test)
    if model.shapes.latent_dim == 2:
        yield "codes", _codes(encode(model, test), data, predicted=model.infers_labels)
        yield "manifold", _manifolds(model, data)


def _columns(model: LatentVariableModel, data: ImageSet, test: Split) -> Iterator[tuple[str, Figure]]:
    """Histograms of a table's columns, of the test rows and of as many draws of the model, in the table's own units."""
    if data.scaling is None or not 0 < len(data.columns) <= FEW_COLUMNS or not model.likelihood.is_density:
        return
    test = test.take(range(0, len(test), max(1, len(test) // MOST_ROWS)))
    draws = torch.from_numpy(draw_images(model, max(len(test), 200)))
    rows, drawn = (data.scaling.undo(x).flatten(1).numpy() for x in (test.images, draws))
    across = min(5, len(data.columns))
    down = -(-len(data.columns) // across)
    figure, axes = new_figure(2.2 * across, 1.6 * down + 0.4, across, down)
    plot_columns(rows, drawn, data.columns, axes)
    yield "columns", figure


def _codes(codes: Codes, data: ImageSet, *, predicted: bool = False) -> Figure:
    """All codes on the left; where classes can be told apart by it, each of them alone on the right."""
    facets = data.num_classes if 1 < data.num_classes <= MOST_FACETS else 0
    figure, axes = new_facets(facets)
    plot_codes(codes, data.class_names, axes[0], legend=not facets)
    classes = ", classes as predicted" if predicted else ""
    axes[0].set_title(f"posterior means of {len(codes):,} {_drawn(data)}{classes}")
    if facets:
        plot_code_facets(codes, data.class_names, axes[1:])
    return figure


def _manifolds(model: LatentVariableModel, data: ImageSet) -> Figure:
    """The plane of a 2-D code decoded; a conditional model has one for each class, of which the first are drawn."""
    if not model.shapes.num_classes:
        figure, (ax,) = new_figure(7, 7.2)
        size = 20 if model.shapes.image_shape[1] > 1 else VECTORS_A_SIDE
        plot_manifold(decode_manifold(model, size), ax).set_title("decoded plane")
        return figure
    shown = range(min(model.shapes.num_classes, MOST_PLANES))
    columns = min(len(shown), 5)
    rows = -(-len(shown) // columns)
    figure, axes = new_figure(3 * columns, 3.3 * rows + 0.3, columns, rows)
    for ax, label in zip(axes, shown, strict=False):
        plot_manifold(decode_manifold(model, 8, label=label), ax).set_title(f"class {data.class_names[label]}")
        ax.label_outer()
    for ax in axes[len(shown) :]:
        ax.remove()
    number = (
        f"{len(shown)} of {model.shapes.num_classes} classes" if len(shown) < model.shapes.num_classes else "each class"
    )
    figure.suptitle(f"decoded plane of {number}")
    return figure
