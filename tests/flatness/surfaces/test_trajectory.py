"""Checkpoints on a plane."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness import loss_surface
from tests.flatness.models import data, flat_loss, member_loss, mlp, regressor
from tests.reference import surfaces as reference

MSE = nn.MSELoss()


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def checkpoints(module, n=5, scale=0.3, seed=0):
    """Weights on the way to those of a module."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        reach = scale * (n - i) / n
        found.append(
            {
                name: p.detach() + reach * torch.randn(p.shape, generator=generator).to(p)
                for name, p in module.named_parameters()
            }
        )
    return found


def steps(module, trajectory):
    return np.stack(
        [
            torch.cat([(c[name] - p).detach().reshape(-1) for name, p in module.named_parameters()]).numpy()
            for c in trajectory
        ]
    )


def surface_of(net, trajectory, directions="trajectory", resolution=3, **settings):
    return loss_surface(
        net, *tensors(), resolution, directions=directions, trajectory=trajectory, loss=MSE, **settings
    )


def flat(vectors):
    return np.concatenate([v.reshape(-1) for v in vectors.values()])


def test_directions_are_singular_vectors():
    net = mlp()
    trajectory = checkpoints(net)
    surface = surface_of(net, trajectory)
    rows, shares = reference.principal(steps(net, trajectory))
    for vectors, row in zip(surface.vectors, rows, strict=True):
        assert abs(flat(vectors) @ row) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(surface.explained[0], shares, rtol=1e-10)
    np.testing.assert_allclose(surface.lengths, 1, rtol=1e-12)
    assert (surface.path[0].sum(0) > 0).all()


def test_losses_are_those_of_a_plain_loop():
    net = mlp()
    surface = surface_of(net, checkpoints(net), resolution=4)
    of, w, _ = flat_loss(net, MSE, *tensors())
    d = [torch.as_tensor(flat(v)) for v in surface.vectors]
    expected = reference.plane(of, w, *d, surface.alphas[0], surface.betas[0])
    np.testing.assert_allclose(surface.losses[0], expected, rtol=1e-10)


@pytest.mark.parametrize("directions", ["trajectory", "filter", "given"])
def test_the_path_is_the_nearest_on_the_plane(directions):
    net = mlp()
    trajectory = checkpoints(net)
    pair = checkpoints(net, 2, seed=1) if directions == "given" else directions  # not orthogonal
    surface = surface_of(net, trajectory, pair, random_state=0)
    moved = steps(net, trajectory)
    places, off = reference.nearest(moved, *(flat(v) for v in surface.vectors))
    np.testing.assert_allclose(surface.path[0], places, rtol=1e-8)
    np.testing.assert_allclose(surface.off_plane[0], off, rtol=1e-8)
    share = 1 - (off**2 * (moved**2).sum(1)).sum() / (moved**2).sum()
    assert surface.explained.sum() == pytest.approx(share, rel=1e-8)


def test_a_path_on_the_plane_is_found_exactly():
    net = mlp()
    surface = surface_of(net, checkpoints(net), "filter", random_state=0)
    d1, d2 = surface.vectors
    places = [(0.5, -0.2), (0.3, 0.4), (-0.1, 0.2)]
    trajectory = [
        {
            name: p.detach() + torch.as_tensor(a * d1[name] + b * d2[name])
            for name, p in net.named_parameters()
        }
        for a, b in places
    ]
    found = surface_of(net, trajectory, (d1, d2))
    np.testing.assert_allclose(found.path[0], places, rtol=1e-10)
    assert (found.off_plane < 1e-12).all()
    assert found.explained.sum() == pytest.approx(1)
    arrived = surface_of(net, [*trajectory, dict(net.named_parameters())], (d1, d2))
    assert (arrived.path[0, -1].tolist(), arrived.off_plane[0, -1]) == ([0, 0], 0)
    principal = surface_of(net, trajectory, resolution=30)
    assert principal.explained.sum() == pytest.approx(1)
    for axis, along in ((principal.alphas[0], 0), (principal.betas[0], 1)):
        extent = np.ptp(np.append(principal.path[0, :, along], 0))
        assert axis[-1] - axis[0] == pytest.approx(1.2 * extent)
        assert axis[0] < min(0, principal.path[0, :, along].min())


def test_span_stretches_the_axes_about_the_path():
    net = mlp()
    near, far = (surface_of(net, checkpoints(net), span=span) for span in (1.0, 2.0))
    np.testing.assert_allclose(np.ptp(far.alphas), 2 * np.ptp(near.alphas))
    np.testing.assert_allclose(far.alphas.mean(), near.alphas.mean())


def test_each_member_has_its_own_plane():
    est = regressor(3, max_epochs=2)
    trajectory = checkpoints(est.net_.module_)
    surface = loss_surface(est, *data(), 3, directions="trajectory", trajectory=trajectory)
    start = est.net_.module_.population.detach()
    for k in range(3):
        moved = np.stack([(c["population"] - start)[k].numpy() for c in trajectory])
        rows, shares = reference.principal(moved.astype(np.float64))
        np.testing.assert_allclose(surface.explained[k], shares, rtol=1e-6)
        assert abs(surface.vectors[1]["population"][k] @ rows[1]) == pytest.approx(1, abs=1e-6)
        of, w, _ = member_loss(est, k, *data())
        d = [torch.as_tensor(vectors["population"][k]) for vectors in surface.vectors]
        with torch.no_grad():
            expected = reference.plane(of, w, *d, surface.alphas[k], surface.betas[k])
        np.testing.assert_allclose(surface.losses[k], expected, rtol=1e-10)
    assert len(np.unique(surface.betas[:, 0])) == 3


def test_params_that_do_not_move_count_for_nothing():
    net = mlp()
    surface = surface_of(net, checkpoints(net), params="weights")
    assert set(surface.vectors[0]) == {"0.weight", "2.weight", "4.weight"}


def test_a_state_dict_with_buffers_is_a_checkpoint():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    trajectory = [{**net.state_dict(), **weights} for weights in checkpoints(net)]
    expected = surface_of(net, checkpoints(net))
    np.testing.assert_array_equal(surface_of(net, trajectory).losses, expected.losses)


def on_a_line(net):
    (one,) = checkpoints(net, 1)
    return [{name: p + s * (one[name] - p) for name, p in net.named_parameters()} for s in (1.0, 0.5)]


@pytest.mark.parametrize(
    ("trajectory", "error", "match"),
    [
        (lambda net: None, ParameterError, "needs trajectory"),
        (lambda net: [], ParameterError, "at least 2 checkpoints besides the model, got 0"),
        (lambda net: checkpoints(net, 1), ParameterError, "at least 2 checkpoints"),
        (lambda net: "run.pt", ParameterTypeError, "list of checkpoints, got str"),
        (lambda net: [net, net], ParameterTypeError, r"trajectory\[0\] must map the names"),
        (lambda net: checkpoints(mlp(width=5)), DataError, r"\['0.weight'\] has shape \(5, 3\).*\(6, 3\)"),
        (lambda net: checkpoints(nn.Linear(3, 1)), DataError, "has 'bias', which the model has not"),
        (lambda net: [{}, {}], DataError, r"trajectory\[0\] lacks '0.weight'"),
        (lambda net: [dict(net.named_parameters())] * 3, DataError, "never leaves.*clone"),
        (on_a_line, DataError, "line.*spans no plane: pass more"),
        (lambda net: checkpoints(net, 2, scale=np.inf), DataError, r"trajectory\[0\].*not finite"),
    ],
)
def test_bad_trajectories(trajectory, error, match):
    net = mlp()
    with pytest.raises(error, match=match):
        surface_of(net, trajectory(net))
