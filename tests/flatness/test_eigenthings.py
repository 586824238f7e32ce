"""The optional package's estimators on this package's products."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.flatness import hessian_top_eigenvalues, hessian_trace, spectral_density
from flatcausal.flatness._eigenthings import _operator
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import data, member_loss, regressor


@pytest.fixture(scope="module")
def eigenthings():
    return pytest.importorskip("hessian_eigenthings")


@pytest.fixture(scope="module")
def fitted():
    return regressor(2, n_d=2, n_a=2)


def test_hutch_plus_plus_is_closer_than_its_probes_alone(eigenthings, fitted):
    losses = [member_loss(fitted, k, *data())[:2] for k in range(2)]
    exact = [torch.autograd.functional.hessian(*pair, vectorize=True).trace().item() for pair in losses]
    probes = hessian_trace(fitted, *data(), max_products=60, random_state=0)
    found = hessian_trace(fitted, *data(), method="hutch++", max_products=60, random_state=0)
    assert (np.abs(found.value - exact) < 5 * found.standard_error).all()
    assert (found.standard_error < probes.standard_error).all()
    assert found.n_products == 2 * 60
    assert found.details["n_probes"].tolist() == [20, 20]
    again = hessian_trace(fitted, *data(), method="hutch++", max_products=60, random_state=0)
    np.testing.assert_array_equal(found.value, again.value)


def test_both_engines_see_one_spectrum(eigenthings, fitted):
    own, theirs = (
        spectral_density(fitted, *data(), n_runs=6, n_steps=12, engine=engine, random_state=0)
        for engine in ("flatcausal", "hessian-eigenthings")
    )
    np.testing.assert_allclose(
        own.details["nodes"].max((1, 2)), theirs.details["nodes"].max((1, 2)), rtol=1e-3
    )
    spread = np.hypot(own.details["moments_error"], theirs.details["moments_error"])
    assert (np.abs(own.details["moments"] - theirs.details["moments"]) < 4 * spread).all()
    np.testing.assert_allclose(theirs.details["weights"].sum(2), 1.0, rtol=1e-9)


def test_its_lanczos_agrees_where_only_some_numbers_move(eigenthings, fitted):
    own = hessian_top_eigenvalues(fitted, *data(), params="weights", tol=1e-8)
    with measuring(fitted, *data(), params="weights") as problem:
        products = Products(problem)
        operator, seed = _operator(eigenthings, products, 1)
        assert operator.size == problem.n_parameters
        theirs = eigenthings.lanczos(
            operator, k=1, max_iter=60, which="LA", reorthogonalize=True, seed=seed, tol=1e-8
        )
    assert theirs.converged.all()
    assert own.value[1, 0] == pytest.approx(theirs.eigenvalues[0].item(), rel=1e-8)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hessian_eigenthings", None)
    X = torch.ones(4, 1)
    for measure, how in (
        (hessian_trace, {"method": "hutch++"}),
        (spectral_density, {"engine": "hessian-eigenthings"}),
    ):
        with pytest.raises(ImportError, match=r"flatcausal\[curvature\]"):
            measure(nn.Linear(1, 1), X, X, loss=nn.MSELoss(), **how)
