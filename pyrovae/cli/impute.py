"""Fill in the values that are missing in a run's data: means, intervals and draws, in the units of the data.

pyrovae impute runs/mine-vae-2d
pyrovae impute runs/mine-vae-2d --samples 10000 --draws 100 --mass 0.5
pyrovae impute runs/mine-vae-2d --table other.csv
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.checks import Count, Probability
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.data import Scaling, Split
from pyrovae.data.images import HIDDEN, UNLABELLED
from pyrovae.files import replace_file, replace_text
from pyrovae.inference.classes import with_predicted_labels
from pyrovae.inference.imputation import LEAST_HELD_OUT, Imputation, impute
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.runs.config_file import run_info
from pyrovae.runs.figures import with_columns
from pyrovae.runs.loading import Run, open_run
from pyrovae.runs.rows import load_rows

SHOWN_ROWS, SHOWN_DRAWS = 6, 6


def _options(description: str | None) -> Namespace:
    """What the command line says."""
    parser = run_parser(description)
    parser.add_option("--samples", type=Count, default=1000, help="Codes drawn for each row, k.")
    parser.add_option("--draws", type=Count, default=20, help="Completed copies of the data that are kept.")
    parser.add_option("--mass", type=Probability, default=0.9, help="Probability in the intervals.")
    parser.add_option(
        "--calibrate", type=bool, default=True, help="Whether the validation rows set the width of the intervals."
    )
    parser.add_option("--table", type=str | None, default=None, help="Another table, instead of the run's data.")
    parser.add_option("--skip", type=list[str | int | float], default=[], help="Columns of --table that are left out.")
    add_shared(parser, "seed", "data_dir", "device")
    add_figure(parser, "Picture; the tables are written beside it.")
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Impute all rows of the data, write tables and draws, draw some rows."""
    options = _options(description)
    run = open_run(options.run, options.data_dir, options.device)
    rows = _rows(run, options)
    held_out, why_not = _held_out(run, options.calibrate)
    with tqdm(total=len(rows), unit="row", disable=None) as bar:
        found = impute(
            run.model,
            rows,
            samples=options.samples,
            draws=options.draws,
            mass=options.mass,
            held_out=held_out,
            seed=options.seed,
            progress=bar.update,
        )
    output = figure_path(options, f"imputed-{Path(options.table).stem}" if options.table is not None else "imputed")
    labelled = with_predicted_labels(run.model, rows) if run.model.infers_labels else rows
    written = _write(found, run, labelled.labels.tolist(), output)
    figure, (ax,) = new_figure(0.75 * (SHOWN_DRAWS + 2) + 0.6, 0.75 * SHOWN_ROWS + 0.5)
    chosen = np.flatnonzero(found.missing.any((1, 2, 3)))[:SHOWN_ROWS]
    seen = np.where(found.missing, np.nan, found.mean)
    grid = np.concatenate([seen[None], found.draws[:SHOWN_DRAWS], found.mean[None]])[:, chosen].swapaxes(0, 1)
    columns = ["seen", *[""] * (grid.shape[1] - 2), "mean"]
    plot_image_grid(grid, ax, row_labels=[str(row + 1) for row in chosen], column_labels=columns)
    ax.set_title(with_columns("what is seen of some rows, draws of the rest, and their mean", run.data), fontsize=10)
    save_picture(figure, output, options)
    print(f"{found.diagnosis()}{why_not}")
    print("\n".join(map(str, [output, *written])))


def _rows(run: Run, options: Namespace) -> Split:
    """The rows whose missing values are imputed; a model that infers labels takes hidden ones.

    Raises:
        ValueError: If none is missing, or a label that the model needs.
    """
    if options.skip and options.table is None:
        raise ValueError("skip leaves columns of --table out, and the run has left out its own: leave it")
    name = run.data.name if options.table is None else options.table
    own = Split(run.data.images, run.data.labels)
    rows = load_rows(run.path, options.table, list(map(str, options.skip))) if options.table is not None else own
    if not (run.data.has_missing if rows is own else bool(rows.images.isnan().any())):
        raise ValueError(f"{name} has no value that is missing: there is nothing to impute")
    hidden = int((rows.labels == HIDDEN).sum())
    if hidden and run.model.shapes.num_classes and not run.model.infers_labels:
        raise ValueError(
            f"{name} has {hidden:,} rows without a label, which this model needs: label them "
            f"({run_info(run.path).label or 'label'}), or leave them out"
        )
    return rows


def _held_out(run: Run, calibrate: bool) -> tuple[Split | None, str]:
    """The rows by which intervals are calibrated, or none and why."""
    if not calibrate:
        return None, ""
    rows = run.data.split("validation")
    count = int((~rows.images.isnan()).sum())
    if count >= LEAST_HELD_OUT:
        return rows, ""
    return None, f"; intervals are the model's own, as the validation rows have {count} values to calibrate them by"


def _write(found: Imputation, run: Run, labels: list[int], output: Path) -> list[Path]:
    """Write what was found in the units of the data: arrays, and for a table CSV as well, with a label for each row."""
    data = run.data

    def undone(x: np.ndarray) -> np.ndarray:
        return x if data.scaling is None else data.scaling.undo(torch.from_numpy(x)).numpy()

    output.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: undone(getattr(found, name)) for name in ("mean", "low", "high", "draws")}
    kept: dict[str, Any] = {**arrays, "missing": found.missing}
    everything = output.with_suffix(".npz")

    def write(beside: Path) -> None:
        with beside.open("wb") as file:
            np.savez_compressed(file, **kept)

    replace_file(everything, write)
    if data.scaling is None or not data.columns:
        return [everything]
    count = len(found.missing)
    table, values = output.with_suffix(".csv"), output.with_name(f"{output.stem}-values.csv")
    mean, low, high = (
        _texts(getattr(found, name).reshape(count, -1), data.scaling) for name in ("mean", "low", "high")
    )
    head, lines = list(data.columns), mean
    if data.class_names != UNLABELLED:
        head = [*head, _label_name(run_info(run.path).label, data.columns)]
        lines = [[*line, "" if y == HIDDEN else data.class_names[y]] for line, y in zip(mean, labels, strict=True)]
    replace_text(table, _csv([head, *lines]))
    ends = (f"low {found.mass:g}", f"high {found.mass:g}")
    each = [
        [str(row + 1), data.columns[column], *(text[row][column] for text in (mean, low, high))]
        for row, column in np.argwhere(found.missing.reshape(count, -1))
    ]
    replace_text(values, _csv([["row", "column", "mean", *ends], *each]))
    return [table, values, everything]


def _texts(x: np.ndarray, scaling: Scaling) -> list[list[str]]:
    """Rows of a table in its own units, (rows, columns), with as many digits as the precision of x leaves.

    Seven digits of each number would be too few where a column varies little beside its size, such as a date.
    """
    scale = scaling.scale.flatten().numpy()
    values = x.astype(np.float64) * scale + scaling.shift.flatten().numpy()
    steps = np.maximum(np.spacing(np.abs(x)) * scale, np.spacing(np.abs(values)))
    place = np.ceil(np.log10(steps))  # of the last digit
    values = np.where(np.abs(values) < 0.5 * 10.0**place, 0.0, values)
    first = np.floor(np.log10(np.where(values == 0, 1.0, np.abs(values))))
    digits = np.clip(first - place + 1, 1, 15).astype(int)
    return [[f"{v:.{d}g}" for v, d in zip(*row, strict=True)] for row in zip(values, digits, strict=True)]


def _label_name(label: str | None, columns: Sequence[str]) -> str:
    """Name of the column of labels: its own, or one that no other column has."""
    name = label or "label"
    while name in columns:
        name += "_"
    return name


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
