"""A model whose programs the user wrote anew, with two codes: from the command line to the analyses, and back."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pyro import poutine

import pyrovae
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.elbo import estimate_elbo
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.quadrature import quadrature
from pyrovae.latent import encode, sample_prior
from pyrovae.objectives import FreeBits, TraceELBO, TraceMeanField

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.append(str(SCRIPTS / "examples"))

from hierarchical import TwoLayerVAE  # noqa: E402 - from the folder above


def run_script(name: str, *argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *argv])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


@pytest.fixture(scope="module")
def model() -> TwoLayerVAE:
    """An untrained model whose two codes depend on each other."""
    torch.manual_seed(0)
    model = TwoLayerVAE((1, 8, 8), latent_dim=2, top_dim=3)
    with torch.no_grad():
        for conditional in (model.prior.given_top, model.top_posterior):
            conditional.head.weight.mul_(4)
    return model


def test_from_the_command_line_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["--data", "digits", "--model", "hierarchical.TwoLayerVAE", "--model.latent_dim", "2", "--name", "two"]
    shared = ["--progress", "false", "--engine", "graph"]
    run_script("svi_train.py", *train, "--model.top_dim", "3", "--epochs", "2", *shared, monkeypatch=monkeypatch)
    run_script("svi_train.py", "--resume", "runs/two", "--epochs", "3", *shared, monkeypatch=monkeypatch)
    assert (tmp_path / "runs/two/metrics.csv").read_text().count("\n") == 4
    for script, *argv in (
        ["evaluate.py", "--images", "5", "--samples", "20", "--others", "50"],
        ["generate.py", "--rows", "2"],
        ["latent_space.py"],
        ["traverse.py", "--rows", "2"],
        ["reconstruct.py", "--images", "[0,1]"],
    ):
        run_script(script, "runs/two", *argv, monkeypatch=monkeypatch)
    report = json.loads((tmp_path / "runs/two/evaluation-test.json").read_text())
    how = {row["name"]: row["how"] for row in report["rows"]}
    assert how["log p(x) at least"] == "importance-weighted, k = 20"
    assert "log p(x)" not in how  # which would be by quadrature over z alone
    with pytest.raises(ValueError, match=r"needs code that is not pyrovae's: hierarchical"):
        pyrovae.load("runs/two")
    assert pyrovae.load("runs/two", allow_code=True).top_posterior.head.out_features == 6


def test_it_is_found_in_its_own_folder_and_missed_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as the example's docstring has it."""
    command = ["--data", "digits", "--model", "hierarchical.TwoLayerVAE", "--epochs", "1", "--runs_dir"]
    subprocess.run(
        [sys.executable, str(SCRIPTS / "svi_train.py"), *command, str(tmp_path), "--engine", "graph", "--name", "two"],
        cwd=SCRIPTS / "examples",
        check=True,
        capture_output=True,
    )
    monkeypatch.delitem(sys.modules, "hierarchical")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if "examples" not in folder])
    with pytest.raises(ValueError, match=r"needs the module hierarchical, which cannot be imported .* PYTHONPATH"):
        pyrovae.load(tmp_path / "two", allow_code=True)


def test_the_bound_is_that_of_the_traces(model: TwoLayerVAE, few_digits: ImageSet) -> None:
    """No KL in closed form where it would be wrong: z is drawn before w, on which its prior rests."""
    split = fixed_split(few_digits.split("validation"), "dynamic")
    bounds = [estimate_elbo(model, split, seed=seed).negative_elbo.value for seed in range(40)]
    x, y = split.images.float() / 255, split.labels
    by_hand = []
    with torch.no_grad():
        for seed in range(40):
            torch.manual_seed(1000 + seed)
            guide = poutine.trace(model.guide).get_trace(x, y)
            joint = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(x, y)
            by_hand.append(float(guide.log_prob_sum() - joint.log_prob_sum()) / len(split))
    error = np.hypot(np.std(bounds), np.std(by_hand)) / np.sqrt(40)
    assert abs(np.mean(bounds) - np.mean(by_hand)) < 4 * error
    assert estimate_elbo(model, split).kl_per_dim is None


def test_importance_weighting_draws_both_codes(model: TwoLayerVAE, few_digits: ImageSet) -> None:
    """Against the same estimate by hand, from p(w) p(z | w) p(x | z) / q(z | x) q(w | z)."""
    split = fixed_split(few_digits.split("validation"), "dynamic").take(range(6))
    found = importance_weighted(model, split, 4000)
    x, k = split.images.float() / 255, 4000
    with torch.no_grad():
        torch.manual_seed(7)
        q = model.posterior(x)
        z = q.sample([k])
        q_top = model.top_posterior(z)
        w = q_top.sample()
        logs = model.likelihood(z).log_prob(x) + model.prior.given_top(w).log_prob(z) + model.prior.top().log_prob(w)
        logs = logs - q.log_prob(z) - q_top.log_prob(w)
    by_hand = (logs.logsumexp(0) - np.log(k)).numpy()
    error = (logs.softmax(0).square().sum(0) - 1 / k).sqrt().numpy()
    assert (np.abs(found.log_likelihood - by_hand) < 5 * np.hypot(found.error, error)).all()


def test_samples_come_from_both_codes(model: TwoLayerVAE) -> None:
    """The mean image of the program's own draws, which an N(0, I) for z would miss."""
    samples = sample_prior(model, 40, 50).images.reshape(2000, -1)
    with torch.no_grad():
        torch.manual_seed(3)
        w = model.prior.top().expand([2000]).sample()
        by_hand = model.likelihood(model.prior.given_top(w).sample()).mean.flatten(1).numpy()
        wrong = model.likelihood(torch.randn(2000, 2)).mean.flatten(1).numpy()
    error = np.hypot(samples.std(0), by_hand.std(0)) / np.sqrt(2000)
    assert (np.abs(samples.mean(0) - by_hand.mean(0)) < 5 * error).all()
    assert not (np.abs(samples.mean(0) - wrong.mean(0)) < 5 * error).all()


def test_what_looks_at_z_alone_is_right_or_says_so(model: TwoLayerVAE, few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("validation"), "dynamic")
    assert encode(model, split).means.shape == (len(split), 2)
    with pytest.raises(ValueError, match="whose only code is z, this one draws w as well"):
        quadrature(model, split)
    assert TraceELBO().check(model) is None
    for objective in (TraceMeanField(), FreeBits(per="code")):
        with pytest.raises(ValueError, match=r"KL of .z. in closed form.*use TraceELBO"):
            objective.check(model)


def test_its_prior_of_z_is_the_programs(model: TwoLayerVAE) -> None:
    """p(z), which only those use that look at z alone, against draws of the program."""
    with torch.no_grad():
        torch.manual_seed(5)
        z = model.prior.given_top(model.prior.top().expand([4000]).sample()).sample()
        prior = model.prior()
    error = z.std(0) / np.sqrt(4000)
    assert ((z.mean(0) - prior.mean).abs() < 5 * error + 0.05).all()
    assert ((z.var(0) / prior.variance).log().abs() < 0.2).all()
