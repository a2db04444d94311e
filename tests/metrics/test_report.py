"""The report, the script that prints it, and what it refuses."""

import hashlib
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from pyrovae import VAE
from pyrovae.contracts import NotApplicable
from pyrovae.data import ImageSet, fixed_split
from pyrovae.estimates import Estimate
from pyrovae.factory.build import build_model, instantiate
from pyrovae.metrics import report
from pyrovae.metrics.report import EvaluationBudget, Policy, Report, Row, compare_reports
from pyrovae.metrics.report import evaluate as evaluate_model
from pyrovae.runs.config_file import create_run
from pyrovae.runs.training import parse_training
from pyrovae.training import RunFolder
from pyrovae.training.weights import save_weights

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate.py"
QUICK = ["--images", "20", "--samples", "50", "--points", "20", "--others", "60"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for name, argv in {
        "vae": ["--model.latent_dim", "2"],
        "five": ["--model.latent_dim", "5"],
        "autoencoder": ["--model", "Autoencoder"],
        "grey": ["--pixels", "none", "--model.likelihood", "CrossEntropy"],
    }.items():
        arguments = parse_training(["--runs_dir", str(folder), "--data", "digits", "--name", name, *argv])
        run = create_run(arguments, digits)
        model = build_model(instantiate(arguments).model, digits.image_shape, digits.num_classes, 0)
        save_weights(run.last_weights, model.state_dict())
        made[name] = str(run.path)
    return made


def evaluate(run: str, *argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", run, *argv])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_a_report_is_printed_and_kept_twice_the_same(runs: dict[str, str], monkeypatch, capsys) -> None:
    weights = RunFolder(Path(runs["vae"])).last_weights
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    printed = []
    for _ in range(2):
        evaluate(runs["vae"], *QUICK, "--ais", "5", monkeypatch=monkeypatch)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == before
    for part in (
        "digits, split test, pixels dynamic, scored by NLL, seed 0",
        "20 images  importance-weighted, k = 50",
        "20 images  quadrature, 20 x 20 points",
        "20 images  annealed, 5 temperatures from the prior, 16 chains\n",
        "20 images  annealed, 5 temperatures from the prior, 16 chains, to first order",
        "log p(simulated) at most",
        "± is the sampling error unless it says Monte Carlo",
        "information I(x; z)",
        "300 images  reconstruction + KL",
    ):
        assert part in printed[0]
    kept = json.loads((Path(runs["vae"]) / "evaluation-test.json").read_text())
    errors = {row["name"]: row["error"] for row in kept["rows"]}
    assert errors["KL"] == 0
    assert 0 < errors["reconstruction"] == errors["-ELBO"] < 0.5
    assert kept["policy"] == {"data": "digits", "split": "test", "pixels": "dynamic", "score": "NLL"}
    picture = Path(runs["vae"]) / "figures" / "aggregate_posterior.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert printed[0].splitlines()[-1] == str(picture)
    assert str(Report.from_dict(kept)) in printed[0]


def test_counts_have_no_fraction_and_exact_numbers_no_error_of_draws() -> None:
    rows = (
        Row("active units", Estimate(2.0), 300, "of 2 dimensions"),
        Row("KL", Estimate(2.206, sampling=0.051, monte_carlo=0.0), 300, "in closed form"),
        Row("its bias", Estimate(-0.002), 300, "k = 10"),
    )
    lines = str(Report(Policy("digits", "test", "none", "NLL"), 0, rows, {})).splitlines()
    assert [line.split(" 300 ")[0].split() for line in lines[1:]] == [
        ["active", "units", "2"],
        ["KL", "2.206", "±", "0.051"],
        ["its", "bias", "-0.002"],
    ]


def test_which_numbers_exist(runs: dict[str, str], monkeypatch, capsys) -> None:
    evaluate(runs["autoencoder"], *QUICK, monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "no log p(x): an autoencoder has no density of codes" in out
    assert "nearest codes" in out
    evaluate(runs["grey"], *QUICK, monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert "no log p(x): this model scores pixels by cross-entropy, which is no density" in out
    assert "cross-entropy + KL, no bound of any likelihood" in out
    assert "ELBO" not in out
    assert "NLL" not in out


def test_runs_side_by_side(runs: dict[str, str], monkeypatch, capsys) -> None:
    for name, more in (("vae", []), ("five", ["--against", runs["vae"]])):
        evaluate(runs[name], *QUICK, *more, monkeypatch=monkeypatch)
    out = capsys.readouterr().out
    assert re.search(r"errors +\(20 images, importance-weighted, k = 50\)", out)
    places = {line.index(" | ") for line in out.splitlines() if line.endswith(")") and " | " in line}
    assert len(places) == 1, "the columns do not stand below each other"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--against", "GREY"], "the pixels of one is dynamic and of the other none"),
        (["--pixels", "threshold"], "the run was trained on pixels dynamic, and its figures on pixels threshold"),
        (["--against", "nowhere"], "scripts/evaluate.py nowhere"),
        (["--samples", "0"], "samples must be a whole number of at least 1, got 0"),
        (["--points", "3"], "points must be an even number, got 3"),
        (["--images", "0"], "images must be a whole number of at least 1, got 0"),
        (["--others", "3"], "others must be a whole number of at least 4, got 3"),
        (["--device", "warp"], "device 'warp' does not exist here"),
        (["--device", "mps"], "needs float64, which Apple's MPS has not"),
        (["--ais", "-1"], "ais must be a whole number of at least 0, got -1"),
    ],
)
def test_what_is_refused(argv: list[str], message: str, runs: dict[str, str], monkeypatch, capsys) -> None:
    if not (Path(runs["grey"]) / "evaluation-test.json").exists():
        evaluate(runs["grey"], *QUICK, monkeypatch=monkeypatch)
    argv = [runs["grey"] if word == "GREY" else word for word in argv]
    kept = Path(runs["vae"]) / "evaluation-test.json"
    kept.write_text("a good one")
    with pytest.raises(SystemExit) as stopped:
        evaluate(runs["vae"], *QUICK, *argv, monkeypatch=monkeypatch)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert kept.read_text() == "a good one"


def test_numbers_before_an_error_are_no_part_of_the_report(few_digits: ImageSet, monkeypatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise NotApplicable("too few points")

    monkeypatch.setattr(report, "quadrature", fails)
    split, policy = fixed_split(few_digits.split("validation"), "dynamic"), Policy("few", "test", "dynamic", "NLL")
    found = evaluate_model(VAE((1, 8, 8), 2), split, policy, EvaluationBudget(images=4, samples=3, others=10))
    assert found.missing["log p(x)"] == "too few points"
    assert "log p(x) at least" not in [row.name for row in found.rows]


def test_an_error_that_is_no_answer_is_not_swallowed(few_digits: ImageSet, monkeypatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(report, "quadrature", broken)
    split, policy = fixed_split(few_digits.split("validation"), "dynamic"), Policy("few", "test", "dynamic", "NLL")
    with pytest.raises(ValueError, match="a bug"):
        evaluate_model(VAE((1, 8, 8), 2), split, policy, EvaluationBudget(images=4, samples=3, others=10))


def test_only_numbers_of_one_kind_are_compared() -> None:
    policy = Policy("mnist", "test", "dynamic", "NLL")
    rows = (Row("log p(x)", Estimate(-90.0, monte_carlo=0.3), 100, "k = 10"), Row("KL", Estimate(10.0), 100, ""))
    other = (Row("log p(x)", Estimate(-91.0, monte_carlo=0.4), 100, "k = 10"), Row("KL", Estimate(12.0), 200, ""))
    text = compare_reports(Report(policy, 0, rows), Report(policy, 1, other), ("a", "b"))
    assert "+1 = 2.0 errors" in text
    assert "KL" not in text
    with pytest.raises(ValueError, match="no evaluation of pyrovae"):
        Report.from_dict({"split": "test"})
