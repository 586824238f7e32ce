"""Which statistics normalise batches, and that dropout is off."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.flatness import sharpness
from flatcausal.flatness._average import draw
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import awkward, data, filled, mlp, normalized_net, regressor, tensors

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def fitted():
    return regressor()


def statistics_of(net, X):
    hidden = net[0](X)
    return hidden.mean(0), hidden.var(0)


def test_recalibrated_statistics_are_those_of_the_measured_rows():
    X, y = tensors()
    stale, fresh = normalized_net(), normalized_net()
    with torch.no_grad():
        mean, variance = statistics_of(fresh, X)
        fresh[1].running_mean.copy_(mean)
        fresh[1].running_var.copy_(variance)
    recalibrated = sharpness(stale, X, y, loss=MSE, bn="recalibrated")
    assert recalibrated.value == pytest.approx(sharpness(fresh, X, y, loss=MSE).value, rel=1e-9)
    assert sharpness(stale, X, y, loss=MSE).value != pytest.approx(recalibrated.value, rel=1e-3)
    assert recalibrated.bn == "recalibrated"


def test_recalibration_weighs_batches_by_their_rows():
    rows = data(300)
    X, y = torch.as_tensor(rows[0]).double(), torch.as_tensor(rows[1]).double()[:, None]
    with measuring(normalized_net(), X, y, loss=MSE, bn="recalibrated") as problem:
        hidden = problem.module[0](X).detach()
        found = problem.module[1].running_mean, problem.module[1].running_var
    parts = hidden[:256], hidden[256:]
    for got, of in zip(found, (lambda h: h.mean(0), lambda h: h.var(0)), strict=True):
        np.testing.assert_allclose(got, (256 * of(parts[0]) + 44 * of(parts[1])) / 300, rtol=1e-9)


def test_a_single_last_row_which_has_no_variance_joins_a_batch():
    X, y = data(257)
    settings = {"loss": MSE, "bn": "recalibrated"}
    assert np.isfinite(sharpness(normalized_net(), X, y[:, None], **settings).value).all()
    assert np.isfinite(sharpness(normalized_net(), X, y[:, None], m=256, loss=MSE, bn="train").value).all()


def test_recalibrated_tabnet_is_the_fitted_one(fitted):
    import copy

    X, _ = data()
    network = copy.deepcopy(fitted.net_.module_).double()
    network.reestimate_statistics([torch.as_tensor(X).double()])
    with measuring(fitted, *data(), bn="recalibrated") as problem:
        np.testing.assert_allclose(problem.module.statistics, network.statistics, rtol=1e-12)


def test_train_mode_is_that_of_the_normalisation_alone(fitted):
    net, (X, y) = awkward(), tensors()
    hidden = net[0](X)
    hat = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    expected = MSE(net[3](torch.relu(hat * net[1].weight + net[1].bias)), y)  # no dropout
    assert sharpness(net, X, y, loss=MSE, bn="train").loss[0] == pytest.approx(expected.item(), rel=1e-9)
    network = fitted.net_.module_
    frozen, train = (sharpness(fitted, *data(), bn=bn).loss for bn in ("frozen", "train"))
    assert not np.allclose(frozen, train)
    assert not network.training


def test_statistics_that_a_layer_reads_while_it_moves_them_stand_still():
    class Drifting(nn.BatchNorm1d):
        def forward(self, X):
            return super().forward(X) + self.running_mean

    net = nn.Sequential(filled(nn.Linear(3, 2)), Drifting(2).double(), filled(nn.Linear(2, 1)))
    loss = sharpness(net, *tensors(), loss=MSE, bn="train").loss
    with measuring(net, *tensors(), loss=MSE, bn="train") as problem:
        assert [problem.losses().item() for _ in range(3)] == [loss[0]] * 3


def test_dropout_in_functions_is_off():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm = mlp(3, 4), nn.BatchNorm1d(4).double()

        def forward(self, X):
            return self.norm(nn.functional.dropout(self.inner(X), 0.5, self.training)).sum(1, keepdim=True)

    values = {
        sharpness(filled(Functional()).train(), *tensors(), loss=MSE, bn="train").value[0] for _ in range(3)
    }
    assert len(values) == 1


def test_statistics_of_the_batch_are_those_recalibrated_at_each_draw():
    X, y = (torch.as_tensor(a).double() for a in data())
    net = filled(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)))
    settings = {"loss": MSE, "random_state": 0}
    found = sharpness(net, X, y[:, None], "average", rho=0.3, n_draws=4, bn="train", **settings)

    def recalibrated(problem, weights):
        problem.move_to(weights)
        problem.recalibrate()
        problem.module[1].running_var.mul_((len(X) - 1) / len(X))  # as a batch's own variance is
        return problem.losses().item()

    with measuring(net, X, y[:, None], bn="recalibrated", **settings) as problem:
        generators = problem.generators()
        steps = [draw(problem.ones(0.3), generators) for _ in range(4)]
        heights = [recalibrated(problem, problem.moved(d, way)) for d in steps for way in (1.0, -1.0)]
        rise = np.mean(heights) - recalibrated(problem, problem.start)
    assert found.value[0] == pytest.approx(rise, rel=1e-9)
    still = sharpness(net, X, y[:, None], "average", rho=0.3, n_draws=4, bn="recalibrated", **settings)
    assert still.value[0] != pytest.approx(rise, rel=0.05)
