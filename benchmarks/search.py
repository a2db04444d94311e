"""What a search finds on the digits: the best of 20 trials, trained again with new seeds, beside the default settings.

The search chooses by the validation bound of seed 0. Then the best settings and the defaults are trained with the same
new seeds for the same number of epochs, and their test bounds are compared, which nothing before has looked at. The
figures go to benchmarks/results/search.json; what was trained is kept, and the same command goes on.

python benchmarks/search.py --folder runs/search-benchmark --epochs 20
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from surroundings import surroundings

from pyrovae.files import replace_text
from pyrovae.runs.job import Job
from pyrovae.runs.jobs import train_runs
from pyrovae.runs.search import search_runs
from pyrovae.training import RunFolder

RESULTS = Path(__file__).parent / "results" / "search.json"
SPACE = (
    "model.latent_dim=int(2,50)",
    "optimizer.lr=log(1e-4,1e-2)",
    "batch_size=choice(32,64,128,256)",
    "model.prior=choice(StandardNormal,VampPrior)",
)


def bounds(jobs: list[Job]) -> list[float]:
    """-ELBO of the test images of each run, in nats per image."""
    return [json.loads(job.folder.test.read_text(encoding="utf-8"))["negative_elbo"] for job in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/search-benchmark"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    shared = ("--data", "digits", "--epochs", str(options.epochs), "--engine", "graph")
    found = search_runs(
        shared, SPACE, options.folder / "trials", trials=options.trials, workers=options.workers, threads=1
    )
    print(found)
    jobs = {
        name: [
            Job(RunFolder(options.folder / f"{name}-{seed}"), (*settings, "--seed", str(seed)))
            for seed in options.seeds
        ]
        for name, settings in (("default", shared), ("best", found.best_options))
    }
    train_runs([*jobs["default"], *jobs["best"]], workers=options.workers, threads=1)
    tests = {name: bounds(each) for name, each in jobs.items()}
    better = statistics.mean(tests["default"]) - statistics.mean(tests["best"])
    error = math.sqrt(sum(statistics.variance(each) / len(each) for each in tests.values()))
    report = {
        "what": "test -ELBO in nats per image; errors are standard errors over training seeds",
        **surroundings(),
        "options": list(shared),
        "space": list(SPACE),
        "trials": [
            {"number": t.number, "state": t.state, "bound": t.bound, "epochs": t.epochs, "values": t.values}
            for t in found.trials
        ],
        "seeds": options.seeds,
        "test": tests,
        "better": better,
        "error": error,
        "in_errors": better / error,
    }
    replace_text(RESULTS, json.dumps(report, indent=1) + "\n")
    print(f"better than the default by {better:.2f} ± {error:.2f} nats per image = {better / error:.1f} errors")


if __name__ == "__main__":
    main()
