"""Whether a guide is right, told of guides whose errors are known."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_models import needs_nutpie

from pyrovae.engine.posterior import ModelError, check
from pyrovae.engine.posterior.checking import _psis, loss_trend
from pyrovae.engine.posterior.results import assembled

DATA = torch.tensor([1.0, 2.0, 0.5, 1.7])
PRECISION = 1 / 4 + 4 / 1.5**2
MEAN = float(DATA.sum() / 1.5**2 / PRECISION)
SCALE = PRECISION**-0.5


def model():
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("rows", 4):
        pyro.sample("y", dist.Normal(mean, 1.5), obs=DATA)


def guide(shift=0.0, width=1.0):
    return lambda: pyro.sample("mean", dist.Normal(MEAN + shift, SCALE * width))


def evidence():
    covariance = 4 * torch.ones(4, 4) + 1.5**2 * torch.eye(4)
    return float(torch.distributions.MultivariateNormal(torch.zeros(4), covariance).log_prob(DATA))


def test_the_posterior_itself_is_right_and_its_bound_is_the_evidence():
    found = check(model, guide())
    assert found.right
    assert found.elbo == pytest.approx(evidence(), abs=1e-5)
    assert found.log_evidence == pytest.approx(evidence(), abs=1e-5)
    assert "nothing speaks against" in str(found)


def test_a_narrow_guide_is_found_and_the_bound_has_its_known_gap():
    found = check(model, guide(width=0.3), draws=2000)
    gap = np.log(1 / 0.3) + 0.3**2 / 2 - 0.5
    assert abs(evidence() - found.elbo - gap) < 5 * found.elbo_error
    assert found.pareto_k > found.limit
    assert "k-hat" in found.complaints()[0]


def test_a_slightly_wide_guide_passes_and_its_evidence_is_better_than_its_bound():
    found = check(model, guide(width=1.2), draws=4000)
    assert found.right
    assert abs(found.log_evidence - evidence()) < 0.02
    assert found.elbo < evidence()


def test_a_loss_at_rest_is_told_from_one_that_falls():
    numbers = np.random.default_rng(0)
    noise = np.zeros(2000)
    for i in range(1, 2000):
        noise[i] = 0.9 * noise[i - 1] + numbers.normal()
    assert abs(loss_trend(noise)) < 4
    assert loss_trend(noise - 0.01 * np.arange(2000)) < -3
    assert abs(loss_trend(noise + 100 * np.exp(-np.arange(2000) / 50))) < 4
    assert loss_trend(np.ones(200)) == 0.0
    found = check(model, guide(), losses=list(noise - 0.02 * np.arange(2000)))
    assert "still falls" in found.complaints()[0]
    for wrong in ([1.0] * 10, [np.nan] * 200):
        with pytest.raises(ValueError, match="losses must be at least 100 finite"):
            loss_trend(wrong)


def exact(program, args, seed, width=1.0):
    """Draws of the exact posterior of the simulated data, as a fit would return them."""
    import xarray

    data = pyro.poutine.trace(program).get_trace(*args).nodes["y"]["value"].double()
    mean = float(data.sum() / 1.5**2 / PRECISION)
    draws = np.random.default_rng(seed).normal(mean, width * SCALE, (1, 400))
    return assembled({"posterior": xarray.Dataset({"mean": (("chain", "draw"), draws)})})


def test_calibration_tells_a_right_fit_from_one_that_is_too_sure():
    right = check(model, guide(), simulations=60, fit=exact)
    assert right.right, str(right)
    wrong = check(model, guide(), simulations=60, fit=lambda *a, **k: exact(*a, **k, width=0.2))
    assert "site 'mean' is not calibrated" in wrong.complaints()[0]


@needs_nutpie
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
def test_calibration_of_nuts_runs():
    found = check(model, guide(), simulations=3)
    assert found.ranks["mean"].shape == (3, 1)
    assert np.all((found.ranks["mean"] >= 0) & (found.ranks["mean"] <= 1))


@needs_nutpie
@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*transitions diverged")
def test_nuts_is_calibrated_on_a_conjugate_model():
    found = check(model, guide(), simulations=60, seed=3)
    assert found.p_values["mean"] > 0.001
    assert 0.35 < found.ranks["mean"].mean() < 0.65


def test_other_data_replace_those_of_the_observed_sites():
    trace = pyro.poutine.trace(pyro.poutine.condition(model, data={"y": torch.zeros(4)})).get_trace()
    assert trace.nodes["y"]["is_observed"]
    assert torch.equal(trace.nodes["y"]["value"], torch.zeros(4))


@pytest.mark.parametrize(
    "distribution", [dist.Exponential(1.0), dist.Gamma(2.0, 1.0), dist.Uniform(-1.0, 1.0), dist.Beta(2.0, 2.0)]
)
def test_a_guide_that_leaves_the_support_is_found(distribution):
    """Without checks of arguments some distributions have a density there, others none, others no number."""

    def bounded():
        pyro.sample("a", distribution)

    def wide():
        pyro.sample("a", dist.Normal(0.4, 0.5))

    found = check(bounded, wide)
    assert found.elbo == -np.inf
    assert "outside of the model's support" in found.complaints()[0]
    assert abs(found.log_evidence) < 0.3


def test_a_guide_that_is_the_posterior_and_more_has_equal_weights():
    found = check(lambda: pyro.sample("a", dist.Uniform(0.0, 1.0)), lambda: pyro.sample("a", dist.Uniform(-1.0, 1.0)))
    assert abs(found.log_evidence) < 0.2
    assert not found.right


def test_what_has_no_right_answer_is_refused():
    def with_factor():
        model()
        pyro.factor("extra", torch.tensor(1.0))

    def in_parts():
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("rows", 20, subsample_size=5) as rows:
            pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.ones(20)[rows])

    def broken():
        pyro.sample("mean", dist.Normal(torch.tensor(float("nan")), 1.0, validate_args=False))

    with pytest.raises(ModelError, match="the factor 'extra' is no part"):
        check(with_factor, guide(), simulations=2)
    with pytest.raises(ModelError, match="plate 'rows' takes 5 of 20"):
        check(in_parts, guide())
    with pytest.raises(ModelError, match="not finite at 200 of 200 draws"):
        check(model, broken, draws=200)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="draws must be at least 100"):
        check(model, guide(), draws=10)
    with pytest.raises(ValueError, match="simulations must be at least 0"):
        check(model, guide(), simulations=-1)


def test_smoothing_keeps_the_scale_of_the_weights_and_the_order():
    """ArviZ 0.x and 1.x take weights of opposite sign and lose their scale."""
    numbers = np.random.default_rng(0)
    for tail in (0.2, 0.6, 0.9):
        weights = -3.0 - tail * np.log(numbers.random(2000))  # of a Pareto distribution with this shape
        smooth, k = _psis(weights)
        assert k == pytest.approx(tail, abs=0.2)
        assert np.allclose(np.sort(smooth)[:1000], np.sort(weights)[:1000])
        assert np.corrcoef(np.argsort(np.argsort(smooth)), np.argsort(np.argsort(weights)))[0, 1] > 0.999
