"""Does the check against Pyro warn where nothing is wrong? Every part trains with a check at every step.

python benchmarks/false_alarms.py                    # 100,000 checked steps; goes on where it was stopped
python benchmarks/false_alarms.py --only Flow --steps 50

Each row of `part_speed.py` (a prior, likelihood, posterior, objective or network in the place of the default) trains on
scikit-learn's digits by the engine `graph` in float32 and in bfloat16; the graph's loss, sites and gradients are
compared with Pyro's at every step. Nothing changes behind a trace, so that each warning is a false alarm. Rows are
written to benchmarks/results/false_alarms.json, each as soon as it is done.
"""

import argparse
import json
import logging
import time
from pathlib import Path

import torch
from part_speed import ROWS
from surroundings import surroundings

from pyrovae import CVAE, VAE, likelihoods
from pyrovae.data import load_images
from pyrovae.engine import SVI
from pyrovae.objectives import TraceELBO

RESULTS = Path(__file__).parent / "results" / "false_alarms.json"


class Warnings(logging.Handler):
    """Keeps what the engine warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def checked_steps(name: str, precision: str, steps: int, batch: int) -> dict[str, object]:
    """Train one row, and count the steps that were checked and the warnings."""
    torch.manual_seed(0)
    parts = dict(ROWS[name])
    objective, cls = parts.pop("objective", None) or TraceELBO(), parts.pop("cls", VAE)
    model = cls((1, 8, 8), latent_dim=4, **({"num_classes": 10} if cls is CVAE else {}), **parts)
    svi = SVI(
        objective.weighted(model.model),
        objective.weighted(model.guide),
        torch.optim.Adam(model.parameters()),
        loss=objective.elbo(),
        engine="graph",
        precision=precision,
        check_every=1,
    )
    data = load_images("digits")
    images, labels = data.images.float() / 255, data.labels
    warnings, started, done = Warnings(), time.perf_counter(), 0
    logger = logging.getLogger("pyrovae.engine")
    logger.addHandler(warnings)
    for done in range(1, steps + 1):
        index = torch.randint(len(images), (batch,))
        x = images[index]
        if isinstance(model.likelihood, likelihoods.Bernoulli):
            x = torch.bernoulli(x)
        if not torch.isfinite(svi.update(torch.tensor(1.0), x, labels[index]).loss):
            warnings.said.append(f"the loss is not finite at step {done}")
        if warnings.said:
            break
    logger.removeHandler(warnings)
    seconds = round(time.perf_counter() - started, 1)
    row = {"row": name, "precision": precision, "steps": done, "graphs": svi.graphs_made, "seconds": seconds}
    return row | {"warnings": warnings.said}


def main() -> None:
    """Run the rows that are not done, and write each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1250, help="steps of each row in each precision")
    parser.add_argument("--batch", type=int, default=32, help="images in a step")
    parser.add_argument("--only", default="", help="rows whose name contains this, which are not written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() and not options.only else []
    for name in (name for name in ROWS if options.only in name):
        for precision in ("float32", "bfloat16"):
            if any((row["row"], row["precision"]) == (name, precision) for row in found):
                continue
            found.append(checked_steps(name, precision, options.steps, options.batch))
            print(found[-1], flush=True)
            if not options.only:
                total = {"steps": sum(r["steps"] for r in found), "alarms": sum(bool(r["warnings"]) for r in found)}
                RESULTS.write_text(json.dumps({**surroundings(), **total, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
