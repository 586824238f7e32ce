"""Where ascents start: along the gradient, the most curved direction, and at random."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.flatness import sharpness
from tests.flatness.models import Quadratic, bowl_loss, bowl_rows, data, mlp, regressor

MSE = nn.MSELoss()
N = 60


def rotated(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(N, N, dtype=torch.float64, generator=generator))
    return basis @ torch.diag(eigenvalues) @ basis.T, basis


def near_ties():
    """One direction a little more curved than all others, which an ascent from elsewhere hardly finds."""
    eigenvalues = torch.full((N,), 0.95, dtype=torch.float64)
    eigenvalues[0] = 1.0
    return eigenvalues


def bottom_at(w, hessian):
    """A bowl whose lowest point is w."""
    return Quadratic(w[None], hessian[None], slopes=-(hessian @ w)[None])


def worst(model, kind, **settings):
    rows = {"loss": bowl_loss, "random_state": 0, "params": lambda name: name == "w"}
    return sharpness(model, *bowl_rows(), kind, **{**rows, **settings})


def test_at_the_bottom_the_l2_worst_case_is_the_top_eigenvalue_where_chance_does_not_find_it():
    hessian, _ = rotated(near_ties())
    model = bottom_at(torch.ones(N, dtype=torch.float64), hessian)
    result = worst(model, "l2", rho=0.1)
    assert result.value[0] == pytest.approx(0.1**2 / 2, rel=1e-9)
    assert result.converged[0]
    assert result.details["curved_start"].tolist() == [True]
    by_chance = worst(model, "l2", rho=0.1, n_restarts=1)
    assert by_chance.value[0] < 0.98 * 0.1**2 / 2
    assert (by_chance.n_products, result.n_products) == (0, 10)
    assert (result.n_gradients, result.n_losses) == (61, 5)


def test_adaptive_worst_cases_start_along_the_curvature_in_units_of_the_weights():
    scaled, _ = rotated(near_ties())
    w = torch.logspace(-2, 1, N, dtype=torch.float64)
    hessian = scaled / w[:, None] / w  # so that C H C is the first matrix
    result = worst(bottom_at(w, hessian), "adaptive_l2", rho=0.1)
    assert result.value[0] == pytest.approx(0.1**2 / 2, rel=1e-9)
    plain = worst(bottom_at(w, hessian), "adaptive_l2", rho=0.1, n_restarts=1)
    assert plain.value[0] < 0.98 * 0.1**2 / 2


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_curved_start_goes_the_way_in_which_the_loss_is_higher(sign):
    eigenvalues = torch.full((N,), 1e-3, dtype=torch.float64)
    eigenvalues[0] = 4.0
    hessian, basis = rotated(eigenvalues)
    slope = sign * 0.005 * basis[:, 0] + 0.01 * basis[:, 1]
    model = Quadratic(torch.zeros(1, N), hessian[None], slopes=slope[None])
    found = worst(model, "l2", rho=0.1, n_restarts=2, n_steps=1)
    assert found.value[0] >= (0.1**2 / 2 * 4 + 0.1 * 0.005) * (1 - 1e-9)


def test_a_slope_across_the_most_curved_direction_does_not_hide_it():
    eigenvalues = torch.cat([torch.tensor([5.0]), torch.full((N - 1,), 0.1)]).double()
    hessian, basis = rotated(eigenvalues)
    model = Quadratic(torch.zeros(1, N), hessian[None], slopes=0.01 * basis[None, :, 1])
    highest = torch.linspace(0, np.pi, 100_001, dtype=torch.float64)  # on the circle of two directions
    expected = (
        0.1**2 / 2 * (5 * highest.cos() ** 2 + 0.1 * highest.sin() ** 2) + 0.001 * highest.sin()
    ).max()
    along_the_gradient, with_the_curved = (
        worst(model, "l2", rho=0.1, n_restarts=n, n_steps=8) for n in (1, 2)
    )
    assert along_the_gradient.value[0] < 0.1 * expected
    assert with_the_curved.value[0] == pytest.approx(expected.item(), rel=1e-6)


def test_box_kinds_start_at_the_corner_of_the_most_curved_direction():
    signs = torch.where(torch.arange(N) % 3 == 0, -1.0, 1.0).double()
    hessian = 0.01 * torch.eye(N, dtype=torch.float64) + torch.outer(signs, signs) / N
    found = worst(bottom_at(torch.ones(N, dtype=torch.float64), hessian), "linf", rho=0.1, n_restarts=2)
    assert found.value[0] == pytest.approx(0.1**2 / 2 * (0.01 * N + N), rel=1e-9)


@pytest.mark.parametrize("kind", ["l2", "adaptive_linf"])
def test_more_starts_never_lower_a_worst_case(kind):
    est = regressor(2, max_epochs=3)
    values = [sharpness(est, *data(), kind, n_restarts=n, n_steps=5, random_state=0).value for n in (1, 2, 3)]
    assert (values[0] <= values[1]).all()
    assert (values[1] <= values[2]).all()


def test_a_loss_without_second_derivatives_says_so_and_starts_at_random():
    X, y = (torch.as_tensor(a).double() for a in data())

    def once(output, y):  # torch differentiates distances once
        return torch.cdist(output[:, None], y[:, None]).square().mean()

    net = mlp()
    with pytest.warns(
        UserWarning, match=r"cannot be differentiated twice \(.*a random start takes the place"
    ):
        result = sharpness(net, X, y[:, None], "l2", loss=once, random_state=0)
    assert result.details["curved_start"].tolist() == [False]
    twice = sharpness(net, X, y[:, None], "l2", loss=MSE, random_state=0)
    assert result.value == pytest.approx(twice.value, rel=0.05)


def test_an_error_in_the_loss_is_no_missing_derivative():
    calls = []

    def fails(output, y):
        calls.append(1)
        if len(calls) == 25:  # in the first product
            raise RuntimeError("inside")
        return MSE(output, y)

    X, y = data()
    with pytest.raises(RuntimeError, match="inside"):
        sharpness(mlp(), X, y[:, None], "l2", loss=fails)
    calls.clear()
    found = sharpness(mlp(), X, y[:, None], "l2", loss=lambda *a: MSE(*a), n_restarts=1)
    assert found.n_gradients + found.n_losses + 2 == 24  # so it was


class Rooted(nn.Module):
    """Two members; the second one's loss has an infinite second derivative where its weight is 0."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(w, dtype=torch.float64))

    def forward(self, X):
        kinked = torch.where(torch.arange(2)[:, None] == 1, self.w.abs().pow(1.5), self.w.square())
        return kinked.sum(1)[:, None] + 0 * X[:, 0]


def test_a_member_without_second_derivatives_does_not_take_them_from_the_others():
    settings = {"loss": bowl_loss, "random_state": 0}
    found = [
        sharpness(Rooted([[0.3, -0.2], [last, 0.5]]), *bowl_rows(), "l2", **settings) for last in (0.0, 0.4)
    ]
    assert [f.details["curved_start"].tolist() for f in found] == [[True, False], [True, True]]
    assert found[0].value[0] == found[1].value[0]
    assert np.isfinite(found[0].value).all()


def test_of_batches_all_must_have_a_curved_start():
    est = regressor(2, max_epochs=2)
    result = sharpness(est, *data(), "l2", m=25, n_steps=2)
    assert result.details["curved_start"].tolist() == [True, True]
    assert result.n_products == 10
