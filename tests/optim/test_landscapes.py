"""Known landscapes: their constants against autograd, and what is said about where optimizers end."""

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2, ttest_1samp

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim import GD, SAM, BasinHopping, NiGGD, NiMGD, RandomSearch
from flatcausal.optim.landscapes import (
    HIMMELBLAU,
    SIX_HUMP_CAMEL,
    THREE_HUMP_CAMEL,
    StationaryDistribution,
    chi_square_test,
    stationary_distribution,
    total_variation,
)

LANDSCAPES = [HIMMELBLAU, THREE_HUMP_CAMEL, SIX_HUMP_CAMEL]
every_landscape = pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda landscape: landscape.name)


@every_landscape
def test_minima_values_and_hessians_are_those_of_autograd(landscape):
    def at(point):
        return landscape.losses(point[None])[0]

    for minimum, value, hessian in zip(landscape.minima, landscape.values, landscape.hessians, strict=True):
        point = torch.tensor(minimum)
        slope = torch.autograd.functional.jacobian(at, point)
        assert slope.abs().max() < 1e-8
        assert at(point).item() == pytest.approx(value, abs=1e-11)
        curvature = torch.autograd.functional.hessian(at, point).numpy()
        np.testing.assert_allclose(curvature, hessian, rtol=0, atol=1e-7)
        assert np.linalg.eigvalsh(hessian).min() > 0


def test_which_minima_are_flat_and_which_are_deep():
    assert np.ptp(HIMMELBLAU.values) == 0
    np.testing.assert_allclose(HIMMELBLAU.sharpness, [134.110, 108.000, 145.390, 204.500], atol=5e-4)
    assert THREE_HUMP_CAMEL.sharpness.argmin() == THREE_HUMP_CAMEL.values.argmin() == 0
    assert set(np.argsort(SIX_HUMP_CAMEL.sharpness)[:2]) == set(np.argsort(SIX_HUMP_CAMEL.values)[-2:])


@every_landscape
def test_basin_shares_are_those_of_a_grid(landscape):
    low_x, high_x, low_y, high_y = landscape.box
    # Middles of cells: no point lies on an axis of symmetry, from which descent leads to a saddle.
    u = (np.arange(60) + 0.5) / 60
    grid = np.stack(np.meshgrid(low_x + u * (high_x - low_x), low_y + u * (high_y - low_y)), axis=-1)
    reached = landscape.basins(grid.reshape(-1, 2))
    assert (reached >= 0).all()
    shares = np.bincount(reached, minlength=len(landscape.minima)) / len(reached)
    np.testing.assert_allclose(shares, landscape.basin_shares, rtol=0, atol=0.008)


@every_landscape
def test_minima_are_their_own_basins_and_far_away_is_none(landscape):
    points = np.concatenate([landscape.minima + 0.01, [[np.nan, 0.0], [np.inf, 1.0]]])
    assert landscape.basins(points).tolist() == [*range(len(landscape.minima)), -1, -1]


def test_descent_in_small_steps_ends_where_basins_say():
    result = stationary_distribution("gd", HIMMELBLAU, 500, 300, lr=1e-3, random_state=0)
    np.testing.assert_array_equal(result.reached, HIMMELBLAU.basins(result.starts))
    gaps = np.linalg.norm(result.ends - HIMMELBLAU.minima[result.reached], axis=1)
    assert np.quantile(gaps, 0.9) < 0.01  # some passed close by a saddle


@pytest.mark.parametrize(
    "recipe",
    [NiMGD(sigma=0.1), NiGGD(sigma=40.0), SAM(rho=0.75), BasinHopping(accept="metropolis"), RandomSearch()],
    ids=repr,
)
def test_a_run_does_not_depend_on_how_many_there_are(recipe):
    few, many = (
        stationary_distribution(recipe, HIMMELBLAU, n, 20, lr=0.005, random_state=3) for n in (20, 60)
    )
    np.testing.assert_array_equal(few.starts, many.starts[:20])
    np.testing.assert_array_equal(few.ends, many.ends[:20])
    other = stationary_distribution(recipe, HIMMELBLAU, 20, 20, lr=0.005, random_state=4)
    assert not np.array_equal(other.starts, few.starts)


def test_ends_keep_their_noise_and_are_polished_without_it_to_be_counted():
    result = stationary_distribution(NiGGD(sigma=40.0), HIMMELBLAU, 300, 200, lr=0.01, random_state=0)
    gaps = np.linalg.norm(result.ends - HIMMELBLAU.minima[result.reached], axis=1)
    assert np.median(gaps) > 0.01
    assert result.none_share == 0


@pytest.mark.parametrize("recipe", [NiGGD(sigma=80.0), NiMGD(sigma=0.4), SAM(rho=0.75), GD()], ids=repr)
def test_noise_and_sam_leave_basins_of_equal_depth_for_flatter_ones_and_gd_does_not(recipe):
    steps = 1000 // recipe.gradients_per_step
    result = stationary_distribution(recipe, HIMMELBLAU, 2000, steps, lr=0.005, random_state=1)
    settled = result.reached >= 0
    start, end = HIMMELBLAU.basins(result.starts)[settled], result.reached[settled]
    change = HIMMELBLAU.sharpness[end] - HIMMELBLAU.sharpness[start]
    if isinstance(recipe, GD):
        assert np.mean(change != 0) < 0.02  # at most where a step crosses the edge of a basin
    else:
        assert change.mean() < 0
        assert ttest_1samp(change, 0).pvalue < 0.05 / 13  # the example makes 13 such tests


def test_noise_leads_to_the_flat_and_deep_minimum_of_the_three_hump_camel():
    gd, noisy = (
        stationary_distribution(recipe, THREE_HUMP_CAMEL, 2000, 400, lr=0.002, random_state=seed)
        for seed, recipe in enumerate(["gd", NiMGD(sigma=0.1)])
    )
    assert noisy.shares[0] > gd.shares[0] + 0.05
    assert noisy.expected_sharpness < gd.expected_sharpness
    assert chi_square_test(gd, noisy).p_value < 1e-3


def test_runs_that_diverge_are_counted_in_none():
    result = stationary_distribution("gd", HIMMELBLAU, 100, 60, lr=0.5, random_state=0)
    assert result.none_share == 1.0
    assert np.isnan(result.expected_sharpness)
    assert result.shares.sum() == 0


def made(*counts, landscape=HIMMELBLAU):
    """A result with these counts, the last one none."""
    indices = [*range(len(counts) - 1), -1]
    reached = np.repeat(indices, counts)
    points = np.zeros((len(reached), 2))
    return StationaryDistribution(landscape, points, points, reached)


def test_summaries_of_a_made_up_result():
    result = made(10, 20, 30, 0, 40)
    assert result.counts.tolist() == [10, 20, 30, 0, 40]
    assert result.shares.tolist() == [0.1, 0.2, 0.3, 0.0]
    assert result.none_share == 0.4
    expected = (10 * 134.10958549 + 20 * 108.0 + 30 * 145.39044455) / 60
    assert result.expected_sharpness == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_intervals_are_wilson_s(confidence):
    result = made(0, 3, 57, 140, 0)
    for count, interval in zip(result.counts[:-1], result.intervals(confidence), strict=True):
        other = binomtest(int(count), 200).proportion_ci(confidence, method="wilson")
        np.testing.assert_allclose(interval, [other.low, other.high], rtol=0, atol=1e-12)


def test_distance_and_test_between_results():
    one, other = made(10, 20, 30, 40, 0), made(20, 20, 20, 20, 20)
    assert total_variation(one, other) == pytest.approx(0.3)
    assert total_variation(one, one) == 0
    assert total_variation(made(5, 0, 0, 0, 0), made(0, 0, 0, 0, 9)) == 1
    result = chi_square_test(one, other)
    table = np.stack([one.counts, other.counts])
    expected = table.sum(0) / 2
    statistic = ((table - expected) ** 2 / expected).sum()
    assert result.statistic == pytest.approx(statistic)
    assert result.degrees_of_freedom == 4
    assert result.p_value == pytest.approx(chi2.sf(statistic, 4))
    assert chi_square_test(one, one).p_value == 1.0
    assert chi_square_test(made(0, 5, 0, 0, 0), made(0, 7, 0, 0, 0)).p_value == 1.0
    assert chi_square_test(made(5, 5, 0, 0, 0), made(9, 1, 0, 0, 0)).degrees_of_freedom == 1


def test_under_the_hypothesis_p_values_are_uniform():
    generator = np.random.default_rng(0)
    draws = generator.multinomial(500, [0.25, 0.25, 0.26, 0.24, 0.0], size=(400, 2))
    p = np.array([chi_square_test(made(*a), made(*b)).p_value for a, b in draws])
    assert abs((p < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)
    assert abs((p < 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / 400)


def test_a_result_survives_a_pickle():
    result = pickle.loads(pickle.dumps(made(1, 2, 3, 4, 0)))
    assert total_variation(result, made(1, 2, 3, 4, 0)) == 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: stationary_distribution("gd", HIMMELBLAU, n_starts=0), "n_starts"),
        (lambda: stationary_distribution("gd", HIMMELBLAU, n_steps=-1), "n_steps"),
        (lambda: stationary_distribution("gd", "himmelblau"), "landscape must be .* got 'himmelblau'"),
        (lambda: made(1, 2, 3, 4, 0).intervals(1.0), "confidence"),
        (
            lambda: total_variation(made(1, 1, 1, 1, 0), made(1, 1, 1, 0, landscape=THREE_HUMP_CAMEL)),
            "Himmelblau; got three-hump",
        ),
    ],
)
def test_errors_name_what_is_wrong(make, match):
    with pytest.raises((ParameterError, ParameterTypeError), match=match):
        make()
