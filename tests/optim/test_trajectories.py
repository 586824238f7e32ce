"""Trajectories against numpy twins in float64, and closed forms."""

import numpy as np
import pytest
import torch

from flatcausal.optim import (
    GD,
    SAM,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    EntropySGD,
    Momentum,
    Nesterov,
    RMSprop,
)
from tests.optim.problems import Quadratics, flat, gradient_of, module, train
from tests.reference import optimizers as twin

TWINS = {
    "sgd": (SGD(), lambda g, w, n: twin.descend(g, w, n, twin.sgd_rule(0.1, weight_decay=0.01))),
    "gd": (GD(), lambda g, w, n: twin.descend(g, w, n, twin.sgd_rule(0.1, weight_decay=0.01))),
    "momentum": (
        Momentum(),
        lambda g, w, n: twin.descend(g, w, n, twin.sgd_rule(0.1, 0.9, weight_decay=0.01)),
    ),
    "nesterov": (
        SGD(momentum=0.8, nesterov=True),
        lambda g, w, n: twin.descend(g, w, n, twin.sgd_rule(0.1, 0.8, True, 0.01)),
    ),
    "nesterov by name": (
        Nesterov(),
        lambda g, w, n: twin.descend(g, w, n, twin.sgd_rule(0.1, 0.9, True, 0.01)),
    ),
    "adagrad": (Adagrad(), lambda g, w, n: twin.descend(g, w, n, twin.adagrad_rule(0.1, weight_decay=0.01))),
    "adagrad, other eps": (
        Adagrad(eps=0.1),
        lambda g, w, n: twin.descend(g, w, n, twin.adagrad_rule(0.1, 0.1, 0.01)),
    ),
    "rmsprop": (RMSprop(), lambda g, w, n: twin.descend(g, w, n, twin.rmsprop_rule(0.1, weight_decay=0.01))),
    "rmsprop, other alpha": (
        RMSprop(alpha=0.7, eps=1e-2),
        lambda g, w, n: twin.descend(g, w, n, twin.rmsprop_rule(0.1, 0.7, 1e-2, 0.01)),
    ),
    "adam": (Adam(), lambda g, w, n: twin.descend(g, w, n, twin.adam_rule(0.1, weight_decay=0.01))),
    "adam, other betas": (
        Adam(betas=(0.5, 0.7), eps=1e-2),
        lambda g, w, n: twin.descend(g, w, n, twin.adam_rule(0.1, (0.5, 0.7), 1e-2, 0.01)),
    ),
    # Not the default eps: a bias before BatchNorm has a gradient of mere rounding, which no penalty drowns.
    "adamw": (
        AdamW(eps=1e-3),
        lambda g, w, n: twin.descend(
            g, w, n, twin.adam_rule(0.1, eps=1e-3, weight_decay=0.01, decoupled=True)
        ),
    ),
    "adamw, other betas": (
        AdamW(betas=(0.5, 0.7), eps=1e-2),
        lambda g, w, n: twin.descend(g, w, n, twin.adam_rule(0.1, (0.5, 0.7), 1e-2, 0.01, decoupled=True)),
    ),
    "sam": (SAM(rho=0.3), lambda g, w, n: twin.sam(g, w, n, twin.sgd_rule(0.1, weight_decay=0.01), 0.3)),
    "sam over momentum": (
        SAM(rho=0.3, base=Momentum()),
        lambda g, w, n: twin.sam(g, w, n, twin.sgd_rule(0.1, 0.9, weight_decay=0.01), 0.3),
    ),
    "sam over adam": (
        SAM(rho=0.3, base=Adam()),
        lambda g, w, n: twin.sam(g, w, n, twin.adam_rule(0.1, weight_decay=0.01), 0.3),
    ),
    "sam over adamw": (
        SAM(rho=0.3, base=AdamW(eps=1e-3)),
        lambda g, w, n: twin.sam(
            g, w, n, twin.adam_rule(0.1, eps=1e-3, weight_decay=0.01, decoupled=True), 0.3
        ),
    ),
    "sam over nesterov": (
        SAM(rho=0.3, base=Nesterov()),
        lambda g, w, n: twin.sam(g, w, n, twin.sgd_rule(0.1, 0.9, True, 0.01), 0.3),
    ),
    "sam over adagrad": (
        SAM(rho=0.3, base=Adagrad()),
        lambda g, w, n: twin.sam(g, w, n, twin.adagrad_rule(0.1, weight_decay=0.01), 0.3),
    ),
    "sam over rmsprop": (
        SAM(rho=0.3, base=RMSprop()),
        lambda g, w, n: twin.sam(g, w, n, twin.rmsprop_rule(0.1, weight_decay=0.01), 0.3),
    ),
}


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", TWINS)
def test_twenty_steps_equal_the_numpy_twin(name, batch_norm):
    recipe, run = TWINS[name]
    net = module(batch_norm)
    expected = run(gradient_of(module(batch_norm)), flat(net).numpy(), 20)
    train(net, recipe.build(net, lr=0.1, weight_decay=0.01), 20)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_entropy_sgd_equals_the_numpy_twin(batch_norm, momentum, nesterov):
    net = module(batch_norm)
    values = {"L": 4, "inner_lr": 0.1, "gamma0": 0.5, "gamma1": 0.1, "gamma_max": 0.7, "alpha": 0.75}
    recipe = EntropySGD(**values, noise=0.0, momentum=momentum, nesterov=nesterov)
    start = flat(net).numpy()
    style = {"momentum": momentum, "nesterov": nesterov, "weight_decay": 0.01}
    expected = twin.entropy_sgd(gradient_of(module(batch_norm)), start, 6, 0.7, **style, **values)
    train(net, recipe.build(net, lr=0.7, weight_decay=0.01), 6)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("base", [SGD(), Momentum(), Nesterov(), Adagrad(), RMSprop(), Adam(), AdamW()])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_sam_without_radius_is_its_base_bitwise(base, batch_norm):
    plain, sam = module(batch_norm), module(batch_norm)
    train(plain, base.build(plain, lr=0.05, weight_decay=0.01), 10)
    train(sam, SAM(rho=0.0, base=base).build(sam, lr=0.05, weight_decay=0.01), 10)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), sam.state_dict().values(), strict=True)
    )


def test_sam_on_a_quadratic_has_its_closed_form():
    problem = Quadratics(0, 1)
    w, h = problem.w.detach().clone(), problem.h
    gradient = h * w
    climbed = w + 0.3 * gradient / gradient.norm(dim=1, keepdim=True)
    after = problem.train(SAM(rho=0.3).build([problem.w], lr=0.1, n_members=2), 1)
    torch.testing.assert_close(after, w - 0.1 * h * climbed, rtol=0, atol=1e-12)


def test_sam_on_a_linear_loss_is_sgd():
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = SAM(rho=5.0).build([w], lr=0.1)
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def closure():
        w.grad = None
        loss = (slope * w).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(w.detach(), 1 - 0.1 * slope, rtol=0, atol=1e-15)


def test_entropy_sgd_with_one_noiseless_inner_step_is_sgd():
    entropy, plain = Quadratics(0), Quadratics(0)
    recipe = EntropySGD(L=1, inner_lr=0.2, noise=0.0, momentum=0.0, alpha=0.75, gamma0=7.0)
    entropy.train(recipe.build([entropy.w], lr=0.5), 10)
    plain.train(SGD().build([plain.w], lr=0.5 * 0.75 * 0.2), 10)
    torch.testing.assert_close(entropy.w, plain.w, rtol=0, atol=1e-14)


def test_entropy_sgd_with_a_long_walk_reaches_the_proximal_point():
    problem = Quadratics(0)
    start = problem.w.detach().clone()
    recipe = EntropySGD(L=2000, inner_lr=0.05, noise=0.0, momentum=0.0, gamma0=0.7, gamma1=0.0)
    after = problem.train(recipe.build([problem.w], lr=1.0), 1)
    torch.testing.assert_close(after, 0.7 * start / (0.7 + problem.h), rtol=0, atol=1e-10)


def test_langevin_noise_has_the_variance_of_its_recursion():
    w = torch.zeros(2, 20_000, dtype=torch.float64, requires_grad=True)
    recipe = EntropySGD(L=3, inner_lr=0.1, gamma0=0.5, gamma1=0.0, noise=0.2, alpha=1.0)
    optimizer = recipe.build([w], lr=1.0, n_members=2, random_state=0)

    def closure():
        w.grad = torch.zeros_like(w)
        return w.sum()

    optimizer.step(closure)
    factor = (1 - 0.1 * 0.5) ** 2
    expected = 0.1 * 0.2**2 * (1 + factor + factor**2)
    assert w.var(dim=1).tolist() == pytest.approx([expected] * 2, rel=0.03)
    assert abs(torch.corrcoef(w.detach())[0, 1]) < 0.03


def test_a_long_run_does_not_diverge_as_the_scope_grows():
    problem = Quadratics(0)
    problem.train(EntropySGD(gamma1=0.1, noise=0.0).build([problem.w]), 300)
    assert problem.w.abs().max() < 1e-3


def test_a_scope_beyond_all_floats_is_the_largest():
    problem = Quadratics(0)
    problem.train(EntropySGD(L=1, gamma1=1.0, noise=0.0).build([problem.w]), 1100)
    assert problem.w.abs().max() < 1e-3


def test_scope_grows_with_every_step():
    problem = Quadratics(0)
    optimizer = EntropySGD(L=1, gamma0=0.1, gamma1=0.5, noise=0.0).build([problem.w], lr=0.5)
    problem.train(optimizer, 3)
    assert optimizer.param_groups[0]["n_steps_taken"] == 3
