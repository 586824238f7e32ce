"""Eigenvalues, traces, densities and local entropies against explicit Hessians and known spectra."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

from flatcausal.exceptions import ParameterError
from flatcausal.flatness import (
    flatness_report,
    hessian_top_eigenvalues,
    hessian_trace,
    local_entropy,
    spectral_density,
)
from flatcausal.flatness._eigenvalues import eigenpairs
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import (
    Quadratic,
    bowl_loss,
    bowl_rows,
    data,
    filled,
    flat_loss,
    member_loss,
    mlp,
    normalized_net,
    regressor,
)
from tests.reference import curvature as twin

MSE = nn.MSELoss()
BOWL = {"loss": bowl_loss}


@pytest.fixture(scope="module")
def fitted():
    return regressor(3, n_d=2, n_a=2)


@pytest.fixture(scope="module")
def spectra(fitted):
    """Of the members, by explicit Hessians."""
    losses = [member_loss(fitted, k, *data())[:2] for k in range(3)]
    found = [torch.autograd.functional.hessian(loss, w, vectorize=True) for loss, w in losses]
    return torch.stack([torch.linalg.eigvalsh(h) for h in found])


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def bowls(spectra, seed=0):
    """Quadratics with these eigenvalues in random directions; one member a row."""
    spectra = np.atleast_2d(np.asarray(spectra, dtype=float))
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(spectra.shape[1],) * 2))[0] for _ in spectra]
    hessians = np.stack([q * s @ q.T for q, s in zip(turns, spectra, strict=True)])
    return Quadratic(rng.normal(size=spectra.shape), (hessians + hessians.transpose(0, 2, 1)) / 2)


# ---- eigenvalues


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_eigenvalues_of_tabnet_are_those_of_its_hessian(fitted, spectra, which):
    result = hessian_top_eigenvalues(fitted, *data(), k=3, which=which, tol=1e-8)
    key = {"largest": -spectra, "smallest": spectra, "magnitude": -spectra.abs()}[which]
    expected = spectra.gather(1, key.argsort(dim=1))[:, :3]
    np.testing.assert_allclose(result.value, expected, rtol=1e-8)
    assert result.converged.all()
    assert (result.residual <= 1e-8 * np.abs(result.value)).all()
    assert result.value.shape == (3, 3)
    assert result.n_products < 300


def test_the_default_tolerance_is_enough_for_six_digits(fitted, spectra):
    result = hessian_top_eigenvalues(fitted, *data())
    np.testing.assert_allclose(result.value, spectra[:, -1:], rtol=1e-5)
    assert 10 <= result.n_products <= 40


def test_members_together_are_as_scipy_finds_them_apart(fitted):
    with measuring(fitted, *data()) as problem:
        products = Products(problem)
        n = problem.n_parameters
        found = eigenpairs(products, 2, tol=1e-9).values
        together = products.count
        for k in range(3):

            def product(v, k=k):
                whole = torch.zeros(3, n, dtype=torch.float64)
                whole[k] = torch.as_tensor(v.ravel())
                return products(whole)[k].numpy()

            start = np.random.default_rng(0).normal(size=n)
            expected = eigsh(
                LinearOperator((n, n), product, dtype=float), k=2, which="LA", v0=start, tol=1e-9, ncv=20
            )
            np.testing.assert_allclose(found[k], expected[0][::-1], rtol=1e-8)
    assert together < products.count - together


def test_vectors_are_eigenvectors_and_residuals_are_theirs():
    spectrum = np.concatenate([np.linspace(0, 1, 57), [1.1, 1.15, 1.2]])
    with measuring(bowls([spectrum, spectrum / 2]), *bowl_rows(), **BOWL) as problem:
        products = Products(problem)
        pairs = eigenpairs(products, 3, tol=1e-2)
        images = torch.stack([products(pairs.vectors[:, j]) for j in range(3)], dim=1)
    lengths = (images - pairs.values[:, :, None] * pairs.vectors).norm(dim=2)
    np.testing.assert_allclose(lengths, pairs.residual, rtol=1e-6, atol=1e-12)
    gram = pairs.vectors @ pairs.vectors.mT
    np.testing.assert_allclose(gram, torch.eye(3).expand(2, 3, 3), atol=1e-12)
    assert (pairs.residual[0] > 1e-10).any()  # stopped early


@given(
    st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=1, max_size=60),
    st.integers(1, 4),
    st.sampled_from(["largest", "smallest", "magnitude"]),
)
@example([0.0, 0.0, 6.0, 5.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 6.0], 1, "largest")  # a residual of 1e-13
@example([3e-14, 2e-14, 1e-14, 0.0], 2, "largest")
def test_eigenvalues_of_any_bowl(spectrum, k, which):
    k, spectrum = min(k, len(spectrum)), np.asarray(spectrum)
    result = hessian_top_eigenvalues(bowls(spectrum), *bowl_rows(), k, which, tol=1e-9, **BOWL)
    key = {"largest": -spectrum, "smallest": spectrum, "magnitude": -np.abs(spectrum)}[which]
    expected = spectrum[np.argsort(key, kind="stable")][:k]
    if which == "magnitude":  # of two of one size either may come first
        result_value, expected = np.abs(result.value[0]), np.abs(expected)
    else:
        result_value = result.value[0]
    scale = np.abs(spectrum).max()
    np.testing.assert_allclose(result_value, expected, atol=1e-7 * scale, rtol=0)


def test_eigenvalues_that_occur_often_are_found_as_often():
    spectrum = np.zeros(50)
    spectrum[:3] = 4.0
    result = hessian_top_eigenvalues(bowls(spectrum), *bowl_rows(), k=4, **BOWL)
    np.testing.assert_allclose(result.value, [[4.0, 4.0, 4.0, 0.0]], atol=1e-8)


def test_restarts_reach_close_eigenvalues():
    spectrum = np.linspace(0, 1, 400) ** 0.5
    result = hessian_top_eigenvalues(bowls(spectrum), *bowl_rows(), k=2, tol=1e-6, max_products=600, **BOWL)
    np.testing.assert_allclose(result.value[0], spectrum[::-1][:2], rtol=1e-9)
    assert result.n_products > 40
    assert result.converged[0]
    short = hessian_top_eigenvalues(bowls(spectrum), *bowl_rows(), k=2, tol=1e-6, max_products=25, **BOWL)
    assert (short.n_products, bool(short.converged[0])) == (25, False)
    assert abs(short.value[0, 0] - 1.0) <= short.residual[0, 0]


def test_a_member_is_read_when_it_converges_by_itself():
    easy, hard = np.linspace(0, 0.5, 100), np.linspace(0, 1, 100)
    easy[0] = 2.0
    alone = hessian_top_eigenvalues(bowls([easy, easy]), *bowl_rows(), **BOWL)
    beside = hessian_top_eigenvalues(bowls([easy, hard]), *bowl_rows(), **BOWL)
    assert beside.n_products > alone.n_products
    assert beside.value[0] == alone.value[0]
    assert beside.residual[0] == alone.residual[0]


def test_a_seed_plays_no_part_in_eigenvalues(fitted):
    first, second = (hessian_top_eigenvalues(fitted, *data(), random_state=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.value, second.value)


def test_eigenvalues_move_with_the_scale_before_a_normalisation():
    values = []
    for factor in (1.0, 5.0):
        net = normalized_net()
        with torch.no_grad():
            net[0].weight.mul_(factor)
        settings = {"loss": MSE, "bn": "recalibrated", "params": lambda name: name == "0.weight"}
        result = hessian_top_eigenvalues(net, *tensors(), tol=1e-8, **settings)
        values.append((result.loss[0], result.value[0, 0]))
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-9)
    assert values[0][1] == pytest.approx(25 * values[1][1], rel=1e-6)


# ---- the two masks


WIDE = data(60, 8)


@pytest.fixture(scope="module")
def by_mask():
    """Fits whose masks have zeros, where the public entmax has no second derivative."""
    small = {"n_d": 2, "n_a": 2, "n_shared": 1, "n_independent": 1, "lr": 0.05}
    fits = {name: regressor(2, **small, mask_type=name) for name in ("sparsemax", "entmax")}
    for est in fits.values():
        est.fit(*WIDE)
        masks = est.net_.module_.explain(torch.from_numpy(WIDE[0]))
        assert (masks == 0).any(dim=2).any(dim=1).all()
        assert est.net_.module_.layout.n_parameters <= 800
    return fits


@pytest.mark.parametrize("mask_type", ["sparsemax", "entmax"])
@pytest.mark.parametrize("train", [False, True])
def test_hessians_of_masks_are_differences_of_gradients(by_mask, mask_type, train):
    loss, w, _ = member_loss(by_mask[mask_type], 0, *WIDE, train=train)
    hessian = torch.autograd.functional.hessian(loss, w, vectorize=True)
    assert hessian.isfinite().all()
    scale = hessian.abs().max()
    assert scale > 0.1
    np.testing.assert_allclose(hessian, twin.hessian_by_differences(loss, w), atol=1e-6 * scale)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12 * scale)


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_eigenvalues_of_tabnet_with_entmax_are_those_of_its_hessian(by_mask, bn):
    est = by_mask["entmax"]
    result = hessian_top_eigenvalues(est, *WIDE, k=2, bn=bn, tol=1e-8)
    for member in (0, 1):
        loss, w, _ = member_loss(est, member, *WIDE, train=bn == "train")
        spectrum = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, w, vectorize=True))
        np.testing.assert_allclose(result.value[member], spectrum.flip(0)[:2], rtol=1e-8)
    assert result.converged.all()


# ---- trace


def test_the_trace_of_tabnet_is_that_of_its_hessian(fitted, spectra):
    result = hessian_trace(fitted, *data(), tol=0.2, random_state=0)
    expected = spectra.sum(1).numpy()
    assert (np.abs(result.value - expected) < 4 * result.standard_error).all()
    assert (result.converged == (result.standard_error <= 0.2 * np.abs(result.value))).all()
    assert result.n_products == result.details["n_probes"].max()
    many = hessian_trace(fitted, *data(), tol=1e-4, max_products=250, random_state=0)
    assert (np.abs(many.value - expected) < 4 * many.standard_error).all()
    assert (many.standard_error < result.standard_error).all()


def test_the_trace_of_a_diagonal_needs_no_second_probe():
    H = np.diag([1.0, 2.0, -0.5])[None]
    result = hessian_trace(Quadratic(np.ones((1, 3)), H), *bowl_rows(), **BOWL)
    assert result.value[0] == pytest.approx(2.5, rel=1e-12)
    assert result.n_products == 30


def test_standard_errors_of_traces_are_true():
    spectrum = np.linspace(0.5, 1.5, 30)
    models = bowls([spectrum] * 100)
    result = hessian_trace(models, *bowl_rows(), tol=1e-9, max_products=40, random_state=0, **BOWL)
    z = (result.value - spectrum.sum()) / result.standard_error
    assert 0.8 < z.std() < 1.3
    assert not result.converged.any()


def test_members_take_the_probes_that_they_need():
    easy, hard = np.linspace(0.9, 1.1, 40), np.linspace(-1, 1.2, 40)
    settings = {"max_products": 60, "random_state": 0, **BOWL}
    alone = hessian_trace(bowls([easy, easy]), *bowl_rows(), **settings)
    result = hessian_trace(bowls([easy, hard]), *bowl_rows(), **settings)
    assert (result.value[0], result.standard_error[0]) == (alone.value[0], alone.standard_error[0])
    assert result.details["n_probes"].tolist() == [30, 60]
    assert result.converged.tolist() == [True, False]


# ---- density and local entropy


def test_moments_of_the_density_are_those_of_the_spectrum(fitted, spectra):
    result = spectral_density(fitted, *data(), n_runs=6, n_steps=30, random_state=0)
    for p in range(4):
        expected = (spectra ** (p + 1)).mean(1).numpy()
        distance = np.abs(result.details["moments"][:, p] - expected)
        assert (distance < 4 * result.details["moments_error"][:, p]).all()
    areas = np.trapezoid(result.value, result.details["grid"], axis=1)
    np.testing.assert_allclose(areas, 1.0, rtol=1e-3)
    np.testing.assert_allclose(result.details["weights"].sum(2), 1.0, rtol=1e-12)
    nodes = result.details["nodes"]
    np.testing.assert_allclose(nodes.max((1, 2)), spectra[:, -1], rtol=1e-6)
    assert result.n_products == 180
    assert result.value.shape == result.standard_error.shape == (3, 1000)


def test_the_density_is_that_of_the_eigenvalues():
    spectrum = np.concatenate([np.zeros(80), np.full(15, 1.0), np.full(5, 4.0)])
    result = spectral_density(
        bowls(spectrum), *bowl_rows(), n_runs=40, n_steps=3, sigma=0.1, random_state=0, **BOWL
    )
    grid = torch.as_tensor(result.details["grid"][0])
    expected = twin.density(torch.as_tensor(spectrum), grid, 0.1).numpy()
    distance = np.abs(result.value[0] - expected)
    assert (distance <= 4 * result.standard_error[0] + 1e-9).mean() > 0.99
    assert result.value[0].max() == pytest.approx(expected.max(), rel=0.05)


def test_a_span_that_is_used_up_adds_nothing():
    spectrum = np.concatenate([np.zeros(20), np.full(10, 2.0)])
    result = spectral_density(bowls(spectrum), *bowl_rows(), n_steps=12, random_state=0, **BOWL)
    nodes, weights = result.details["nodes"], result.details["weights"]
    assert np.isfinite(nodes).all()
    near = (np.abs(nodes) < 1e-9) | (np.abs(nodes - 2) < 1e-9)
    assert weights[~near].sum() < 1e-12
    np.testing.assert_allclose(result.details["moments"][0, 3], 8 * result.details["moments"][0, 0])


def test_local_entropy_of_tabnet_is_that_of_its_spectrum(fitted, spectra):
    result = local_entropy(fitted, *data(), gamma=10.0, n_runs=4, random_state=0)
    expected = [twin.log_volume(s, 60, 10.0) for s in spectra]
    volume = result.details["volume"]
    assert (np.abs(volume - expected) < 4 * result.standard_error).all()
    np.testing.assert_allclose(volume, expected, rtol=0.25)
    np.testing.assert_allclose(result.value, -60 * result.loss - volume, rtol=1e-12)
    flatter = local_entropy(fitted, *data(), gamma=100.0, n_runs=4, random_state=0)
    assert (flatter.details["volume"] < volume).all()


def test_local_entropy_of_a_bowl_is_its_integral():
    H = np.diag([0.5, 3.0])[None]
    model = Quadratic(np.zeros((1, 2)), H)  # at its minimum
    result = local_entropy(model, *bowl_rows(), gamma=2.0, random_state=0, **BOWL)
    line = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    exponent = -(8 * H[0, [0, 1], [0, 1]] / 2 + 2.0 / 2)
    integral = sum(math.log(torch.trapezoid((e * line**2).exp(), line)) for e in exponent)
    assert result.value[0] + result.details["constant"][0] == pytest.approx(integral, rel=1e-9)


# ---- what all of them promise


def test_a_loss_without_finite_second_derivatives_is_an_error():
    model = filled(nn.Linear(1, 1, bias=False), scale=0.0)

    def cusp(output, y):
        return (output.abs() ** 1.5 + output.square()).mean()

    for measure in (hessian_top_eigenvalues, hessian_trace, spectral_density, local_entropy):
        with pytest.raises(FloatingPointError, match="second derivatives of member 0"):
            measure(model, torch.ones(4, 1), torch.ones(4, 1), loss=cusp)


def test_single_precision_is_good_for_five_digits(fitted):
    double, single = (
        hessian_top_eigenvalues(fitted, *data(), dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    np.testing.assert_allclose(single.value, double.value, rtol=1e-4)
    assert single.dtype == "float32"
    assert single.converged.all()


def test_the_report_has_the_curvature_of_each_member(fitted, spectra):
    names = ["hessian_top_eigenvalue", "local_entropy"]
    report = flatness_report(fitted, *data(), names, random_state=0)
    assert report["measure"].tolist() == [name for name in names for _ in range(3)]
    np.testing.assert_allclose(report["value"][:3], spectra[:, -1], rtol=1e-5)
    assert not report["survives_rescaling"].any()


@pytest.mark.parametrize(
    ("measure", "arguments", "match"),
    [
        (hessian_top_eigenvalues, {"k": 0}, "k must be at least 1"),
        (hessian_top_eigenvalues, {"k": 3}, "k=3 eigenvalues are more than the 2 numbers"),
        (hessian_top_eigenvalues, {"which": "LA"}, "which must be one of 'largest'"),
        (hessian_top_eigenvalues, {"tol": 0.0}, "tol"),
        (hessian_top_eigenvalues, {"ncv": 2}, "ncv must be at least 3"),
        (hessian_trace, {"method": "hutch"}, "method must be one of 'hutchinson'"),
        (hessian_trace, {"max_products": 10}, "max_products must be at least 30"),
        (hessian_trace, {"tol": -1.0}, "tol"),
        (spectral_density, {"n_runs": 1}, "n_runs must be at least 2"),
        (spectral_density, {"n_steps": 1}, "n_steps must be at least 2"),
        (spectral_density, {"sigma": 0.0}, "sigma"),
        (spectral_density, {"n_points": 1}, "n_points"),
        (spectral_density, {"engine": "scipy"}, "engine must be one of 'flatcausal'"),
        (local_entropy, {"gamma": 0.0}, "gamma"),
        (local_entropy, {"n_runs": 1}, "n_runs"),
    ],
)
def test_arguments(measure, arguments, match):
    with pytest.raises(ParameterError, match=match):
        measure(bowls([1.0, 2.0]), *bowl_rows(), **BOWL, **arguments)


def test_a_network_of_one_member_is_measured_like_any_other():
    net, (X, y) = mlp(), tensors()
    loss, w, _ = flat_loss(net, MSE, X, y)
    spectrum = torch.linalg.eigvalsh(twin.hessian(loss, w))
    result = hessian_top_eigenvalues(net, X, y, k=2, tol=1e-8, loss=MSE)
    np.testing.assert_allclose(result.value[0], spectrum.flip(0)[:2], rtol=1e-9)
    trace = hessian_trace(net, X, y, loss=MSE, random_state=0)
    assert abs(trace.value[0] - spectrum.sum().item()) < 4 * trace.standard_error[0]
