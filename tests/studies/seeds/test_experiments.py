"""Claims are functions of what was measured: made-up measurements reach either verdict of each."""

from dataclasses import replace

import numpy as np
import pytest

from pyrovae.estimates import Estimate, Estimates
from pyrovae.latent import AttributeEffect, Codes
from pyrovae.studies.seeds.budgets import BUDGETS, KINDS
from pyrovae.studies.seeds.claims import Claim
from pyrovae.studies.seeds.experiments import (
    EXPERIMENTS,
    ambiguity,
    arithmetic,
    autoencoder,
    conditional,
    convergence,
    covariance,
    dimensions,
    directions,
    downstream,
    kinds,
    labels,
    layout,
    neighbours,
    smoothness,
    style,
    sweep,
    weights,
)
from pyrovae.studies.seeds.quotations import QUOTATIONS
from pyrovae.studies.seeds.run import with_seeds
from pyrovae.training import History

E = 0.001
BETAS = (0.0, 0.1, 1.0, 10.0)


def values(*means: float) -> list[Estimate]:
    return [Estimate(mean, E) for mean in means]


def over(keys, means) -> dict:
    return dict(zip(keys, values(*means), strict=True))


def of_dimensions(good: bool) -> list[Claim]:
    dims = dimensions.DIMS
    return dimensions.EXPERIMENT.decide(
        dimensions.Dimensions(
            squared_error=over(dims, (40, 30, 20, 19) if good else (40, 41, 42, 50)),
            sharpness=over(dims, (0.5, 0.6, 0.7, 0.8) if good else (0.8, 0.7, 0.6, 0.5)),
            kept=over(dims, (0.97, 0.98, 0.99, 0.99) if good else (0.8, 0.9, 0.95, 0.97)),
            ambiguous=over(dims, (0.4, 0.4, 0.4, 0.4) if good else (0.4, 0.02, 0.4, 0.4)),
            entropy=over(dims, (1, 1, 1, 1)),
            frechet=over(dims, (1, 1, 1, 1)),
            ambiguous_test=Estimate(0.01, E),
        )
    )


def of_places(good: bool) -> list[Claim]:
    return layout.EXPERIMENT.decide(
        layout.Layout(
            bayes=Estimate(0.65 if good else 0.2, E),
            chance=0.11,
            overlapping=Estimate(0.2 if good else 0.9, E),
            aggregate_kl=Estimate(0.02 if good else 0.3, E),
            nearest_kl=Estimate(0.5 if good else 0.05, E),
            mean_kl=Estimate(1.0, E),
            halves=Estimate(0.01 if good else 0.3, E),
            halves_p=0.5 if good else 1e-6,
            train_test=Estimate(0.02 if good else 0.3, E),
            train_test_p=0.5 if good else 1e-6,
            coverage=Estimate(0.9, E),
            averaged_coverage=Estimate(0.9 if good else 0.2, E),
        )
    )


def of_neighbours(good: bool) -> list[Claim]:
    return neighbours.EXPERIMENT.decide(
        neighbours.Neighbours(
            same=over(range(5), (1, 0.9, 0.5, 0.3, 0.1) if good else (0.2, 0.9, 0.9, 0.9, 0.9)),
            at_mean=dict.fromkeys(range(10), Estimate(0.9 if good else 0.3)),
            two_steps=dict.fromkeys(range(10), Estimate(0.5 if good else 0.9)),
            predicted=Estimate(0.8 if good else 0.2, E),
            shuffled=Estimate(0.3, E),
            nearest=(4, 7, 8, 3, 1, 5, 2, 6, 0) if good else (0, 1, 2, 3, 4, 5, 6, 7, 8),
            around_all=Estimate(0.6, E),
        )
    )


def of_conditional(good: bool) -> list[Claim]:
    styles = dict.fromkeys(conditional.STYLES, Estimate(0.8 if good else 0.2, E))
    pair = tuple(values(0.5, 0.2) if good else values(0.2, 0.5))
    return conditional.EXPERIMENT.decide(
        conditional.Conditional(
            bayes=Estimate(0.112 if good else 0.6, E),
            neighbours=Estimate(0.112 if good else 0.6, E),
            chance=0.11,
            farthest_kl=Estimate(0.02 if good else 1.0, E),
            mean_kl=Estimate(0.02, E),
            vae_mean_kl=Estimate(1.5, E),
            obeyed=Estimate(0.99 if good else 0.5, E),
            explained=styles,
            variety=styles,
            frechet={2: pair, 5: pair},
            ambiguous={2: pair, 5: pair},
        )
    )


def of_autoencoder(good: bool) -> list[Claim]:
    high, low = values(0.5, 0.05)
    pair = (high, low) if good else (low, high)
    ends = {0.0: Estimate(0.01, E)}
    return autoencoder.EXPERIMENT.decide(
        autoencoder.Panels(
            unexplained=Estimate(0.02 if good else 0.5, E),
            kept=Estimate(0.99 if good else 0.5, E),
            frechet=pair,
            ambiguous=pair,
            gaps=pair,
            unevenness=pair,
            midway=(ends | {0.5: pair[0]}, ends | {0.5: pair[1]}),
            kl_alone=1e-4 if good else 3.0,
            beta=0.1,
        )
    )


def of_sweep(good: bool) -> list[Claim]:
    return sweep.EXPERIMENT.decide(
        sweep.Sweep(
            unexplained=over(BETAS, (0.02, 0.1, 0.3, 0.95) if good else (0.5, 0.4, 0.3, 0.2)),
            sharpness=over(BETAS, (0.9, 0.8, 0.7, 0.3) if good else (0.3, 0.4, 0.5, 0.9)),
            frechet=over(BETAS, (0.9, 0.2, 0.4, 1.0) if good else (0.2, 0.3, 0.4, 0.2)),
            ambiguous=over(BETAS, (0.5, 0.4, 0.3, 0.2)),
            diversity=over(BETAS, (1.5, 1.0, 0.8, 0.01) if good else (1, 1, 1, 1)),
            widths=dict(zip(BETAS, (0.1, 0.3, 0.6, 0.99) if good else (0.9, 0.6, 0.3, 0.1), strict=True)),
            kl_over_epochs=dict.fromkeys(BETAS, (10.0, 20.0) if good else (20.0, 10.0)),
            correlations=dict(zip(BETAS, (0.3, 0.1, 0.05, np.nan) if good else (0.1, 0.2, 0.3, 0.4), strict=True)),
        )
    )


def of_weights(good: bool) -> list[Claim]:
    grid = (10, 100, 1000, 10000)
    return weights.EXPERIMENT.decide(
        weights.Weights(
            squared_error=over(grid, (50, 40, 35, 33) if good else (50, 40, 45, 33)),
            steps=over(grid[1:], (0.2, 0.1, -0.01) if good else (0.2, -0.1, 0.2)),
            kl=over(grid, (0, 2, 5, 7)),
            off_centre=Estimate(0.02 if good else 0.5, E),
            scale=Estimate(1.0 if good else 3.0, E),
            gaps=Estimate(0.01 if good else 0.3, E),
            autoencoder_gaps=Estimate(0.2, E),
            largest_share=Estimate(1.4 if good else 3.0, E),
            smallest_share=Estimate(0.7 if good else 0.1, E),
        )
    )


def of_arithmetic(good: bool) -> list[Claim]:
    alphas = np.array([-1.0, 0.0, 1.0])
    own, other, kept = (1.0, 0.1, 0.98) if good else (0.1, 0.9, 0.5)
    found = AttributeEffect(
        name="slant",
        alphas=alphas,
        images=100,
        attributes=("slant", "width"),
        changes=Estimates(np.outer((own, other), alphas), np.full((2, 3), E)),
        travelled=Estimates(alphas, np.full(3, E)),
        scales=np.ones(2),
        kept=Estimates(np.array([kept, 1, kept]), np.full(3, E)),
    )
    thickness = replace(found, name="thickness", attributes=("thickness", "width"))
    return arithmetic.EXPERIMENT.decide({"slant": found, "thickness": thickness})


def of_convergence(good: bool) -> list[Claim]:
    flat = Estimate(0.001 if good else 0.1, 0.0001)
    return convergence.EXPERIMENT.decide(dict.fromkeys(convergence.NETS, convergence.Convergence(50, flat, flat, flat)))


def of_labels(good: bool) -> list[Claim]:
    dims = labels.MANY_LABELS_DIMS
    few, many = values(0.3, 0.6) if good else values(0.6, 0.3)
    bayes = over(dims, (0.3, 0.5, 0.7) if good else (0.3, 0.05, 0.04))
    return labels.EXPERIMENT.decide(labels.Labels(47, bayes, 0.021, over(dims, (40, 20, 10)), many, few))


def of_style(good: bool) -> list[Claim]:
    share = Estimate(0.8 if good else 0.2, E)
    kept = {name: dict.fromkeys(style.DIMS, share) for name in (style.ROTATION, *style.OTHERS)}
    turned = over(style.DIMS, (0.3, 0.2, 0.1) if good else (0.9, 0.8, 0.7))
    return style.EXPERIMENT.decide(style.Style(turned, turned[2], kept))


def of_ambiguity(good: bool) -> list[Claim]:
    tells = dict.fromkeys(ambiguity.DIMS, Estimate(0.8 if good else 0.55, E))
    alone = dict.fromkeys(ambiguity.DIMS, Estimate(0.05 if good else 0.4, E))
    return ambiguity.EXPERIMENT.decide(
        ambiguity.Ambiguity(tells, tells, alone, alone, over(range(1, 6), (0, 1, 1, 1, 1)), Estimate(0.02, E))
    )


def of_smoothness(good: bool) -> list[Claim]:
    high, low = values(0.3, 0.01)
    both = smoothness.Both(high, low) if good else smoothness.Both(low, high)
    nets = (smoothness.PLANE, smoothness.NETS)
    kept = smoothness.Both(*values(0.9, 0.99) if good else values(0.9, 0.8))
    return smoothness.EXPERIMENT.decide(
        smoothness.Smoothness(
            changes=dict.fromkeys(nets, dict.fromkeys(smoothness.STEPS, both)),
            kept=dict.fromkeys(nets, kept),
            own_draws=both.vae,
            unseen=both,
        )
    )


def of_covariance(good: bool) -> list[Claim]:
    dims = covariance.CORRELATED_DIMS
    gains, low, high = over(dims, (0.2, 0.3) if good else (2, 3)), over(dims, (0.1, 0.1)), over(dims, (0.3, 0.3))
    diagonal, full = (low, high) if good else (high, low)
    return covariance.EXPERIMENT.decide(covariance.Covariance(gains, diagonal, full, low))


def of_usefulness(good: bool) -> list[Claim]:
    own, vae = values(0.5, 0.8) if good else values(0.8, 0.5)
    accuracy = {"autoencoder": dict.fromkeys((50, 1000), own), "VAE": dict.fromkeys((50, 1000), vae)}
    sums = {"pixels": Estimate(0.3 if good else 0.9, E), "autoencoder": own, "VAE": vae}
    spread = {"autoencoder": vae, "VAE": own}
    return downstream.EXPERIMENT.decide(downstream.Usefulness(accuracy, accuracy, sums, spread, 0.1))


def of_kinds(good: bool) -> list[Claim]:
    def set_apart(name: str, own: float, others: float) -> dict[str, Estimate]:
        return {kind: Estimate(own if kind == name else others, E) for kind in KINDS}

    return kinds.EXPERIMENT.decide(
        kinds.Kinds(
            noise_left=set_apart("denoising", 0.1 if good else 0.5, 0.3),
            near_zero=set_apart("sparse", 0.5 if good else 0.05, 0.1),
            sensitivity=set_apart("contractive", 0.1 if good else 0.9, 0.3),
            accuracy=dict.fromkeys(KINDS, Estimate(0.9 if good else 0.3, E)),
        )
    )


def of_directions(good: bool) -> list[Claim]:
    areas, after = (dict.fromkeys(range(10), Estimate(value if good else 0.3, E)) for value in (0.95, 0.7))
    return directions.EXPERIMENT.decide(directions.Directions(areas, after, after))


TABLE = {
    1: of_dimensions,
    2: of_places,
    3: of_neighbours,
    4: of_conditional,
    5: of_autoencoder,
    6: of_sweep,
    7: of_weights,
    8: of_arithmetic,
    9: of_convergence,
    10: of_labels,
    11: of_style,
    12: of_ambiguity,
    13: of_smoothness,
    14: of_covariance,
    15: of_usefulness,
    16: of_kinds,
    17: of_directions,
}


@pytest.mark.parametrize("name", BUDGETS)
def test_every_needed_run_is_in_the_budget_once(name: str) -> None:
    budget = BUDGETS[name]
    names = [recipe.name for recipe in budget.recipes()]
    needed = {run for experiment in EXPERIMENTS for run in experiment.needs(budget)}
    assert sorted(set(names)) == sorted(names)
    assert needed == set(names)
    assert budget.plane_seeds[: len(budget.seeds)] == budget.seeds


def test_fewer_seeds_are_fewer_runs_of_the_same_settings() -> None:
    whole = {recipe.name: recipe for recipe in BUDGETS["standard"].recipes()}
    some = {recipe.name: recipe for recipe in with_seeds(BUDGETS["standard"], [1]).recipes()}
    assert {name: whole[name] for name in some} == some
    assert {name for name in whole if "-seed" in name} > {name for name in some if "-seed" in name}
    assert all(name.endswith("-seed1") for name in some if "-seed" in name)
    for wrong in ([], [2, 2]):
        with pytest.raises(ValueError, match="seeds must be one or more different numbers"):
            with_seeds(BUDGETS["standard"], wrong)


def test_every_claim_is_quoted_and_briefly() -> None:
    numbers = [statement.number for experiment in EXPERIMENTS for statement in experiment.claims]
    assert list(QUOTATIONS) == numbers
    for quotations in QUOTATIONS.values():
        assert quotations
        assert all(1 <= q.document <= 5 and q.section and 3 <= len(q.words.split()) <= 40 for q in quotations)


def test_documents_of_a_claim_are_those_that_are_quoted() -> None:
    ordinals = ("first", "second", "third", "fourth", "fifth")
    for experiment in EXPERIMENTS:
        for statement in experiment.claims:
            named = {k for k, word in enumerate(ordinals, 1) if word in statement.source}
            assert {q.document for q in QUOTATIONS[statement.number]} <= named, statement.number


def test_every_experiment_is_in_the_table() -> None:
    assert [experiment.number for experiment in EXPERIMENTS] == list(TABLE)


@pytest.mark.parametrize("number", TABLE)
def test_either_verdict_is_reached(number: int) -> None:
    good, bad = TABLE[number](True), TABLE[number](False)
    assert {claim.number: claim.verdict for claim in good} == {claim.number: "holds" for claim in good}
    assert {claim.number: claim.verdict for claim in bad} == {claim.number: "does not hold" for claim in bad}
    assert all(claim.number.startswith(str(number)) for claim in good)
    assert all(claim.measured and claim.criterion and claim.quantity for claim in good)


def test_what_is_within_its_errors_is_undecided() -> None:
    unknown = dict.fromkeys(layout.Layout.__dataclass_fields__, Estimate(0.1, 10))
    wide = layout.Layout(**(unknown | {"chance": 0.1, "halves_p": 0.0, "train_test_p": 0.0}))
    assert {claim.verdict for claim in layout.EXPERIMENT.decide(wide)} == {"undecided"}


def test_short_trainings_have_not_shown_that_they_converge() -> None:
    flat = Estimate(0.001, 0.0001)
    short = convergence.Convergence(5, flat, flat, flat)
    assert convergence.decide(short).verdict == "undecided"
    parted = replace(short, gap=Estimate(0.3, 0.001))
    assert convergence.decide(parted).verdict == "does not hold"


def history(train: np.ndarray, validation: np.ndarray) -> History:
    rows = zip(train, validation, strict=True)
    return History("NLL", [{"train_negative_elbo": t, "validation_negative_elbo": v} for t, v in rows])


def test_curves_are_measured() -> None:
    epochs = np.arange(50)
    falling = convergence.of_curves(history(100 - epochs, 101 - epochs))
    assert falling.falling.value == pytest.approx(10 / np.mean(101 - epochs[40:]))
    assert falling.falling.error == pytest.approx(0, abs=1e-9)
    steady = convergence.of_curves(history(np.full(50, 100.0), np.full(50, 101.0)))
    assert (steady.falling.value, steady.gap.value, steady.risen.value) == pytest.approx((0, 0.01, 0))
    rising = convergence.of_curves(history(100 - epochs / 10, 100 + np.maximum(0, epochs - 30.0)))
    assert rising.risen.value > 0.1
    assert rising.falling.value < 0


def test_gaps_and_unevenness_of_codes() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((4000, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]]) + 7
    counts = autoencoder.cell_counts(cloud)
    assert counts.sum() / len(cloud) == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / 4000))
    expected = 0.95 * len(cloud) / len(counts)
    assert counts.std() == pytest.approx(np.sqrt(expected), rel=0.3)  # Poisson
    assert autoencoder.gap_share(cloud) == 0
    clusters = 0.1 * rng.standard_normal((4000, 2)) + 5 * rng.integers(0, 3, (4000, 2))
    assert autoencoder.gap_share(clusters) > 0.5
    assert autoencoder.unevenness(clusters) > 3 * autoencoder.unevenness(cloud)


def test_share_that_is_linear() -> None:
    codes = np.random.default_rng(0).standard_normal((200, 2))
    assert conditional.linear_share(codes, codes @ [2, -1] + 5) == pytest.approx(1)
    assert conditional.linear_share(codes, codes[:, 0] ** 2) < 0.1


def test_sharpness_and_diversity() -> None:
    rng = np.random.default_rng(0)
    crisp = (rng.random((50, 1, 8, 8)) > 0.5).astype(float)
    blurred = (crisp + np.roll(crisp, 1, -1) + np.roll(crisp, 1, -2)) / 3
    assert dimensions.sharpness(blurred).mean() < 0.8 * dimensions.sharpness(crisp).mean()
    assert sweep.diversity(crisp, crisp).value == pytest.approx(1, abs=0.1)
    assert sweep.diversity(np.tile(crisp[:1], (50, 1, 1, 1)), crisp).value == 0
    assert sweep.unexplained(crisp, crisp).value == 0
    mean = np.broadcast_to(crisp.mean(0), crisp.shape)
    assert sweep.unexplained(mean, crisp).value == pytest.approx(1)


def codes_of(means: np.ndarray, labels: np.ndarray) -> Codes:
    return Codes(means, np.full_like(means, 0.01), means, labels)


def test_style_that_is_kept_and_lost() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 2000)
    slant = 5.0 * labels + 3 * rng.standard_normal(2000)
    mean = np.array([slant[labels == k].mean() for k in range(10)])[labels]
    assert style.lost(slant, slant, labels) == 0
    assert style.lost(slant, mean, labels) == pytest.approx(1)
    assert style.shared(slant, 0.5 * slant + 7, labels) == pytest.approx(1)
    between = mean + 3 * rng.standard_normal(2000)  # right about the class, and about nothing within it
    assert style.shared(slant, between, labels) < 0.01
    assert style.lost(slant, between, labels) == pytest.approx(2, abs=0.2)


def test_area_under_the_curve() -> None:
    score = np.random.default_rng(0).standard_normal(500)
    assert ambiguity.auc(score, score > 0.3) == 1
    assert ambiguity.auc(-score, score > 0.3) == 0
    assert ambiguity.auc(np.zeros(500), score > 0.3) == 0.5
    assert np.isnan(ambiguity.auc(score, np.ones(500, dtype=bool)))


def test_steps_go_to_other_codes() -> None:
    rng = np.random.default_rng(0)
    codes = codes_of(rng.standard_normal((300, 3)), np.zeros(300, dtype=int))
    start, ways = smoothness.steps(codes, 200)
    ends = start + ways
    assert start.shape == ends.shape == (200, 3)
    assert all(np.abs(codes.means - end).sum(1).min() < 1e-9 for end in ends)
    assert (np.linalg.norm(ways, axis=1) > 0).all()
    pictures = rng.random((400, 1, 4, 4))
    by_pairs = np.square(pictures[:200] - pictures[200:]).sum((1, 2, 3)).mean()
    assert smoothness.typical_distance(pictures) == pytest.approx(by_pairs, rel=0.1)


def test_correlations_of_codes() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal(1000)
    assert covariance.correlation_of_active(np.column_stack([one, -one, 1e-3 * one])) == pytest.approx(1)
    assert covariance.correlation_of_active(rng.standard_normal((1000, 2))) < 0.1
    assert np.isnan(covariance.correlation_of_active(np.column_stack([one, 0 * one])))
    tilted = np.tile(np.array([[4.0, 1.2], [1.2, 1.0]]), (5, 1, 1))
    codes = Codes(np.zeros((5, 2)), tilted, np.zeros((5, 2)), np.zeros(5, dtype=int))
    assert covariance.correlation_inside(codes).value == pytest.approx(0.6)


def test_spread_within_classes_has_no_scale() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 1000)
    centres = 3 * rng.standard_normal((5, 2))[labels]
    tight, loose = centres + 0.1 * rng.standard_normal((1000, 2)), centres + 5 * rng.standard_normal((1000, 2))
    assert downstream.spread_within(tight, labels) < 0.05 < 0.5 < downstream.spread_within(loose, labels) < 1
    assert downstream.spread_within(7 * tight + 3, labels) == pytest.approx(downstream.spread_within(tight, labels))


def test_a_network_learns_to_add() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 400)
    told, hidden = np.eye(10)[labels], np.zeros((400, 10))
    assert downstream.adding_accuracy(told, labels, told, labels).value > 0.9
    assert downstream.adding_accuracy(hidden, labels, hidden, labels).value < 0.2


def test_numbers_near_zero() -> None:
    codes = np.random.default_rng(0).standard_normal((1000, 4))
    dense, sparse = kinds.near_zero(codes), kinds.near_zero(codes * [1, 0, 0, 0])
    assert dense == pytest.approx(0.08, abs=0.02)
    assert sparse >= 0.75
    assert kinds.near_zero(9 * codes) == dense


def test_direction_of_a_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 300)
    means = np.array([[4.0, 0], [-4, 0], [0, 4]])[labels] + rng.standard_normal((900, 2))
    found = directions.direction(codes_of(means, labels), 0)
    assert np.linalg.norm(found) == pytest.approx(1)
    assert found[0] > 0.7


def test_gains_of_dimensions() -> None:
    assert labels.gains(over(labels.MANY_LABELS_DIMS, (40, 20, 15))).value == pytest.approx(0.25)
