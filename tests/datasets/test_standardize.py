"""Ways to scale a model, against exact covariances where it is linear."""

from __future__ import annotations

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._uumc import _draw_weights
from tests.reference import structural as twin

SCALINGS = ["r2", "internal", "uumc", "posthoc", None]


def _linear(standardize, seed, **parameters):
    return SyntheticDAGDataset(
        n_nodes=8, mechanisms="linear", standardize=standardize, random_state=seed, **parameters
    )


@pytest.mark.parametrize("standardize", SCALINGS)
def test_linear_covariance_is_the_exact_one(standardize):
    for seed in range(3):
        model = _linear(standardize, seed)._blueprint.model
        exact = twin.linear_covariance(model)
        values = model.evaluate(model.draw_noise(60_000, np.random.default_rng(seed)))
        sds = np.sqrt(np.diag(exact))
        # sd of an entry of a correlation-scaled covariance is at most sqrt(2 / n); 36 entries, 15 models
        assert (np.abs(np.cov(values) - exact) / np.outer(sds, sds)).max() < 5.5 * np.sqrt(2 / 60_000)
        if standardize == "uumc":
            np.testing.assert_allclose(sds, 1.0, atol=1e-12)
        elif standardize is not None:
            np.testing.assert_allclose(sds, 1.0, atol=0.04)


def test_raw_models_have_unit_noise_and_growing_variance():
    model = _linear(None, 0, expected_degree=6)._blueprint.model
    assert all(assignment.noise_scale == 1.0 for assignment in model.assignments)
    assert np.diag(twin.linear_covariance(model)).max() > 10
    weights = twin.linear_weights(model)
    assert np.abs(weights[weights != 0]).min() >= 0.5
    assert np.abs(weights).max() <= 1.5


def test_posthoc_is_the_raw_model_standardised_when_shown():
    for mechanisms in ("linear", ("mlp", "rff", "tree", "post_nonlinear")):
        raw, shown = (
            SyntheticDAGDataset(
                n_nodes=8, mechanisms=mechanisms, standardize=how, random_state=1
            )._blueprint.model
            for how in (None, "posthoc")
        )
        noise = raw.draw_noise(5000, np.random.default_rng(0))
        a, b = raw.evaluate(noise), shown.evaluate(noise)
        roots = [not assignment.parents for assignment in raw.assignments]
        np.testing.assert_array_equal(a[roots], b[roots])
        for left, right in zip(a, b, strict=True):
            assert np.corrcoef(left, right)[0, 1] == pytest.approx(1.0, abs=1e-9)
            assert right.std() == pytest.approx(1.0, abs=0.06)


def test_internal_is_the_raw_equation_of_standardised_parents():
    for noise_mode in ("additive", "multiplicative", "heteroscedastic"):
        model = _linear("internal", 2, noise_mode=noise_mode)._blueprint.model
        values = model.evaluate(model.draw_noise(20_000, np.random.default_rng(0)))
        for node, assignment in enumerate(model.assignments):
            assert values[node].mean() == pytest.approx(0, abs=0.04)
            assert values[node].std() == pytest.approx(1, abs=0.03)
            if assignment.parents:
                # x = (w . x_pa + n - mu) / sigma with n of variance 1 and |w| in [0.5, 1.5]
                inputs = values[list(assignment.parents)]
                sigma = 1 / assignment.signal_scale
                noise = values[node] * sigma - assignment.mechanism(inputs)
                assert noise.var() == pytest.approx(1, abs=0.1)
                assert np.abs(assignment.mechanism.weights).min() >= 0.5


def test_interventions_speak_the_scale_that_is_shown():
    ds = _linear("posthoc", 0, n_distractors=0)
    effects = twin.total_effects(ds._blueprint.model)
    target = ds._blueprint.target
    for name, node in ds._columns.node_of.items():
        low = ds.sample(20, do={name: -1.0}, random_state=1)
        high = ds.sample(20, do={name: 2.0}, random_state=1)
        assert (high.X[:, ds.feature_names_.index(name)] == 2.0).all()
        np.testing.assert_allclose(high.y - low.y, 3.0 * effects[node, target], atol=1e-12)


def test_uumc_weights_are_those_of_the_formula_and_keep_variance_one():
    rng = np.random.default_rng(0)
    correlation = np.array([[1.0, 0.6, -0.2], [0.6, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    for _ in range(50):
        weights, noise_scale = _draw_weights(0, correlation, rng)
        signal = weights @ correlation @ weights
        assert signal + noise_scale**2 == pytest.approx(1)
        assert (weights**2).min() >= 0.025 * signal


def test_uumc_finds_weights_for_many_correlated_parents():
    for seed in range(4):
        ds = SyntheticDAGDataset(
            25, 0, expected_degree=24, mechanisms="linear", standardize="uumc", random_state=seed
        )
        covariance = twin.linear_covariance(ds._blueprint.model)
        np.testing.assert_allclose(np.diag(covariance), 1.0, atol=1e-9)


def test_uumc_explains_a_uniform_share_with_one_parent():
    # P = 1, R = 1: a² = r² with r = U, so that |a| is uniform.
    rng = np.random.default_rng(0)
    drawn = np.abs([_draw_weights(0, np.eye(1), rng)[0][0] for _ in range(4000)])
    assert np.abs(np.quantile(drawn, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.03


@pytest.mark.parametrize("standardize", ["internal", "posthoc", None])
@pytest.mark.parametrize("noise_mode", ["additive", "multiplicative", "heteroscedastic", "functional"])
def test_all_families_in_all_modes_and_scalings(standardize, noise_mode):
    ds = SyntheticDAGDataset(
        n_nodes=9,
        mechanisms=("linear", "mlp", "rff", "polynomial", "tree", "mixture", "post_nonlinear"),
        noise_mode=noise_mode,
        standardize=standardize,
        n_calibration=5000,
        random_state=8,
    )
    model = ds._blueprint.model
    values = model.evaluate(model.draw_noise(10_000, np.random.default_rng(0)))
    assert np.isfinite(values).all()
    if standardize is not None:
        np.testing.assert_allclose(values.std(axis=1), 1.0, atol=0.1)
        np.testing.assert_allclose(values.mean(axis=1), 0.0, atol=0.1)


def test_wide_models_are_calibrated_on_fewer_rows():
    from flatcausal.datasets._draw import ModelLaw

    law = ModelLaw(("linear",), "normal", "additive", "r2", (0.3, 0.9), None)
    assert [law.calibration_rows(n) for n in (2, 200, 400, 1000, 5000)] == [
        20_000,
        20_000,
        10_000,
        5_000,
        5_000,
    ]


@pytest.mark.parametrize(("n_calibration", "error"), [(5_000, 0.01), (20_000, 0.005)])
def test_the_error_of_calibration_is_as_documented(n_calibration, error):
    ratios = []
    for seed in range(12):
        model = SyntheticDAGDataset(
            n_nodes=8, mechanisms="linear", n_calibration=n_calibration, random_state=seed
        )._blueprint.model
        sds = np.sqrt(np.diag(twin.linear_covariance(model)))
        ratios.extend(sd for sd, a in zip(sds, model.assignments, strict=True) if a.parents)
    # Only the signal's sd is estimated, so the documented error bounds that of the node.
    assert np.sqrt(np.mean((np.array(ratios) - 1) ** 2)) < error
