"""The classical recipes where their path can be written down."""

import numpy as np
import pytest
import torch

from flatcausal.optim import GSAM, SAM, SGD, Adagrad, Adam, AdamW, EntropySGD, Momentum, Nesterov, RMSprop
from tests.optim.problems import Quadratics


def powers(recipe, rate):
    """Weights of ``Quadratics(0, 1)`` after 30 steps, by the 30th power of the step's matrix on (w, b)."""
    problem = Quadratics(0, 1)
    mu, nesterov = recipe.momentum, recipe.nesterov
    columns = []
    for w, h in zip(problem.w.detach().numpy().T, problem.h.numpy(), strict=True):
        # b' = mu b + h w;  w' = w - rate * (h w + mu b' if nesterov else b')
        weight_row = [1 - rate * h * (1 + mu), -rate * mu**2] if nesterov else [1 - rate * h, -rate * mu]
        step = np.array([weight_row, [h, mu]])
        columns.append((np.linalg.matrix_power(step, 30) @ np.stack([w, 0 * w]))[0])
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("recipe", [SGD(), SGD(0.5), Momentum(), Nesterov(), Nesterov(0.5)], ids=repr)
def test_momentum_on_a_quadratic_is_a_matrix_power(recipe):
    problem = Quadratics(0, 1)
    after = problem.train(recipe.build([problem.w], lr=0.1, n_members=2), 30)
    np.testing.assert_allclose(after.numpy(), powers(recipe, 0.1), rtol=0, atol=1e-13)


def on_a_slope(recipe, n_steps=20, lr=0.1, weight_decay=0.0):
    """Path on a linear loss, whose gradient is 3 and -0.5 everywhere, from (1, 2)."""
    w = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = recipe.build([w], lr=lr, weight_decay=weight_decay)
    for _ in range(n_steps):
        w.grad = torch.tensor([3.0, -0.5], dtype=torch.float64)
        optimizer.step()
    return w.detach().numpy()


START, SIGN, STEPS = np.array([1.0, 2.0]), np.array([1.0, -1.0]), np.arange(1, 21)


@pytest.mark.parametrize(
    ("recipe", "lengths"),
    [
        (Adagrad(), 1 / np.sqrt(STEPS)),
        (RMSprop(), 1 / np.sqrt(1 - 0.99**STEPS)),
        (RMSprop(alpha=0.0), np.ones(20)),
        (Adam(), np.ones(20)),
        (AdamW(), np.ones(20)),
    ],
    ids=repr,
)
def test_on_a_slope_the_size_of_the_gradient_does_not_matter(recipe, lengths):
    expected = START - 0.1 * lengths.sum() * SIGN
    np.testing.assert_allclose(on_a_slope(recipe), expected, rtol=0, atol=1e-6)


def test_decoupled_decay_on_a_slope_relaxes_to_one_over_its_rate():
    # w' = (1 - lr * decay) w - lr * sign has the fixed point -sign / decay.
    rest = -SIGN / 0.5
    expected = rest + (1 - 0.1 * 0.5) ** 20 * (START - rest)
    np.testing.assert_allclose(on_a_slope(AdamW(), weight_decay=0.5), expected, rtol=0, atol=1e-6)


def test_decoupled_decay_is_no_penalty():
    assert np.abs(on_a_slope(AdamW(), weight_decay=0.5) - on_a_slope(Adam(), weight_decay=0.5)).max() > 0.1


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adamw_without_decay_is_adam_bitwise(n_members, dtype):
    ends = []
    for recipe in (Adam(), AdamW()):
        problem = Quadratics(*range(n_members), dtype=dtype)
        ends.append(problem.train(recipe.build([problem.w], lr=0.05, n_members=n_members), 30))
    assert torch.equal(*ends)


def path(recipe, gradient, start, lr=0.05, weight_decay=0.1):
    w = torch.tensor(start, requires_grad=True)
    optimizer = recipe.build([w], lr=lr, weight_decay=weight_decay)

    def closure():
        w.grad = torch.from_numpy(gradient(w.detach().numpy()))

    for _ in range(20):
        optimizer.step(closure)
    return w.detach().numpy()


H = np.diag([0.5, 1.0, 2.0, 3.0])
W = np.array([1.0, -2.0, 0.5, 3.0])


TURNED = [SGD(), Momentum(), Nesterov(), SAM(0.3), GSAM(0.3), EntropySGD(noise=0.0)]


@pytest.mark.parametrize("recipe", TURNED, ids=repr)
def test_methods_without_a_scale_for_each_weight_do_not_see_a_rotation(recipe):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    turned = path(recipe, lambda w: turn @ H @ turn.T @ w, turn @ W)
    np.testing.assert_allclose(turned, turn @ path(recipe, lambda w: H @ w, W), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("recipe", "weight_decay"),
    [(Adagrad(), 0.0), (RMSprop(), 0.0), (Adam(), 0.0), (AdamW(), 0.1)],
    ids=repr,
)
def test_adaptive_methods_do_not_see_the_scale_of_the_loss(recipe, weight_decay):
    one = path(recipe, lambda w: H @ w, W, weight_decay=weight_decay)
    other = path(recipe, lambda w: 1000 * H @ w, W, weight_decay=weight_decay)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_a_penalty_in_the_gradient_does_see_it():
    one, other = (path(Adam(), lambda w, c=c: c * H @ (w - 1), W) for c in (1, 1000))
    assert np.abs(one - other).max() > 1e-3
