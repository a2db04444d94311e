"""Rows of another table, as the model of a run takes them."""

from collections.abc import Sequence
from pathlib import Path

from pyrovae.contracts import NotApplicable
from pyrovae.data import Split
from pyrovae.data.images import UNLABELLED
from pyrovae.data.labels import code_labels
from pyrovae.data.tables import read_table
from pyrovae.data.values import check_finite, check_fits, shaped
from pyrovae.runs.config_file import run_info
from pyrovae.runs.scaling_file import read_scaling
from pyrovae.training import RunFolder


def load_rows(path: str | Path, table: str | Path, skip: Sequence[str] = ()) -> Split:
    """Load another table with the columns, the scaling and the classes of a run.

    Its columns may be in any order, and its column of labels may lack.

    Args:
        path: The run's folder.
        table: A file as for ``table:FILE``.
        skip: Columns that are left out, beside those that the run left out.

    Returns:
        The rows in the order of the file, float32 (N, 1, 1, columns), NaN where a value is missing, and their labels.

    Raises:
        FileNotFoundError: If the run or the table does not exist.
        ValueError: If the run is of no table, or the table lacks a column, has others, or labels that are no classes.
    """
    info, scaling = run_info(path), read_scaling(RunFolder(Path(path)))
    if scaling is None or not scaling.columns:
        raise NotApplicable(f"{path} was trained on {info.data}, which has no columns: another table does not suit it")
    found = read_table(table, info.label, [*info.skip, *skip], scaling.columns)
    name = f"table:{table}"
    x = shaped(name, found.values, "vectors")
    check_finite(name, x, scaling.columns)
    images = scaling.apply(x)
    check_fits(name, x, images, scaling, scaling.policy)
    labels = None if info.class_names == UNLABELLED else found.labels
    return Split(images, code_labels(name, labels, info.class_names, len(images)))
