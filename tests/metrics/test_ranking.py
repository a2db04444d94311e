"""Ranks of runs: paired differences, against numbers that are known."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import make_run

from pyrovae.cli.main import main
from pyrovae.data import ImageSet, fixed_split
from pyrovae.inference.elbo import bound_of_each, estimate_elbo
from pyrovae.metrics.ranking import rank
from pyrovae.metrics.report import Policy
from pyrovae.models import CVAE, VAE, Autoencoder

POLICY = Policy("few", "test", "dynamic", "NLL")


def test_the_bound_of_each_has_the_mean_of_all(few_digits: ImageSet) -> None:
    split, model = fixed_split(few_digits.split("train"), "dynamic"), VAE((1, 8, 8), 2)
    each, whole = bound_of_each(model, split, seed=3).mean, estimate_elbo(model, split, seed=3).negative_elbo
    assert abs(each.value - whole.value) < 4 * np.hypot(each.monte_carlo, whole.monte_carlo) + 1e-9
    assert 0.3 < each.monte_carlo / (whole.monte_carlo / np.sqrt(2)) < 3
    assert each.sampling < 1.1 * whole.sampling  # of two codes, and so with less of their noise


@pytest.mark.parametrize("samples", [1, 20])
def test_the_better_model_is_first_and_differences_are_paired(few_digits: ImageSet, samples: int) -> None:
    split = fixed_split(few_digits.split("train"), "dynamic")
    models = {name: VAE((1, 8, 8), 2) for name in ("worse", "good", "bad")}
    weights = models["good"].state_dict()
    shift = {"worse": 0.02, "bad": 1.0}
    for name, by in shift.items():
        last = [key for key in weights if key.startswith("likelihood") and key.endswith("bias")][-1]
        models[name].load_state_dict({**weights, last: weights[last] + by})
    found = rank(models, split, dict.fromkeys(models, POLICY), samples=samples)
    assert found.places[0].name != "bad"
    assert found.places[-1].name == "bad"
    assert found.places[0].behind.value == 0
    second = found.places[1]
    assert 0 < second.behind.sampling < second.bound.sampling / 3  # of the same images, and so far smaller
    assert second.behind.value == pytest.approx(second.bound.value - found.places[0].bound.value)
    assert f"{len(split):,} images" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["places"][2]["name"] == "bad"


def test_what_cannot_be_ranked(few_digits: ImageSet) -> None:
    split, vae = fixed_split(few_digits.split("train"), "dynamic"), VAE((1, 8, 8), 2)
    other = Policy("few", "test", "threshold", "NLL")
    for models, policies, message in (
        ({"a": vae}, {"a": POLICY}, "at least two models, got 1"),
        ({"a": vae, "b": vae}, {"a": POLICY, "b": other}, "a and b cannot be compared: the pixels"),
        ({"a": vae, "b": Autoencoder((1, 8, 8), 2)}, dict.fromkeys("ab", POLICY), "b has no bound"),
    ):
        with pytest.raises(ValueError, match=message):
            rank(models, split, policies)


def test_a_conditional_bound_is_marked(few_digits: ImageSet) -> None:
    split = fixed_split(few_digits.split("train"), "dynamic")
    models = {"plain": VAE((1, 8, 8), 2), "given": CVAE((1, 8, 8), few_digits.num_classes, 2)}
    text = str(rank(models, split, dict.fromkeys(models, POLICY)))
    assert "note: given: bounds of log p(x | y)" in text


def test_the_command(tmp_path: Path, digits: ImageSet, monkeypatch, capsys) -> None:
    runs = [
        str(make_run(tmp_path, digits, "--name", name, "--model.latent_dim", str(2 + i)).path)
        for i, name in enumerate("ab")
    ]
    grey = str(
        make_run(
            tmp_path, digits, "--name", "grey", "--pixels", "none", "--model.likelihood", "ContinuousBernoulli"
        ).path
    )
    torch.manual_seed(1)
    output = tmp_path / "ranking.json"
    monkeypatch.setattr(sys, "argv", ["pyrovae", "compare", *runs, "--images", "50", "--output", str(output)])
    main()
    out = capsys.readouterr().out
    assert "digits, split test, pixels dynamic, scored by NLL, 50 images" in out
    assert "errors" in out
    assert {place["name"] for place in json.loads(output.read_text())["places"]} == set(runs)
    for words, message in (
        ([runs[0]], "at least two different runs, got"),
        ([runs[0], runs[0]], "twice"),
        ([runs[0], str(tmp_path / "nothing")], "does not exist"),
        ([*runs, "--images", "1"], "the errors of a ranking need at least two images, got 1"),
        ([runs[0], grey], "cannot be compared: the pixels of one is dynamic and of the other none"),
    ):
        monkeypatch.setattr(sys, "argv", ["pyrovae", "compare", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
