"""Sharpness against a twin on flat vectors, closed forms and invariances."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from flatcausal.flatness import sharpness
from tests.flatness.models import KINDS, data, member_loss, regressor
from tests.reference import sharpness as twin


@pytest.fixture(scope="module")
def fitted():
    return regressor()


@pytest.mark.parametrize("member", [0, 2])
def test_adaptive_equals_its_twin(fitted, member):
    result = sharpness(fitted, *data(), rho=0.3)
    loss, w, is_weight = member_loss(fitted, member, *data())
    assert result.value[member] == pytest.approx(twin.adaptive(loss, w, is_weight, 0.3), rel=1e-9)
    assert result.loss[member] == pytest.approx(loss(w).item(), rel=1e-9)
    assert result.weight_norm[member] == pytest.approx(w.norm().item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss(w.requires_grad_()), w)
    assert result.gradient_norm[member] == pytest.approx(gradient.norm().item(), rel=1e-9)


def test_adaptive_average_agrees_with_independent_draws(fitted):
    result = sharpness(fitted, *data(), kind="adaptive_average", rho=0.05, n_draws=60, random_state=1)
    loss, w, is_weight = member_loss(fitted, 1, *data())
    mean, error = twin.adaptive_average(loss, w, is_weight, 0.05, 200, torch.Generator().manual_seed(5))
    assert abs(result.value[1] - mean) < 4 * np.hypot(error, result.standard_error[1])
    assert result.standard_error[1] * 60**0.5 < 0.7 * error * 200**0.5  # pairs cancel the slope


def test_adaptive_average_of_a_quadratic_has_its_closed_form():
    model = nn.Linear(2, 1, bias=True).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0]]))
    X = torch.eye(2, dtype=torch.float64) * 2**0.5

    def loss(output, y):  # |w|^2
        return (output - model.bias.item()).square().mean()

    result = sharpness(model, X, X, "adaptive_average", rho=0.2, n_draws=1000, loss=loss, random_state=0)
    expected = 0.2**2 * (2.0**2 + 1.0**2)
    assert result.value[0] == pytest.approx(expected, rel=0.1)
    assert abs(result.value[0] - expected) < 4 * result.standard_error[0]


def test_a_larger_radius_and_a_sharper_loss_are_sharper(fitted):
    small, large = (sharpness(fitted, *data(), rho=rho).value for rho in (0.1, 0.5))
    assert (small > 0).all()
    assert (large > small).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_does_not_depend_on_its_neighbours(kind):
    two, three = regressor(2, max_epochs=2), regressor(3, max_epochs=2)
    values = [
        sharpness(est, *data(), kind, n_draws=5, n_steps=5, random_state=0).value for est in (two, three)
    ]
    np.testing.assert_array_equal(values[0], values[1][:2])


def test_a_skorch_net_is_measured_by_its_criterion():
    X, y = data()
    net = NeuralNetRegressor(nn.Linear(3, 1), max_epochs=2, train_split=None, verbose=0).fit(X, y[:, None])
    of_net = sharpness(net, X, y[:, None])
    of_module = sharpness(net.module_, X, y[:, None], loss=nn.MSELoss())
    assert of_net.value == of_module.value


def test_a_skorch_classifier_is_measured_by_its_own_loss():
    X, y = data()
    labels = (y > 0).astype(np.int64)
    layers = nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=1))
    net = NeuralNetClassifier(layers, max_epochs=2, train_split=None, verbose=0).fit(X, labels)
    expected = net.get_loss(net.infer(X), torch.as_tensor(labels)).item()
    assert sharpness(net, X, labels).loss[0] == pytest.approx(expected, rel=1e-5)


def test_biases_take_no_part_in_the_scaling_alone_or_stacked():
    class Stack(nn.Module):
        def __init__(self, members):
            super().__init__()
            self.weight = nn.Parameter(torch.stack([m.weight for m in members]).detach())
            self.bias = nn.Parameter(torch.stack([m.bias for m in members]).detach())

        def forward(self, X):
            return torch.baddbmm(self.bias[:, None], X.expand(len(self.bias), *X.shape), self.weight.mT)

    X = torch.as_tensor(data()[0])
    generator = torch.Generator().manual_seed(0)
    members = [nn.Linear(3, 2), nn.Linear(3, 2)]
    with torch.no_grad():
        for p in [*members[0].parameters(), *members[1].parameters()]:
            p.copy_(torch.randn(p.shape, generator=generator))

    def losses(output, y):
        return (output - 1).square().mean((-2, -1))

    stacked = sharpness(Stack(members), X, X, loss=losses).value
    alone = [sharpness(m, X, X, loss=losses).value[0] for m in members]
    np.testing.assert_allclose(stacked, alone, rtol=1e-9)
    w = torch.cat([members[0].weight.flatten(), members[0].bias]).double().detach()
    is_weight = torch.arange(8) < 6
    X64 = X.double()

    def flat_loss(w):
        return (X64 @ w[:6].view(2, 3).T + w[6:] - 1).square().mean()

    assert alone[0] == pytest.approx(twin.adaptive(flat_loss, w, is_weight, 0.5), rel=1e-9)


def test_a_diverged_member_is_nan_and_the_others_are_not(fitted):
    import copy

    sick = copy.deepcopy(fitted)
    with torch.no_grad():
        sick.net_.module_.population[1] = float("nan")
    values = sharpness(sick, *data()).value
    assert np.isnan(values[1])
    np.testing.assert_array_equal(values[[0, 2]], sharpness(fitted, *data()).value[[0, 2]])
