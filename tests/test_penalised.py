"""Objectives with a third term: its value against closed forms, its gradients, its models and its engines."""

import itertools
import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from test_objectives import Affine, linear, loss_and_gradients, pixels, small
from torch import Tensor, nn

from pyrovae import CVAE, VAE, Autoencoder, LatentVariableModel, networks, posteriors, priors
from pyrovae.data.synthetic import LinearGaussian
from pyrovae.engine import SVI
from pyrovae.objectives import (
    DIPVAE,
    BetaTCVAE,
    Contractive,
    FreeBits,
    ImportanceWeighted,
    InfoVAE,
    Objective,
    Sparse,
    TraceELBO,
    TraceMeanField,
    latent_sites,
)
from pyrovae.objectives.penalties import Discrepancy, MomentsApart, Penalty, Slopes, TotalCorrelation
from pyrovae.objectives.sites import LatentSite
from pyrovae.semi_supervised import SemiSupervisedVAE

OBJECTIVES: list[Objective] = [
    BetaTCVAE(),
    BetaTCVAE(sampling="stratified", beta=2.0, warmup=0.5),
    BetaTCVAE(particles=3, total_correlation=2.0),
    DIPVAE(kind="I"),
    DIPVAE(kind="II", particles=2),
    InfoVAE(),
    InfoVAE(beta=0.5, bandwidth=0.7, particles=2),
    Sparse(),
    Contractive(),
    Contractive(probes=2, particles=2),
]
ONE = torch.tensor(1.0)


def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        (1, 3, 3),
        2,
        encoder=partial(networks.MLPEncoder, hidden=(6,), activation=nn.Tanh),
        decoder=partial(networks.MLPDecoder, hidden=(6,)),
    )


def site_of(model: LatentVariableModel, x: Tensor, seed: int = 0, particles: int = 1) -> LatentSite:
    """The code in the model's traces, with particles as Pyro draws them."""

    def many(program):
        def run(x: Tensor) -> None:
            with pyro.plate("particles", particles, dim=-2):
                program(x)

        return run if particles > 1 else program

    torch.manual_seed(seed)
    guide = poutine.trace(many(model.guide)).get_trace(x)
    (site,) = latent_sites(guide, poutine.trace(poutine.replay(many(model.model), trace=guide)).get_trace(x))
    return site


def normals(means: Tensor, scales: Tensor) -> LatentSite:
    """A code of given posteriors, (B, latent_dim), drawn once."""
    q = dist.Normal(means, scales).to_event(1)
    p = dist.Normal(torch.zeros_like(means), torch.ones_like(means)).to_event(1)
    return LatentSite("z", q, p, q.rsample(), True)


# -- the loss as a sum of its terms --------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_loss_is_the_bound_and_the_term(objective: Objective) -> None:
    """With the codes of the same seed: weight * reconstruction + beta * KL + the term."""
    model, x, beta = small(), pixels(), torch.tensor(0.7)
    programs = objective.weighted(model.model), objective.weighted(model.guide)
    plain = TraceMeanField(particles=objective.estimator.particles)
    plain.weighting = objective.weighting
    torch.manual_seed(3)
    bound = plain.elbo().loss(plain.weighted(model.model), plain.weighted(model.guide), beta, x)
    torch.manual_seed(3)
    loss = objective.elbo().loss(*programs, beta, x)
    x.requires_grad_()
    site = site_of(model, x, 3, objective.estimator.particles)
    term = objective.estimator.penalty.of_batch(site, beta, x, None)
    assert loss == pytest.approx(bound + term.item(), rel=1e-5)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_a_total_correlation_of_weight_one_changes_nothing(sampling: str) -> None:
    model, x = small(), pixels()
    loss, gradients = loss_and_gradients(BetaTCVAE(total_correlation=1.0, sampling=sampling), model, x)
    plain, expected = loss_and_gradients(TraceMeanField(), model, x)
    assert loss == pytest.approx(plain, rel=1e-6)
    for g, e in zip(gradients, expected, strict=True):
        torch.testing.assert_close(g, e)


# -- the total correlation -----------------------------------------------------------------------------------------


def test_the_total_correlation_of_a_whole_population_is_its_closed_form() -> None:
    """Means of a correlated Normal and equal scales: q(z) is a Normal, and TC = (sum log C_jj - log |C|) / 2."""
    torch.manual_seed(0)
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [-0.4, 0.3, 0.8]], dtype=torch.float64)
    covariance = factor @ factor.T + 0.6**2 * torch.eye(3, dtype=torch.float64)
    exact = 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance))
    found = []
    for _ in range(8):
        means = torch.randn(1500, 3, dtype=torch.float64) @ factor.T
        found.append(TotalCorrelation().estimate(normals(means, torch.full_like(means, 0.6)), None))
    values = torch.stack(found)
    assert float(exact) > 0.3
    assert abs(values.mean() - exact) < 5 * values.std() / math.sqrt(8) + 0.01


def test_equal_posteriors_have_no_total_correlation() -> None:
    site = normals(torch.ones(7, 4), torch.full((7, 4), 0.3))
    for sampling in ("weighted", "stratified"):
        assert TotalCorrelation(6.0, sampling).estimate(site, 50) == pytest.approx(0.0, abs=1e-5)


def test_stratified_weights_estimate_the_aggregate_without_bias() -> None:
    """The mean over all batches that hold an image is q(z) of the whole set, at any z; weighted ones are above it."""
    torch.manual_seed(0)
    densities = torch.rand(7, dtype=torch.float64)  # q(z | x_n) of seven images, at the code of the first
    aggregate = densities.mean()
    z = torch.zeros(3, 1, dtype=torch.float64)
    found = {}
    for sampling in ("stratified", "weighted"):
        shares = TotalCorrelation(6.0, sampling)._log_shares(z, 7).exp()
        torch.testing.assert_close(shares.sum(-1), torch.ones(3, dtype=torch.float64))
        batches = [(0, *others) for others in itertools.combinations(range(1, 7), 2)]
        found[sampling] = torch.stack([(shares[0] * densities[list(batch)]).sum() for batch in batches]).mean()
    torch.testing.assert_close(found["stratified"], aggregate)
    assert abs(found["weighted"] - aggregate) > 1e-3


def test_stratified_weights_know_the_training_set() -> None:
    """A larger set has another estimate, the batch itself as the set that of equal weights; one image has none."""
    torch.manual_seed(0)
    site = normals(torch.randn(6, 2), torch.full((6, 2), 0.4))
    stratified, weighted = TotalCorrelation(6.0, "stratified"), TotalCorrelation(6.0)
    torch.testing.assert_close(stratified.estimate(site, 6), weighted.estimate(site, None))
    assert abs(stratified.estimate(site, 1000) - weighted.estimate(site, None)) > 0.01
    alone = normals(torch.randn(1, 2), torch.ones(1, 2))
    assert stratified.estimate(alone, 1000) == pytest.approx(0.0, abs=1e-6)
    model, x = small(), pixels()
    with torch.no_grad():
        model.posterior.head.weight.mul_(5)
    losses = []
    for images in (5, 5000):
        programs = BetaTCVAE(sampling="stratified").programs(model, images=images)
        torch.manual_seed(0)
        losses.append(programs.elbo.loss(programs.model, programs.guide, ONE, x))
    assert abs(losses[0] - losses[1]) > 0.01


# -- moments -------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_a_linear_encoder() -> None:
    """Means W x of the batch: kind I has W Cov[x] W^T, kind II the scales' squares besides; of any Normal family."""
    torch.manual_seed(0)
    x = torch.rand(40, 1, 2, 4, dtype=torch.float64)
    data = LinearGaussian.random((1, 2, 4), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for family in (posteriors.DiagonalNormal, posteriors.FullNormal, posteriors.LowRankNormal):
        model = linear(data, family)
        q, weight = model.posterior(x), model.posterior.head.weight[:3]
        between = weight @ torch.cov(x.flatten(1).T, correction=0) @ weight.T
        within = q.covariance_matrix if hasattr(q, "covariance_matrix") else torch.diag_embed(q.variance)
        for particles in (1, 3):
            site = site_of(model, x, particles=particles)
            torch.testing.assert_close(MomentsApart("I").covariance(site.q), between)
            torch.testing.assert_close(MomentsApart("II").covariance(site.q), between + within.mean(0))


@pytest.mark.parametrize(("kind", "diagonal"), [("I", 100.0), ("II", 10.0)])
def test_moments_are_weighted_as_published(kind: str, diagonal: float) -> None:
    site = normals(torch.randn(9, 3), torch.rand(9, 3))
    c = MomentsApart(kind).covariance(site.q)
    by_hand = sum(10 * c[i, j] ** 2 if i != j else diagonal * (c[i, i] - 1) ** 2 for i in range(3) for j in range(3))
    torch.testing.assert_close(MomentsApart(kind).of_batch(site, ONE, site.value, None), by_hand)
    torch.testing.assert_close(MomentsApart(kind, 10.0, diagonal).of_batch(site, ONE, site.value, None), by_hand)


# -- discrepancy ---------------------------------------------------------------------------------------------------


def test_the_discrepancy_of_two_normals_is_its_closed_form() -> None:
    """E k(a, b) of Normals is a Normal integral; the mean of the estimates of small samples has no bias."""
    torch.manual_seed(0)
    width, d = 0.8, 2
    moments = [
        (torch.zeros(d), torch.eye(d)),
        (torch.tensor([0.5, -1.0]), torch.tensor([[0.5, 0.2], [0.2, 0.3]])),
    ]

    def kernel(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
        total = width**2 * torch.eye(d) + first[1] + second[1]
        away = first[0] - second[0]
        return width**d / torch.det(total).sqrt() * torch.exp(-0.5 * away @ torch.linalg.solve(total, away))

    a, b = moments
    exact = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    draws = [torch.distributions.MultivariateNormal(*each).sample([4000, 4]) for each in moments]
    found = torch.stack([Discrepancy(1.0, width).estimate(*pair) for pair in zip(*draws, strict=True)])
    assert abs(found.mean() - exact) < 5 * found.std() / math.sqrt(4000)
    assert exact > 0.1


def test_the_discrepancy_of_a_sample_is_by_hand() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(5, 3), torch.randn(5, 3)

    def k(u: Tensor, v: Tensor) -> Tensor:  # the default scale is sqrt(3)
        return torch.exp(-((u - v) ** 2).sum() / 6)

    pairs = list(itertools.permutations(range(5), 2))
    within = [sum(k(s[i], s[j]) for i, j in pairs) / 20 for s in (a, b)]
    between = sum(k(u, v) for u in a for v in b) / 25
    torch.testing.assert_close(Discrepancy().estimate(a, b), within[0] + within[1] - 2 * between)
    assert torch.isfinite(Discrepancy().estimate(a[:1], b[:1]))


def test_the_discrepancy_holds_an_autoencoders_codes_to_the_prior() -> None:
    """The Wasserstein autoencoder: trained codes have mean 0 and variance 1, others have not."""
    x = torch.rand(64, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    spreads = []
    for weight in (300.0, 0.0):
        model, objective = autoencoder(), InfoVAE(discrepancy=weight)
        with torch.no_grad():
            model.posterior.head.bias.add_(4.0)
        svi = SVI(
            objective.weighted(model.model),
            objective.weighted(model.guide),
            torch.optim.Adam(model.parameters(), lr=0.02),
            loss=objective.elbo(),
            engine="graph",
        )
        torch.manual_seed(0)
        for _ in range(400):
            svi.update(torch.tensor(0.0), x.round())
        codes = model.posterior(x.round()).mean
        spreads.append((codes.mean(0).abs() + (codes.var(0) - 1).abs()).max().item())
    assert spreads[0] < 0.6
    assert spreads[1] > 1.2


# -- terms of the encoder ------------------------------------------------------------------------------------------


def test_the_norm_of_codes_is_by_hand() -> None:
    model, x = autoencoder(), pixels()
    loss, _ = loss_and_gradients(Sparse(sparsity=0.3), model, x)
    plain, _ = loss_and_gradients(TraceELBO(), model, x)
    assert loss == pytest.approx(plain + 0.3 * model.posterior(x).mean.abs().sum(1).mean().item(), rel=1e-5)


def test_the_norm_of_slopes_of_a_linear_encoder_is_that_of_its_weights() -> None:
    model = Autoencoder((1, 3, 3), 3, encoder=Affine).double()
    x = torch.rand(5, 1, 3, 3, dtype=torch.float64)
    (loss, _), (plain, _) = (loss_and_gradients(o, model, x.round()) for o in (Contractive(), TraceELBO()))
    assert loss - plain == pytest.approx(model.posterior.head.weight.square().sum().item(), rel=1e-10)


def test_the_norm_of_slopes_is_that_of_the_jacobian_and_its_gradient_is_right() -> None:
    """Against torch.func's Jacobian, and finite differences of the loss in every weight of the encoder."""
    model, x = autoencoder().double(), pixels().double()
    jacobians = torch.func.vmap(torch.func.jacrev(lambda one: model.posterior(one.unsqueeze(0)).mean[0]))(x)
    objective = Contractive(contraction=0.4)
    plain, without = loss_and_gradients(TraceELBO(), model, x)
    loss, gradients = loss_and_gradients(objective, model, x)
    assert loss - plain == pytest.approx(0.4 * jacobians.square().sum().item() / len(x), rel=1e-10)
    programs = objective.weighted(model.model), objective.weighted(model.guide)
    for (name, p), g, without_it in zip(model.named_parameters(), gradients, without, strict=True):
        losses = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                p.view(-1)[0] += step
                losses.append(objective.elbo().loss(*programs, ONE.double(), x))
                p.view(-1)[0] -= step
        assert float(g.view(-1)[0]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-7), name
        if name.startswith("posterior") and "bias" not in name:
            assert (g - without_it).abs().max() > 1e-3


def test_probes_estimate_the_norm_without_bias() -> None:
    model, x = autoencoder(), pixels(3)
    x.requires_grad_()
    site = site_of(model, x)
    exact = Slopes(1.0).of_batch(site, ONE, x, None).item()
    torch.manual_seed(0)
    found = torch.stack([Slopes(1.0, probes=2).of_batch(site, ONE, x, None).detach() for _ in range(400)])
    assert abs(float(found.mean()) - exact) < 5 * float(found.std()) / 20
    assert found.std() > 0


@pytest.mark.parametrize("objective", [Contractive(contraction=30.0), Sparse(sparsity=30.0)], ids=repr)
def test_an_autoencoder_obeys(objective: Objective) -> None:
    """Trained with the term, slopes or codes are smaller than without it."""
    x, sizes = pixels(40), []
    for each in (objective, TraceELBO()):
        model = autoencoder()
        svi = SVI(
            each.weighted(model.model),
            each.weighted(model.guide),
            torch.optim.Adam(model.parameters(), lr=0.02),
            loss=each.elbo(),
            engine="graph",
        )
        for _ in range(150):
            svi.update(ONE, x)
        held = x.clone().requires_grad_()
        sizes.append(objective.estimator.penalty.of_batch(site_of(model, held), ONE, held, None).item())
    assert sizes[0] < 0.5 * sizes[1]


# -- what holds for all of them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [*OBJECTIVES, TraceELBO(), FreeBits(nats=2.0), ImportanceWeighted()], ids=repr)
def test_an_objective_over_the_batch_says_so(objective: Objective) -> None:
    """The loss of a batch is the mean of its halves' if and only if the objective does not say otherwise."""
    model = small(posterior=Fixed)
    with torch.no_grad():
        model.posterior.head.weight.mul_(10)
        model.posterior.head.bias[2:] = -0.1  # KLs below an allowance and above it
    x = torch.cat([torch.zeros(4, 1, 3, 3), torch.ones(4, 1, 3, 3)])  # halves that are unlike each other
    losses = []
    for part in (x, x[:4], x[4:]):
        torch.manual_seed(0)  # probes and draws of the prior are others in each part; their means are compared
        programs = objective.weighted(model.model), objective.weighted(model.guide)
        many = [float(objective.elbo().loss(*programs, ONE, part)) for _ in range(1 if exact(objective) else 60)]
        losses.append(torch.tensor(many))
    apart = losses[0].mean() - (losses[1].mean() + losses[2].mean()) / 2
    slack = 1e-4 + 5 * sum(float(found.var()) / len(found) for found in losses if len(found) > 1) ** 0.5
    assert (abs(float(apart)) > slack) == objective.over_batch, apart


def exact(objective: Objective) -> bool:
    return not isinstance(objective, InfoVAE) and "probes=2" not in repr(objective)


class Fixed(posteriors.DiagonalNormal):
    """Draws the mean, so that the codes of an image are the same in every batch."""

    def of(self, outputs: Tensor) -> dist.TorchDistribution:
        class AtMean(dist.Normal):
            def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
                return self.loc.expand(self._extended_shape(sample_shape)) + 0.0

        found = super().of(outputs).base_dist
        return AtMean(found.loc, found.scale).to_event(1)


def steps(objective: Objective, model: LatentVariableModel, engine: str, *data: Tensor) -> tuple[list, list]:
    programs = objective.programs(model, images=100)
    svi = SVI(
        programs.model,
        programs.guide,
        torch.optim.SGD(model.parameters(), lr=1e-3),
        loss=programs.elbo,
        engine=engine,
    )
    torch.manual_seed(1)
    return [float(svi.update(ONE, *data).loss) for _ in range(3)], list(model.parameters())


def models_for(objective: Objective) -> list[LatentVariableModel]:
    torch.manual_seed(0)
    networks_of = {
        "encoder": partial(networks.MLPEncoder, hidden=(6,)),
        "decoder": partial(networks.MLPDecoder, hidden=(6,)),
    }
    found: list[LatentVariableModel] = [small(), CVAE((1, 3, 3), 3, 2, prior=priors.VampPrior, **networks_of)]
    return found if isinstance(objective, BetaTCVAE) else [*found, autoencoder()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_graph_is_pyro(objective: Objective) -> None:
    x, y = pixels(6), torch.arange(6) % 3
    for by_pyro, by_graph in zip(models_for(objective), models_for(objective), strict=True):
        objective.check(by_pyro)
        losses, expected = steps(objective, by_pyro, "pyro", x, y)
        found, weights = steps(objective, by_graph, "graph", x, y)
        assert found == pytest.approx(losses, rel=1e-5)
        torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [BetaTCVAE(sampling="stratified"), DIPVAE(), InfoVAE(), Sparse(), Contractive()], ids=repr
)
def test_the_compiled_graph_is_pyro(objective: Objective) -> None:
    x, y = pixels(6), torch.arange(6) % 3
    one, other = (models_for(objective)[-1] for _ in range(2))
    losses, expected = steps(objective, one, "pyro", x, y)
    found, weights = steps(objective, other, "compiled", x, y)
    assert found == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "model", "message"),
    [
        (
            BetaTCVAE(),
            partial(small, posterior=posteriors.FullNormal),
            "density of each dimension .* Multivariate",
        ),
        (BetaTCVAE(), autoencoder, "density of each dimension .* Delta"),
        (DIPVAE(), partial(small, posterior=posteriors.Mixture), "in closed form, .* use kind I"),
        (
            DIPVAE(kind="I"),
            partial(small, prior=priors.VonMises, posterior=posteriors.WrappedNormal),
            "angles have none",
        ),
        (InfoVAE(), partial(small, prior=priors.VonMises, posterior=posteriors.WrappedNormal), "angles have none"),
        (Sparse(), lambda: SemiSupervisedVAE((1, 3, 3), 3, 2), "no sum over the classes"),
    ],
)
def test_models_without_the_term_are_refused(objective: Objective, model, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        objective.check(model())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (BetaTCVAE, {"total_correlation": -1.0}, "total_correlation, a weight in the loss, must be at least 0, got -1"),
        (BetaTCVAE, {"sampling": "all"}, "sampling must be weighted or stratified, got 'all'"),
        (DIPVAE, {"kind": "III"}, "kind must be I or II, got 'III'"),
        (DIPVAE, {"off_diagonal": math.inf}, "off_diagonal, a weight in the loss, must be at least 0, got inf"),
        (DIPVAE, {"diagonal": "x"}, "diagonal, a weight in the loss, must be a number, got 'x'"),
        (InfoVAE, {"discrepancy": math.nan}, "discrepancy, a weight in the loss, must be at least 0, got nan"),
        (InfoVAE, {"bandwidth": 0.0}, "bandwidth, the scale of the kernel, must be positive, got 0.0"),
        (Sparse, {"sparsity": True}, "sparsity, a weight in the loss, must be a number, got True"),
        (Contractive, {"probes": 0}, "probes must be a whole number of at least 1, or None for the exact norm, got 0"),
        (Contractive, {"particles": 0}, "particles must be a whole number of at least 1"),
        (InfoVAE, {"reconstruction_weight": 0.0}, "cannot both be 0"),
    ],
)
def test_wrong_arguments_are_refused(cls: type, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_a_model_of_two_codes_is_refused_by_their_names() -> None:
    class Two(VAE):
        def model(self, x: Tensor, y: Tensor | None = None) -> None:
            with pyro.plate("images", len(x)):
                z = pyro.sample("z", self.prior(y))
                pyro.sample("w", self.prior(y))
                pyro.sample("x", self.likelihood(z, y), obs=x)

        def guide(self, x: Tensor, y: Tensor | None = None) -> None:
            with pyro.plate("images", len(x)):
                pyro.sample("z", self.posterior(x, y))
                pyro.sample("w", self.posterior(x, y))

    with pytest.raises(ValueError, match="Sparse is for a model with one code, and Two draws 'z', 'w': use TraceELBO"):
        Sparse().check(Two((1, 3, 3)))


def test_every_penalty_is_met_here() -> None:
    met = {type(objective.estimator.penalty) for objective in OBJECTIVES}
    assert met == set(Penalty.__subclasses__())
