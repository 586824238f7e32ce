"""Ways between two models."""

import copy

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch import NeuralNetRegressor
from torch import nn

from flatcausal import FlatMinimaTabNetRegressor
from flatcausal._members import member_generators
from flatcausal._random import child, seed_sequence
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness import bezier_curve, linear_interpolation
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import data, filled, flat_loss, member_loss, mlp, normalized_net, regressor
from tests.reference import surfaces as reference

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def pair():
    return regressor(), regressor(random_state=1)


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def again(net, seed):
    return filled(copy.deepcopy(net), seed)


def test_line_is_that_of_a_plain_loop():
    net, other = mlp(), again(mlp(), 2)
    path = linear_interpolation(net, other, *tensors(), 7, loss=MSE)
    of, w1, _ = flat_loss(net, MSE, *tensors())
    _, w2, _ = flat_loss(other, MSE, *tensors())
    expected = reference.path(of, w1, w2, path.t)
    np.testing.assert_allclose(path.losses[0], expected, rtol=1e-10)
    assert path.barrier[0] == pytest.approx(max(reference.barrier(expected, path.t), 0), rel=1e-9)
    assert path.barrier[0] > 0
    assert path.distance[0] == pytest.approx((w1 - w2).norm().item())
    np.testing.assert_allclose(path.t, np.linspace(0, 1, 7), rtol=1e-15)
    assert (path.kind, path.theta) == ("linear", None)


def recalibrated_loss(est, member, weights):
    """Of a row of weights with statistics of its own."""
    network = copy.deepcopy(est.net_.module_).double()
    with torch.no_grad():
        network.population[member] = weights
    network.reestimate_statistics([torch.as_tensor(data()[0]).double()])
    with torch.no_grad():
        return est.data_loss(*data())(network)[member].item()


def test_members_are_joined_with_statistics_of_their_own(pair):
    est, other = pair
    path = linear_interpolation(est, other, *data(), 4)
    rows = [e.net_.module_.population.detach().double() for e in pair]
    for k in (0, 2):
        expected = reference.path(lambda w, k=k: recalibrated_loss(est, k, w), rows[0][k], rows[1][k], path.t)
        np.testing.assert_allclose(path.losses[k], expected, rtol=1e-10)
    assert path.bn == "recalibrated"
    with measuring(other, *data(), bn="recalibrated") as problem:
        np.testing.assert_allclose(path.losses[:, -1], problem.losses(), rtol=1e-12)
    frozen = linear_interpolation(est, other, *data(), 4, bn="frozen")
    assert np.abs(frozen.losses[:, -1] / path.losses[:, -1] - 1).min() > 0.01


def test_with_batch_normalisation_the_far_end_is_the_other_model():
    net, other = normalized_net(), again(normalized_net(), 1)
    path = linear_interpolation(net, other, *tensors(), 3, loss=MSE)
    for i, model in ((0, net), (2, other)):
        with measuring(model, *tensors(), loss=MSE, bn="recalibrated") as problem:
            assert path.losses[0, i] == pytest.approx(problem.losses().item(), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_convex_loss_has_no_barrier(seed):
    net = filled(nn.Linear(3, 1), seed)
    path = linear_interpolation(net, again(net, seed + 10), *tensors(), loss=MSE)
    assert path.barrier.tolist() == [0.0]
    chord = (1 - path.t) * path.losses[0, 0] + path.t * path.losses[0, -1]
    assert (path.losses[0, 1:-1] < chord[1:-1]).all()


@pytest.mark.parametrize("model", ["mlp", "tabnet"])
def test_curve_bends_where_a_plain_loop_bends_it(model, pair):
    seed, n_steps, lr = 3, 6, 0.02
    if model == "mlp":
        net, other = mlp(), again(mlp(), 1)
        curve = bezier_curve(net, other, *tensors(), 5, n_steps=n_steps, lr=lr, loss=MSE, random_state=seed)
        members = [(0, *flat_loss(net, MSE, *tensors())[:2], flat_loss(other, MSE, *tensors())[1])]
    else:
        curve = bezier_curve(*pair, *data(), 5, n_steps=n_steps, lr=lr, random_state=seed)
        rows = [member_loss(est, 2, *data(), train=True) for est in pair]
        members = [(2, rows[0][0], rows[0][1], rows[1][1])]
    for k, of, w1, w2 in members:
        ts = torch.empty(n_steps, dtype=torch.float64)
        ts.uniform_(generator=member_generators(child(seed_sequence(seed), 6), k + 1)[k])
        theta = reference.bezier(lambda i, of=of: of, w1, w2, ts.tolist(), lr)
        found = np.concatenate([v.reshape(len(curve.losses), -1) for v in curve.theta.values()], axis=1)
        np.testing.assert_allclose(found[k], theta.detach(), rtol=1e-7, atol=1e-9)
        for t, loss in zip(curve.t, curve.losses[k], strict=True):
            place = (1 - t) ** 2 * w1 + 2 * t * (1 - t) * theta.detach() + t**2 * w2
            expected = of(place).item() if model == "mlp" else recalibrated_loss(pair[0], k, place)
            assert loss == pytest.approx(expected, rel=1e-6)


def test_a_curve_goes_round_a_barrier(pair):
    line = linear_interpolation(*pair, *data(), 11)
    curve = bezier_curve(*pair, *data(), 11, n_steps=60, lr=0.05, random_state=0)
    assert (line.barrier > 0.1).all()
    assert (curve.barrier < 0.6 * line.barrier).all()
    np.testing.assert_allclose(curve.losses[:, [0, -1]], line.losses[:, [0, -1]], rtol=1e-12)
    repeated = bezier_curve(*pair, *data(), 11, n_steps=60, lr=0.05, random_state=0)
    np.testing.assert_array_equal(repeated.losses, curve.losses)
    assert curve.n_gradients == 60


@pytest.mark.parametrize("bn", ["frozen", "train"])
def test_the_search_leaves_statistics_and_modes_as_they_were(bn):
    net, other = normalized_net(), again(normalized_net(), 1)
    net.append(nn.Dropout(0.5))
    other.append(nn.Dropout(0.5))
    settings = {"loss": MSE, "bn": bn, "random_state": 0}
    line = linear_interpolation(net, other, *tensors(), 3, **settings)
    curve = bezier_curve(net, other, *tensors(), 3, n_steps=4, **settings)
    np.testing.assert_array_equal(curve.losses[:, [0, 2]], line.losses[:, [0, 2]])


def test_steps_take_other_rows_of_many():
    rows = data(600)
    net, other = mlp(), again(mlp(), 1)
    X, y = rows[0], rows[1][:, None]
    curve = bezier_curve(net, other, X, y, 2, n_steps=3, loss=MSE, random_state=0)
    order = np.random.default_rng(child(seed_sequence(0), 7, 0)).permutation(600)
    parts = [torch.as_tensor(order[cut]) for cut in (slice(0, 256), slice(256, 512), slice(512, 600))]
    inputs, target = torch.as_tensor(X).double(), torch.as_tensor(y).double()
    losses = [flat_loss(net, MSE, inputs[part], target[part])[0] for part in parts]
    ts = torch.empty(3, dtype=torch.float64)
    ts.uniform_(generator=member_generators(child(seed_sequence(0), 6), 1)[0])
    w1, w2 = (flat_loss(m, MSE, inputs, target)[1] for m in (net, other))
    theta = reference.bezier(losses.__getitem__, w1, w2, ts.tolist(), 0.01)
    found = np.concatenate([v.ravel() for v in curve.theta.values()])
    np.testing.assert_allclose(found, theta, rtol=1e-7, atol=1e-9)
    assert curve.n_gradients == 1


def scaled():
    X, y = data()
    return FlatMinimaTabNetRegressor(
        optimizer="adam", n_d=4, n_a=4, n_steps=2, max_epochs=1, batch_size=30, n_members=3, random_state=0
    ).fit(X, 10 * y)


@pytest.mark.parametrize(
    ("other", "error", "match"),
    [
        (
            lambda: regressor(2, max_epochs=1),
            ParameterError,
            "other has 2 members, but model has 3.*n_members",
        ),
        (
            lambda: regressor(n_d=2, n_a=6, max_epochs=1),
            ParameterError,
            "other's 'transformer.0.1' has shape",
        ),
        (lambda: regressor(n_steps=1, max_epochs=1), ParameterError, "other's.*same architecture"),
        (lambda: regressor(gamma=1.5, max_epochs=1), ParameterError, "other has gamma=1.5"),
        (lambda: regressor(mask_type="entmax", max_epochs=1), ParameterError, "other has mask_type='entmax'"),
        (scaled, DataError, "other measures another loss.*scale_target"),
        (FlatMinimaTabNetRegressor, NotFittedError, "not fitted"),
        (lambda: "path.pt", ParameterTypeError, "nn.Module"),
        (mlp, ParameterError, "loss is needed"),
    ],
)
@pytest.mark.parametrize("function", [linear_interpolation, bezier_curve])
def test_other_must_be_a_twin_of_the_estimator(pair, function, other, error, match):
    with pytest.raises(error, match=match):
        function(pair[0], other(), *data())


def frozen(net):
    net[0].weight.requires_grad_(False)
    return net


def bent(net):
    net[1] = nn.Tanh()
    return net


@pytest.mark.parametrize(
    ("net", "other", "match"),
    [
        (mlp(), mlp(width=5), "other's '0.weight' has shape .5, 3., but model's has shape .6, 3."),
        (nn.Linear(3, 1), nn.Linear(3, 1, bias=False), "other's 'bias' has no such parameter"),
        (nn.Linear(3, 1), mlp(), "other is a Sequential, but model is a Linear"),
        (frozen(mlp()), again(mlp(), 1), "other's '0.weight' differs.*frozen"),
        (mlp(), bent(mlp()), "other gives other losses with model's weights"),
    ],
)
def test_other_must_be_a_twin_of_the_module(net, other, match):
    with pytest.raises((ParameterError, ParameterTypeError), match=match):
        linear_interpolation(net, other, *tensors(), loss=MSE)


def test_ends_must_have_losses_and_a_search_must_not_diverge():
    net, other = mlp(), again(mlp(), 1)
    with pytest.raises(FloatingPointError, match="lr=1e\\+200: pass a smaller"):
        bezier_curve(net, other, *tensors(), n_steps=20, lr=1e200, loss=MSE)
    with torch.no_grad():
        other[0].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        linear_interpolation(net, other, *tensors(), loss=MSE)


def test_skorch_nets_are_joined():
    nets = []
    for seed in (0, 1):
        net = NeuralNetRegressor(again(mlp(), seed).float(), verbose=0).initialize()
        nets.append(net)
    X, y = data()
    path = linear_interpolation(*nets, X, y[:, None].astype(np.float32), 3)
    modules = [again(mlp(), seed).float() for seed in (0, 1)]
    expected = linear_interpolation(*modules, *tensors(), 3, loss=MSE)
    np.testing.assert_allclose(path.losses, expected.losses, rtol=1e-6)
