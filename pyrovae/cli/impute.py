"""Fill in the values that are missing in a run's data: means, intervals and draws, in the units of the data.

pyrovae impute runs/mine-vae-2d
pyrovae impute runs/mine-vae-2d --samples 10000 --draws 100 --mass 0.5
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.checks import Count, Probability
from pyrovae.cli.options import add_figure, add_shared, figure_path, run_parser, save_picture
from pyrovae.data import ImageSet, Split
from pyrovae.files import replace_file, replace_text
from pyrovae.inference.classes import with_predicted_labels
from pyrovae.inference.imputation import LEAST_HELD_OUT, Imputation, impute
from pyrovae.plots import new_figure, plot_image_grid
from pyrovae.runs.loading import Run, open_run

SHOWN_ROWS, SHOWN_DRAWS = 6, 6


def _options(description: str | None) -> Namespace:
    """What the command line says."""
    parser = run_parser(description)
    parser.add_option("--samples", type=Count, default=1000, help="Codes drawn for each row, k.")
    parser.add_option("--draws", type=Count, default=20, help="Completed copies of the data that are kept.")
    parser.add_option("--mass", type=Probability, default=0.9, help="Probability in the intervals.")
    parser.add_option("--calibrate", type=bool, default=True, help="Whether the validation rows set their width.")
    add_shared(parser, "seed", "data_dir", "device")
    add_figure(parser, "Picture; the tables are written beside it.")
    return parser.parse_args()


def main(description: str | None = None) -> None:
    """Impute all rows of the data, write tables and draws, draw some rows."""
    options = _options(description)
    run = open_run(options.run, options.data_dir, options.device)
    data = run.data
    if not data.has_missing:
        raise ValueError(f"{data.name} has no value that is missing: there is nothing to impute")
    rows = with_predicted_labels(run.model, Split(data.images, data.labels))
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
    output = figure_path(options, "imputed")
    written = _write(found, data, rows.labels.tolist(), output)
    figure, (ax,) = new_figure(0.75 * (SHOWN_DRAWS + 2) + 0.6, 0.75 * SHOWN_ROWS + 0.5)
    chosen = np.flatnonzero(found.missing.any((1, 2, 3)))[:SHOWN_ROWS]
    seen = np.where(found.missing, np.nan, found.mean)
    grid = np.concatenate([seen[None], found.draws[:SHOWN_DRAWS], found.mean[None]])[:, chosen].swapaxes(0, 1)
    columns = ["seen", *[""] * (grid.shape[1] - 2), "mean"]
    plot_image_grid(grid, ax, row_labels=[str(row + 1) for row in chosen], column_labels=columns)
    save_picture(figure, output, options)
    print(f"{found.diagnosis()}{why_not}")
    print("\n".join(map(str, [output, *written])))


def _held_out(run: Run, calibrate: bool) -> tuple[Split | None, str]:
    """The rows by which intervals are calibrated, or none and why."""
    if not calibrate:
        return None, ""
    rows = run.split("validation")
    count = int((~rows.images.isnan()).sum())
    if count >= LEAST_HELD_OUT:
        return rows, ""
    return None, f"; intervals are the model's own, as the validation rows have {count} values to calibrate them by"


def _write(found: Imputation, data: ImageSet, labels: list[int], output: Path) -> list[Path]:
    """Write what was found in the units of the data: arrays, and for a table CSV as well, with a label for each row."""

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
    if not data.columns:
        return [everything]
    table, values = output.with_suffix(".csv"), output.with_name(f"{output.stem}-values.csv")
    mean, low, high = (arrays[name].reshape(len(data), -1) for name in ("mean", "low", "high"))
    labelled = data.num_classes > 1
    lines = [[f"{value:.7g}" for value in row] for row in mean]  # as many digits as float32 has
    if labelled:
        lines = [[*line, data.class_names[y]] for line, y in zip(lines, labels, strict=True)]
    replace_text(table, _csv([[*data.columns, *(["label"] if labelled else [])], *lines]))
    ends = (f"low {found.mass:g}", f"high {found.mass:g}")
    each = [
        [row + 1, data.columns[column], *(f"{x[row, column]:.7g}" for x in (mean, low, high))]
        for row, column in np.argwhere(found.missing.reshape(len(data), -1))
    ]
    replace_text(values, _csv([["row", "column", "mean", *ends], *each]))
    return [table, values, everything]


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
