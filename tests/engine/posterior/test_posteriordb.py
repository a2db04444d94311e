"""Posteriors of posteriordb, held against the published reference draws."""

import json
from pathlib import Path

import arviz
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import needs_nutpie, schools

from pyrovae.engine.posterior import nuts

PUBLISHED = json.loads((Path(__file__).parents[2] / "data" / "posteriordb.json").read_text())["posteriors"]
REFERENCE_DRAWS = 10_000


def kidscore(score, mother):
    beta = pyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("children", len(score)):
        pyro.sample("score", dist.Normal(beta[0] + beta[1] * mother, sigma), obs=score)


def gaussian_process(x, y):
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    distance = x[:, None] - x
    covariance = alpha**2 * torch.exp(-0.5 * (distance / rho) ** 2) + sigma * torch.eye(len(x))
    pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), covariance), obs=y)


CASES = {
    "eight_schools-eight_schools_noncentered": (schools, ("y", "sigma")),
    "kidiq-kidscore_momiq": (kidscore, ("kid_score", "mom_iq")),
    "gp_pois_regr-gp_regr": (gaussian_process, ("x", "y")),
}


@pytest.mark.slow
@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
@pytest.mark.parametrize("name", CASES)
def test_means_and_scales_agree_with_the_published_draws(name):
    model, names = CASES[name]
    data = [torch.tensor(PUBLISHED[name]["data"][key], dtype=torch.float64) for key in names]
    found = nuts(model, data, draws=1000, tune=1000, chains=4, target_accept=0.9, progress=False)["posterior"]
    for parameter, reference in PUBLISHED[name]["reference"].items():
        values = _values(found, parameter)
        mean_error = reference["sd"] / np.sqrt(_ess(values, "mean")) + reference["sd"] / np.sqrt(REFERENCE_DRAWS)
        assert abs(values.mean() - reference["mean"]) < 4 * mean_error, parameter
        sd_error = 1 / np.sqrt(_ess(values, "sd")) + 1 / np.sqrt(REFERENCE_DRAWS)
        assert abs(values.std() / reference["sd"] - 1) < 4 * sd_error, parameter


def _values(found, parameter):
    site, _, index = parameter.rstrip("]").partition("[")
    values = found[{"theta_trans": "away"}.get(site, site)].values
    return values[..., int(index) - 1] if index else values


def _ess(values, method):
    return float(arviz.ess(arviz.convert_to_dataset({"x": values}), method=method)["x"])
