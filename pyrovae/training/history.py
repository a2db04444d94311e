"""The log of a run: one row of numbers per epoch."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pyrovae.files import replace_text
from pyrovae.inference.elbo import ElboEstimate

EpochRow = dict[str, float]


@dataclass
class History:
    """The logged rows, one per finished epoch.

    Columns: `epoch`, `step` (updates so far), `learning_rate`, `beta` (weight of the KL term at the last step);
    `loss`, `loss_reconstruction`, `loss_kl`: means over the epoch's own steps of the objective and its unweighted
    parts; `train_...` and `validation_...`: the true bound with the epoch's last weights, see `elbo_columns`;
    `validation_negative_bound`: the importance-weighted one, where that is trained;
    `images_per_second` (of the steps alone) and `seconds` (since the run began, breaks not counted).
    All losses are in nats per image, weighted by images.

    Attributes:
        score: What the reconstruction is: "NLL", or "cross-entropy" where it is no density.
        rows: The rows, oldest first.
    """

    score: str = "NLL"
    rows: list[EpochRow] = field(default_factory=list)

    def column(self, name: str) -> np.ndarray:
        """One column, (epochs,); NaN for rows without it."""
        return np.array([row.get(name, np.nan) for row in self.rows])

    def __contains__(self, name: str) -> bool:
        return any(name in row for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_csv(self) -> str:
        """All rows as comma-separated text with a header; empty where a row lacks what a later version measures."""
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self.rows for name in row)) or ["epoch"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _number(value) for name, value in row.items()} for row in self.rows)
        return text.getvalue()

    def save(self, path: Path) -> None:
        """Write all rows as comma-separated values with a header."""
        replace_text(path, self.to_csv())


def elbo_columns(prefix: str, estimate: ElboEstimate) -> EpochRow:
    """The columns of an estimate: `<prefix>_negative_elbo` and its parts, `<prefix>_kl_0` and so on."""
    row = {
        f"{prefix}_negative_elbo": estimate.negative_elbo.value,
        f"{prefix}_reconstruction": estimate.reconstruction.value,
        f"{prefix}_kl": estimate.kl.value,
        f"{prefix}_active_units": float(estimate.active_units),
    }
    if estimate.kl_per_dim is not None:
        row |= {f"{prefix}_kl_{j}": float(kl) for j, kl in enumerate(estimate.kl_per_dim)}
    return row


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.8g}"
