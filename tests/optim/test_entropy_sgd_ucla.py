"""Entropy-SGD as the released code has it: twin, limits, and what is not taken over from there."""

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal._members import member_generators, member_normal
from flatcausal._random import seed_sequence
from flatcausal.exceptions import ParameterError
from flatcausal.optim import SGD, EntropySGD, ReleasedEntropySGDOptimizer
from tests.optim.problems import Quadratics, closure_for, flat, gradient_of, module, train
from tests.reference import optimizers as twin


def noise_for(net, size):
    """The noise that a recipe built with random_state=0 draws for ``net``, a vector at a time."""
    generators = member_generators(seed_sequence(0), 1)
    return lambda: (
        size * torch.cat([member_normal(p, generators).reshape(-1) for p in net.parameters()]).numpy()
    )


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("L", [0, 1, 4])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, True), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_six_steps_equal_the_numpy_twin(batch_norm, L, momentum, nesterov, noise):
    net = module(batch_norm)
    values = {"inner_lr": 0.2, "gamma0": 0.5, "momentum": momentum, "nesterov": nesterov}
    recipe = EntropySGD(L, **values, gamma1=0.3, noise=noise, alpha=0.6, variant="ucla")
    expected = twin.released_entropy_sgd(
        gradient_of(module(batch_norm)), flat(net).numpy(), 6, 0.5, L, **values, old=0.6, weight_decay=0.01,
        noise=noise_for(net, noise),
    )  # fmt: skip
    train(net, recipe.build(net, lr=0.5, weight_decay=0.01, random_state=0), 6)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


def test_defaults_are_the_constants_of_the_released_code():
    net = module()
    expected = twin.released_entropy_sgd(
        gradient_of(module()), flat(net).numpy(), 5, 1.0, 5, inner_lr=0.1, gamma0=0.03, old=0.75, momentum=0.9
    )
    train(net, EntropySGD(variant="ucla", noise=0.0).build(net), 5)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_without_inner_steps_it_is_sgd_only_without_momentum(weight_decay):
    ends = []
    for recipe in (EntropySGD(L=0, momentum=0.0, variant="ucla"), SGD(), SGD(momentum=0.9, nesterov=True)):
        net = module()
        train(net, recipe.build(net, lr=0.05, weight_decay=weight_decay), 10)
        ends.append(flat(net))
    assert torch.equal(ends[0], ends[1])
    net = module()
    train(net, EntropySGD(L=0, variant="ucla").build(net, lr=0.05, weight_decay=weight_decay), 10)
    assert (flat(net) - ends[2]).abs().max() > 1e-3


def test_one_noiseless_inner_step_is_sgd():
    entropy, plain = Quadratics(0), Quadratics(0)
    recipe = EntropySGD(L=1, inner_lr=0.2, noise=0.0, momentum=0.0, gamma0=7.0, variant="ucla")
    entropy.train(recipe.build([entropy.w], lr=0.5), 10)
    plain.train(SGD().build([plain.w], lr=0.5 * 0.25 * 0.2), 10)
    torch.testing.assert_close(entropy.w, plain.w, rtol=0, atol=1e-14)


def test_noise_has_twice_the_variance_of_the_papers():
    w = torch.zeros(2, 20_000, dtype=torch.float64, requires_grad=True)
    recipe = EntropySGD(L=3, gamma0=0.5, noise=0.2, alpha=0.0, momentum=0.0, variant="ucla")
    optimizer = recipe.build([w], lr=1.0, n_members=2, random_state=0)

    def closure():
        w.grad = torch.zeros_like(w)
        return w.sum()

    optimizer.step(closure)
    factor = (1 - 0.1 * 0.5) ** 2
    expected = 2 * 0.1 * 0.2**2 * (1 + factor + factor**2)
    assert w.var(dim=1).tolist() == pytest.approx([expected] * 2, rel=0.03)


def test_the_scope_does_not_grow():
    ends = []
    for gamma1 in (0.0, 0.5):
        problem = Quadratics(0)
        recipe = EntropySGD(L=3, gamma0=0.5, gamma1=gamma1, noise=0.0, variant="ucla")
        ends.append(problem.train(recipe.build([problem.w], lr=0.5), 5))
    assert torch.equal(*ends)


@pytest.mark.parametrize("L", [0, 1, 5])
def test_a_step_takes_one_gradient_more_than_it_walks(L):
    net, recipe = module(), EntropySGD(L, variant="ucla")
    optimizer = recipe.build(net, random_state=0)
    closure = closure_for(net, optimizer)
    optimizer.step(closure)
    assert closure.calls == recipe.gradients_per_step == recipe.batches_per_step == 1 + L
    assert net[1].num_batches_tracked == 1


def test_unused_parameters_and_further_groups_do_not_fail_and_are_trained():
    net, unused = module(), nn.Parameter(torch.ones(2, dtype=torch.float64))
    groups = [
        {"params": [*net[0].parameters(), unused]},
        {"params": [*net[3].parameters(), *net[1].parameters()]},
    ]
    last = net[3].weight.detach().clone()
    optimizer = EntropySGD(L=2, variant="ucla").build(groups, lr=0.5, weight_decay=0.1, random_state=0)
    train(net, optimizer, 3)
    assert isinstance(optimizer, ReleasedEntropySGDOptimizer)
    assert torch.equal(unused, torch.ones(2, dtype=torch.float64))
    assert not torch.equal(net[3].weight, last)


@pytest.mark.parametrize(
    ("recipe", "match"),
    [
        (EntropySGD(variant="lua"), "variant must be one of 'paper', 'ucla', got 'lua'"),
        (EntropySGD(variant="ucla", gamma_max=1.0), "gamma_max must be None with variant='ucla'.*got 1.0"),
        (EntropySGD(variant="ucla", L=-1), "L must be"),
    ],
)
def test_bad_hyper_parameters_are_named(recipe, match):
    with pytest.raises(ParameterError, match=match):
        recipe.build(module())
