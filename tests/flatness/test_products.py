"""Hessian-vector products against explicit Hessians and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from flatcausal.exceptions import ParameterError
from flatcausal.flatness import fisher_rao_norm, hessian_top_eigenvalues, relative_flatness, sharpness
from flatcausal.flatness._probes import fixed_generators, normal
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import (
    Quadratic,
    bowl_loss,
    bowl_rows,
    classifier,
    data,
    flat_loss,
    labels,
    member_loss,
    mlp,
    regressor,
)
from tests.reference import curvature as twin

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def fitted():
    return regressor(2, n_d=2, n_a=2)


def columns():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def matrices(problem):
    """All members' Hessians by one product for each number, shape (K, P, P)."""
    products = Products(problem)
    n = problem.flat(problem.start).shape[1]
    unit = torch.eye(n, dtype=problem.params[0].dtype)
    return torch.stack([products(unit[i].expand(problem.n_members, n)) for i in range(n)], dim=2)


def vectors(problem):
    return normal(problem, fixed_generators(problem))


@pytest.mark.parametrize("batch_size", [None, 17])
def test_products_of_a_network_are_those_of_its_hessian(batch_size):
    net, (X, y) = mlp(), columns()
    loss, w, _ = flat_loss(net, MSE, X, y)
    with measuring(net, X, y, loss=MSE, batch_size=batch_size) as problem:
        (found,) = matrices(problem)
    np.testing.assert_allclose(found, twin.hessian(loss, w), atol=1e-12)


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_products_of_tabnet_are_those_of_its_hessian(fitted, bn):
    with measuring(fitted, *data(), bn=bn) as problem:
        found = matrices(problem)
    assert found.shape[1] <= 800
    for member in (0, 1):
        loss, w, _ = member_loss(fitted, member, *data(), train=bn == "train")
        expected = torch.autograd.functional.hessian(loss, w, vectorize=True)
        np.testing.assert_allclose(found[member], expected, atol=1e-10 * expected.abs().max())
        assert expected.abs().max() > 1e-2


def test_products_of_a_classifier_and_of_its_penalty():
    est = classifier(n_d=2, n_a=2)
    plain, penalised = [], []
    for flag, kept in ((False, plain), (True, penalised)):
        with measuring(est, *labels(), include_regularizer=flag) as problem:
            v = vectors(problem)
            kept.append(Products(problem)(v))
            loss, w, _ = member_loss(est, 1, *labels())
            slope = torch.func.grad(loss)
            expected = (slope(w + 1e-6 * v[1]) - slope(w - 1e-6 * v[1])) / 2e-6
        if not flag:
            np.testing.assert_allclose(plain[0][1], expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(plain[0], penalised[0])


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_products_of_tabnet_are_differences_of_gradients(fitted, bn):
    with measuring(fitted, *data(), bn=bn) as problem:
        v = vectors(problem)
        found = Products(problem)(v)
        step = problem.unflat(1e-6 * v)
        _, ahead = problem.gradients(problem.moved(step))
        _, behind = problem.gradients(problem.moved(step, -1.0))
        expected = (problem.flat(ahead) - problem.flat(behind)) / 2e-6
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.abs().max())


def test_finite_differences_of_a_whole_hessian(fitted):
    est = regressor(1, n_d=2, n_a=2, n_steps=1)
    loss, w, _ = member_loss(est, 0, *data())
    with measuring(est, *data()) as problem:
        (found,) = matrices(problem)
    expected = twin.hessian_by_differences(loss, w)
    np.testing.assert_allclose(found, expected, atol=1e-6 * expected.abs().max())


@pytest.mark.parametrize("batch_size", [1, 7, 59])
def test_batches_do_not_matter(fitted, batch_size):
    found = []
    for size in (None, batch_size):
        with measuring(fitted, *data(), batch_size=size) as problem:
            products, v = Products(problem), vectors(problem)
            found.append([products(v), products(v)])
            assert products.count == 2
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-12 * found[0][0].abs().max())
    assert torch.equal(found[0][0], found[0][1])  # the second from the graph that the first kept
    assert torch.equal(found[1][0], found[1][1])


@pytest.mark.parametrize("wanted", [None, 400])
def test_many_rows_go_in_several_passes_whose_graphs_are_kept_or_not(wanted):
    rows = np.random.default_rng(0)
    X, y = (torch.from_numpy(rows.normal(size=(1100, p))) for p in (3, 1))
    found = []
    for size in (1100, wanted):
        with measuring(mlp(), X, y, loss=MSE, batch_size=size) as problem:
            products, v = Products(problem), vectors(problem)
            found += [products(v), products(2 * v) / 2]
            assert (len(products._kept) == -(-1100 // problem.batch_size)) == (size != 400)
            assert problem.passes("products") == 2
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-9, atol=1e-12)


def test_members_do_not_mix():
    rng = np.random.default_rng(0)
    hessians = rng.normal(size=(3, 5, 5))
    hessians = hessians + hessians.transpose(0, 2, 1)
    with measuring(Quadratic(rng.normal(size=(3, 5)), hessians), *bowl_rows(), loss=bowl_loss) as problem:
        v = torch.zeros(3, 5, dtype=torch.float64)
        v[1] = torch.arange(5.0)
        found = Products(problem)(v)
    np.testing.assert_allclose(found[1], hessians[1] @ np.arange(5.0), rtol=1e-12)
    assert not found[[0, 2]].any()


def test_numbers_that_stand_still_have_no_curvature(fitted):
    with measuring(fitted, *data(), params="weights") as problem:
        moving = problem.flat(problem.ones(1.0)).bool()
        v = vectors(problem)
        found = Products(problem)(v)
        assert problem.n_parameters == int(moving[0].sum()) < moving.shape[1]
    assert not v[~moving].any()
    assert not found[~moving].any()
    assert found[moving].any()


def test_a_loss_linear_in_the_weights_has_no_curvature():
    def linear(output, y):
        return output.mean()

    with measuring(nn.Linear(3, 1), *columns(), loss=linear) as problem:
        assert not Products(problem)(vectors(problem)).any()


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        return 3 * slope * ctx.saved_tensors[0] ** 2


@pytest.mark.parametrize(
    "loss",
    [lambda z, y: Cube.apply(z - y).mean(), lambda z, y: Cube.apply(z - y).square().mean()],
    ids=["last", "inside"],
)
def test_an_operation_that_torch_would_leave_out_in_silence_is_named(loss):
    for measure in (hessian_top_eigenvalues, relative_flatness, fisher_rao_norm):
        with pytest.raises(
            ParameterError, match=r"uses Cube, whose backward is once_differentiable.*write it"
        ):
            measure(mlp(), *columns(), loss=loss)
    with pytest.warns(UserWarning, match="Cube.*a random start takes the place"):
        found = sharpness(mlp(), *columns(), "l2", loss=loss, random_state=0)
    assert found.value[0] > 0


def test_second_derivatives_that_are_not_finite_name_member_and_batch():
    class Cusp(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, X):
            return self.w[0].square() + (self.w[1] * X + (1 - X)) ** 1.5

    X = torch.zeros(60, 1)
    X[41] = 1.0
    with (
        measuring(Cusp(), X, X, loss=lambda output, y: output.mean(), batch_size=20) as problem,
        pytest.raises(FloatingPointError, match=r"member 0 .* batch 2 \(rows 40 to 59"),
    ):
        Products(problem)(vectors(problem))


@pytest.mark.filterwarnings("ignore")
def test_curvlinops_agrees():
    curvlinops = pytest.importorskip("curvlinops")
    net, (X, y) = mlp(), columns()
    batches = [(X[:13], y[:13]), (X[13:], y[13:])]
    oracle = curvlinops.HessianLinearOperator(net, MSE, list(net.parameters()), batches)
    with measuring(net, X, y, loss=MSE) as problem:
        v = vectors(problem)
        np.testing.assert_allclose(Products(problem)(v)[0], oracle @ v[0], rtol=1e-9, atol=1e-12)
