"""Slices against plain loops and closed forms."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flatcausal._members import member_generators
from flatcausal._random import child, seed_sequence
from flatcausal.flatness import hessian_top_eigenvalues, loss_slice, loss_surface
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
from tests.reference import surfaces as reference

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def fitted():
    return regressor()


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def draws(seed, member, size):
    """The normal numbers of two directions."""
    (generator,) = member_generators(child(seed_sequence(seed), 5), member + 1)[member:]
    return [torch.empty(size, dtype=torch.float64).normal_(generator=generator).numpy() for _ in range(2)]


def weight_tensors(module):
    found, stop = [], 0
    for p in module.parameters():
        start, stop = stop, stop + p.numel()
        if p.dim() > 1:
            found.append((start, tuple(p.shape)))
    return found


def conv_net():
    X, y = tensors()
    net = nn.Sequential(nn.Conv1d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 1))
    return filled(net), X[:, None], y


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_filter_surface_is_that_of_a_plain_loop(model):
    net, X, y = (mlp(), *tensors()) if model == "mlp" else conv_net()
    surface = loss_surface(net, X, y, 5, span=0.7, loss=MSE, random_state=3)
    of, w, _ = flat_loss(net, MSE, X, y)
    d = reference.filter_pair(w.numpy(), weight_tensors(net), draws(3, 0, len(w)))
    line = np.linspace(-0.7, 0.7, 5)
    expected = reference.plane(of, w, *torch.as_tensor(d), line, line)
    np.testing.assert_allclose(surface.losses[0], expected, rtol=1e-10)
    np.testing.assert_allclose(surface.alphas[0], line)
    assert surface.losses[0, 2, 2] == pytest.approx(surface.loss[0], rel=1e-12)
    assert surface.n_losses == 25


def test_filter_surface_of_each_member_is_that_of_a_plain_loop(fitted):
    surface = loss_surface(fitted, *data(), 4, random_state=1)
    layout = fitted.net_.module_.layout
    blocks = [(c.start, b.shape) for b, c in zip(layout, layout.columns().values(), strict=True)]
    blocks = [(start, shape) for start, shape in blocks if len(shape) == 2]
    for k in (0, 2):
        of, w, _ = member_loss(fitted, k, *data())
        d = reference.filter_pair(w.numpy(), blocks, draws(1, k, len(w)))
        for found, expected in zip(surface.vectors, d, strict=True):
            np.testing.assert_allclose(found["population"][k], expected, rtol=1e-9, atol=1e-12)
        line = np.linspace(-1, 1, 4)
        with torch.no_grad():
            expected = reference.plane(of, w, *torch.as_tensor(d), line, line)
        np.testing.assert_allclose(surface.losses[k], expected, rtol=1e-10)


def test_filters_have_the_weights_lengths_and_are_orthogonal():
    net = mlp()
    surface = loss_surface(net, *tensors(), 2, loss=MSE, random_state=0)
    d1, d2 = surface.vectors
    for name, p in net.named_parameters():
        if p.dim() == 1:
            assert not d1[name].any()
            assert not d2[name].any()
            continue
        own = np.linalg.norm(p.detach().numpy(), axis=1)
        np.testing.assert_allclose(np.linalg.norm(d1[name], axis=1), own, rtol=1e-13)
        np.testing.assert_allclose(np.linalg.norm(d2[name], axis=1), own, rtol=1e-13)
        assert (np.abs((d1[name] * d2[name]).sum(1)) < 1e-13 * own**2).all()
    weights = sum(p.detach().square().sum().item() for p in net.parameters() if p.dim() > 1) ** 0.5
    np.testing.assert_allclose(surface.lengths, [[weights, weights]], rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_a_filter_of_one_number_moves_along_the_first_direction_alone(factor):
    net = filled(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)))
    with torch.no_grad():
        net[0].weight.mul_(factor)
    X, y = tensors()
    d1, d2 = loss_surface(net, X[:, :1], y, 2, loss=MSE, random_state=0).vectors
    np.testing.assert_allclose(np.abs(d1["0.weight"]), net[0].weight.detach().abs())
    assert not d2["0.weight"].any()
    assert d2["2.weight"].all()


def rescaled(net, factor):
    """The same function: one layer times a factor, the next divided by it."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.mul_(factor)
        other[0].bias.mul_(factor)
        other[2].weight.div_(factor)
    return other


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.02, 50), seed=st.integers(0, 100))
def test_filter_surface_survives_a_rescaling_of_layers(factor, seed):
    nets = mlp(), rescaled(mlp(), factor)
    a, b = (loss_surface(net, *tensors(), 3, loss=MSE, random_state=seed).losses for net in nets)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_hessian_surface_does_not_survive_a_rescaling_of_layers():
    nets = mlp(), rescaled(mlp(), 5)
    a, b = (loss_surface(net, *tensors(), 5, directions="hessian", loss=MSE).losses for net in nets)
    assert np.abs(a / b - 1).max() > 0.1


def test_filter_surface_survives_a_rescaling_before_a_normalisation():
    net = normalized_net()
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight.mul_(5)
    protocol = {"loss": MSE, "random_state": 0, "bn": "recalibrated"}
    a, b = (loss_surface(m, *tensors(), 5, **protocol).losses for m in (net, other))
    np.testing.assert_allclose(a, b, rtol=1e-6)


def bowl(k=1):
    """Eigenvalues 9, 4, 1 in a random basis, at its minimum; members in several bases."""
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(k)]
    hessians = np.stack([q @ np.diag([9.0, 4.0, 1.0]) @ q.T for q in bases])
    return Quadratic(np.zeros((k, 3)), hessians) if k > 1 else Quadratic(np.zeros(3), hessians[0]), bases


@pytest.mark.parametrize("k", [1, 3])
def test_hessian_surface_of_a_bowl(k):
    net, bases = bowl(k)
    surface = loss_surface(
        net, *bowl_rows(), 5, directions="hessian", span=2.0, convexity=True, loss=bowl_loss
    )
    line = np.linspace(-2, 2, 5)
    expected = (9 * line[:, None] ** 2 + 4 * line**2) / 2
    np.testing.assert_allclose(surface.losses, np.broadcast_to(expected, (k, 5, 5)), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(surface.eigenvalues, [[9, 4]] * k, rtol=1e-9)
    np.testing.assert_allclose(surface.extremes, [[1, 9]] * k, rtol=1e-9)
    np.testing.assert_array_equal(surface.convexity, [0] * k)
    np.testing.assert_allclose(surface.lengths, 1, rtol=1e-12)
    assert surface.converged.all()
    for i, q in enumerate(bases):
        d1 = surface.vectors[0]["w"].reshape(k, 3)[i]
        np.testing.assert_allclose(d1, q[:, 0] * np.sign(q[np.abs(q[:, 0]).argmax(), 0]), atol=1e-6)


def test_hessian_slice_of_a_bowl_and_its_span():
    found = loss_slice(bowl()[0], *bowl_rows(), 7, direction="hessian", span=2.0, loss=bowl_loss)
    np.testing.assert_allclose(found.losses, 4.5 * found.alphas**2, atol=1e-9)
    np.testing.assert_allclose(found.eigenvalue, [9], rtol=1e-6)
    assert found.n_products > 0


def test_extremes_are_those_of_the_eigenvalues():
    net = mlp()
    surface = loss_surface(net, *tensors(), 2, directions="hessian", convexity=True, loss=MSE)
    low, high = (
        hessian_top_eigenvalues(net, *tensors(), which=which, loss=MSE).value[0, 0]
        for which in ("smallest", "largest")
    )
    assert low < 0 < high
    np.testing.assert_allclose(surface.extremes, [[low, high]], rtol=1e-9)
    assert surface.convexity[0] == pytest.approx(-low / high)
    assert loss_surface(net, *tensors(), 2, loss=MSE, random_state=0).convexity is None


def test_a_slice_is_the_surfaces_first_axis_direction(fitted):
    same = {"random_state": 0, "span": 0.5}
    surface = loss_surface(fitted, *data(), 3, **same)
    found = loss_slice(fitted, *data(), 3, **same)
    np.testing.assert_allclose(found.losses, surface.losses[:, :, 1], rtol=1e-12)
    np.testing.assert_allclose(found.length, surface.lengths[:, 0])


@pytest.mark.parametrize("directions", ["filter", "hessian"])
def test_the_same_plane_again(fitted, directions):
    first = loss_surface(fitted, *data(), 4, directions=directions, random_state=5)
    again = loss_surface(fitted, *data(), 4, directions=directions, random_state=5)
    given = loss_surface(fitted, *data(), 4, directions=first.vectors)
    for other in (again, given):
        np.testing.assert_array_equal(other.losses, first.losses)
    assert given.directions == "given"
    another = loss_surface(fitted, *data(), 4, directions="filter", random_state=6)
    assert (another.losses != first.losses)[:, 0, 0].all()
