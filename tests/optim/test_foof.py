"""FOOF: its identities, its numpy twin, singular matrices and errors."""

import gc
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.exceptions import FlatCausalError, ParameterError, ParameterTypeError
from flatcausal.nn import TabNet
from flatcausal.optim import FOOF, GSAM, SAM, SGD, Adagrad, AdamW, NiGSGD
from flatcausal.optim._foof_optimizer import damped_cholesky
from flatcausal.testing import optimizer_checks
from tests.optim.linear_problems import half_mse, linear, normal, outer, step
from tests.optim.problems import data, flat, gradient_of, module, train
from tests.reference import foof as twin

RECIPES = [
    FOOF(),
    FOOF(damping=0.1, T=3, momentum=0.9, rest="adam", norm_match=True),
    FOOF(ema=0.0, rest=Adagrad()),
    SAM(base=FOOF()),
    SAM(base=FOOF(momentum=0.5, rest=AdamW()), m=5),
    GSAM(base=FOOF()),
]


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(run, id=f"{recipe!r} {name}")
        for recipe in RECIPES
        for name, run in optimizer_checks(recipe)
    ],
)
def test_keeps_the_contract(check):
    check()


# ---- identities


def test_the_toy_problem_of_the_paper():
    X = torch.tensor([[3.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    slow, net = linear([[0.0, 0.0]]), linear([[0.0, 0.0]])
    step(slow, X, y, SGD(), lr=1.0)
    assert slow.weight.tolist() == [[1.0, 0.5]]  # along (2, 1), uphill for the second sample
    step(net, X, y, FOOF(damping=0.0), lr=1.0)
    torch.testing.assert_close(net.weight.detach(), torch.tensor([[-1.0, 4.0]], dtype=torch.float64))
    assert half_mse(net, X, y).item() < 1e-25


@pytest.mark.parametrize("bias", [True, False])
def test_one_undamped_step_solves_a_linear_regression(bias):
    X, y = normal(50, 4), normal(50, 3, seed=1)
    net = linear(normal(3, 4, seed=2), normal(3, seed=3) if bias else None)
    step(net, X, y, FOOF(damping=0.0), lr=1.0)
    A = np.column_stack([X, *[np.ones(50)] * bias])
    solution = np.linalg.lstsq(A, y.numpy(), rcond=None)[0].T
    found = np.column_stack([p.detach().numpy().reshape(3, -1) for p in net.parameters()])
    np.testing.assert_allclose(found, solution, rtol=0, atol=1e-12)


def test_large_damping_is_sgd():
    gaps = []
    for damping in (1e2, 1e4, 1e6):
        plain, net = module(batch_norm=False), module(batch_norm=False)
        start = flat(plain)
        train(plain, SGD().build(plain, lr=0.05), 3)
        train(net, FOOF(damping=damping).build(net, lr=0.05 * damping), 3)
        gaps.append(((flat(net) - flat(plain)).norm() / (flat(plain) - start).norm()).item())
    assert gaps[0] < 0.05
    assert gaps[1] == pytest.approx(gaps[0] / 100, rel=0.1)
    assert gaps[2] == pytest.approx(gaps[1] / 100, rel=0.1)


def test_undamped_steps_do_not_see_how_inputs_are_mixed():
    X, y = data(40)
    mix = normal(3, 3, seed=4) + 2 * torch.eye(3, dtype=torch.float64)
    shift = normal(3, seed=5)
    plain, mixed = module(batch_norm=False), module(batch_norm=False)
    with torch.no_grad():
        mixed[0].weight.copy_(plain[0].weight @ torch.linalg.inv(mix))
        mixed[0].bias.sub_(mixed[0].weight @ shift)
    X_mixed = X @ mix.T + shift
    torch.testing.assert_close(mixed(X_mixed), plain(X))
    start = plain(X).detach()
    step(plain, X, y, FOOF(damping=0.0), lr=0.1, n_steps=5)
    step(mixed, X_mixed, y, FOOF(damping=0.0), lr=0.1, n_steps=5)
    torch.testing.assert_close(mixed(X_mixed), plain(X), rtol=0, atol=1e-9)
    assert (plain(X) - start).abs().max() > 0.1


def test_few_samples_equal_the_dual_form():
    X, y = normal(4, 9), normal(4, 2, seed=1)
    net = linear(normal(2, 9, seed=2))
    before, damping = net.weight.detach().clone(), 0.3
    E = (X @ before.T - y) / 4
    dual = E.T @ torch.linalg.inv(torch.eye(4) + X @ X.T / 4 / damping) @ X
    step(net, X, y, FOOF(damping=damping), lr=damping)
    torch.testing.assert_close(before - net.weight.detach(), dual, rtol=0, atol=1e-13)


def test_some_steps_share_a_factor_and_the_batch_alone_counts_without_average():
    X, y = normal(30, 3), normal(30, 1, seed=1)
    net = linear(normal(1, 3, seed=2))
    optimizer = FOOF(T=3, ema=0.5, damping=0.1).build(net, lr=0.1)
    factors, moments = [], []
    for t in range(7):
        batch = X[4 * t : 4 * t + 4]
        optimizer.zero_grad()
        half_mse(net, batch, y[4 * t : 4 * t + 4]).backward()
        optimizer.step()
        moments.append(batch.T @ batch / 4)
        factors.append(optimizer.state[net.weight]["weight"]["factor"][0].clone())
    changed = [not torch.equal(a, b) for a, b in pairwise(factors)]
    assert changed == [False, False, True, False, False, True]
    average = sum(0.5 ** (3 - s) * 0.5 * moments[s] for s in range(4)) / (1 - 0.5**4)
    expected = torch.linalg.cholesky(average + 0.1 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(factors[3], expected, rtol=0, atol=1e-12)

    batch_alone = FOOF(ema=0.0, damping=0.1).build(net, lr=0.1)
    for rows in (X[:10], X[10:]):
        half_mse(net, rows, y[: len(rows)]).backward()
        batch_alone.step()
    moment = batch_alone.state[net.weight]["weight"]["second_moment"][0]
    torch.testing.assert_close(moment, X[10:].T @ X[10:] / 20)


def test_a_small_step_descends():
    for seed in range(5):
        X, y = normal(20, 4, seed=seed), normal(20, 2, seed=seed + 10)
        net = linear(normal(2, 4, seed=seed + 20), normal(2, seed=seed + 30))
        before = [p.detach().clone() for p in net.parameters()]
        loss = half_mse(net, X, y)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        step(net, X, y, FOOF(damping=1e-3), lr=1e-3)
        pairs = zip(net.parameters(), before, gradients, strict=True)
        assert sum(((p - b) * g).sum() for p, b, g in pairs) < 0
        assert half_mse(net, X, y) < loss


# ---- the twin


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(
    "hyper",
    [
        {},
        {"damping": 0.01, "ema": 0.5},
        {"T": 4, "ema": 0.0},
        {"momentum": 0.8, "damping": 0.3, "weight_decay": 0.05},
        {"norm_match": True, "momentum": 0.5, "weight_decay": 0.05},
    ],
    ids=str,
)
def test_twenty_steps_equal_the_numpy_twin(hyper, batch_norm):
    hyper = {"damping": 1.0, **hyper}
    X = data()[0].numpy()
    net = module(batch_norm)
    layers, inputs = twin.perceptron(batch_norm)
    gradient = gradient_of(module(batch_norm))
    expected = twin.foof(gradient, lambda w: inputs(w, X), layers, flat(net).numpy(), 20, 0.1, **hyper)
    decay = hyper.pop("weight_decay", 0.0)
    train(net, FOOF(**hyper).build(net, lr=0.1, weight_decay=decay), 20)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-11)


# ---- singular matrices and errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_singular_member_has_its_damping_raised_and_the_others_are_untouched(dtype):
    full = outer(normal(9, 4)).to(dtype)
    flat_one = outer(normal(1, 4)).to(dtype)
    sick = torch.full((4, 4), torch.nan, dtype=dtype)
    factor = damped_cholesky(torch.stack([full, flat_one, torch.zeros_like(full), sick]), 0.0)
    assert torch.equal(factor[0], torch.linalg.cholesky(full))
    eps = torch.finfo(dtype).eps
    for found, moment in ((factor[1], flat_one), (factor[2], torch.zeros_like(full))):
        assert (found.diagonal() > 0).all()
        scale = moment.diagonal().mean() + 1e-20
        assert (found @ found.T - moment).abs().max() < 1e4 * eps * scale
    assert torch.equal(
        damped_cholesky(full[None], 0.5)[0], torch.linalg.cholesky(full + 0.5 * torch.eye(4, dtype=dtype))
    )


def test_constant_features_do_no_harm_without_damping():
    X, y = normal(30, 4), normal(30, 1, seed=1)
    X[:, 1], X[:, 3] = 2.0, X[:, 0]
    net = linear(normal(1, 4, seed=2), [0.0])
    step(net, X, y, FOOF(damping=0.0), lr=1.0)
    A = np.column_stack([X, np.ones(30)])
    solution = np.linalg.lstsq(A, y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(net(X).detach().numpy(), A @ solution, rtol=0, atol=1e-2)


def unseen():
    net = module().eval()
    step(net, *data(), FOOF(), lr=0.1)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (
            lambda: FOOF().build(module().parameters()),
            ParameterTypeError,
            "FOOF needs a module.*the model",
        ),
        (lambda: FOOF().build(nn.Conv1d(1, 1, 1)), ParameterError, "no linear layer.*Conv1d"),
        (lambda: FOOF().build(module(), n_members=2), ParameterError, "n_members=2 needs tensors"),
        (unseen, ParameterTypeError, "never saw.*training mode"),
        (lambda: FOOF(damping=-1.0).build(module()), ParameterError, "damping"),
        (lambda: FOOF(ema=1.0).build(module()), ParameterError, "ema"),
        (lambda: FOOF(T=0).build(module()), ParameterError, "T must be"),
        (lambda: FOOF(momentum=1.0).build(module()), ParameterError, "momentum"),
        (lambda: FOOF(norm_match=1).build(module()), ParameterTypeError, "norm_match"),
        (lambda: FOOF(rest="sma").build(module()), ParameterError, "'sma'"),
        (lambda: FOOF(rest=3).build(module()), ParameterTypeError, "rest"),
        (lambda: FOOF(rest=SAM()).build(module()), ParameterTypeError, "rest must be.*one gradient"),
        (lambda: FOOF(rest="foof").build(module()), ParameterTypeError, "rest must be.*one gradient"),
        (lambda: FOOF(rest=NiGSGD()).build(module()), ParameterTypeError, "rest must be.*noise"),
    ],
)
def test_bad_input_is_named(make, error, match):
    with pytest.raises(error, match=match) as raised:
        make()
    assert isinstance(raised.value, FlatCausalError)


def test_the_rest_is_set_by_its_parameters():
    recipe = FOOF(momentum=0.9).set_params(rest__nesterov=True)
    assert (recipe.rest.momentum, recipe.rest.nesterov) == (0.9, True)
    assert FOOF(rest="adam").set_params(rest__eps=1e-3).rest.eps == 1e-3


def test_no_layer_outside_is_asked_for_moments():
    net = TabNet(3)
    assert net.input_observer is None
    FOOF().build(net)
    gc.collect()
    assert not net.input_observer.wanted  # its optimizer is gone
