"""Basin hopping: twin, limits, and what comes back on a rejection."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flatcausal.exceptions import ParameterTypeError
from flatcausal.nn import TabNet
from flatcausal.optim import BasinHopping, NiMSGD
from tests.optim.problems import closure_for, data, flat, gradient_of, module, train
from tests.optim.test_noise_enabled import stream
from tests.reference import noise_enabled as twin
from tests.reference.optimizers import sgd_rule

BIG = {"sigma": 0.5, "ls_steps": 2}  # so much noise that some hops go up


def loss_of(net):
    """Training loss as a function of the flat weight vector, in numpy."""
    X, y = data()

    def loss(w):
        torch.nn.utils.vector_to_parameters(torch.as_tensor(w), net.parameters())
        return (net(X) - y).square().mean().item()

    return loss


class Valleys:
    """K members on a curve with many minima; the closure gives each member's loss."""

    def __init__(self, n_members, with_losses=True):
        generator = torch.Generator().manual_seed(3)
        starts = torch.randn(n_members, 2, dtype=torch.float64, generator=generator) * 3
        self.w = starts.requires_grad_()
        self.calls = 0
        if with_losses:
            self.losses = self.values

    def values(self):
        return (0.1 * self.w.square() + torch.sin(3 * self.w)).sum(1)

    def __call__(self):
        self.calls += 1
        losses = self.values()
        (self.w.grad,) = torch.autograd.grad(losses.sum(), self.w)
        return losses.detach()

    def run(self, recipe, n_steps, lr=0.02, **kwargs):
        optimizer = recipe.build([self.w], lr, n_members=len(self.w), random_state=0, **kwargs)
        path = [self.values().detach()]
        for _ in range(n_steps):
            optimizer.step(self)
            path.append(self.values().detach())
        return torch.stack(path)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("perturb", ["model", "grad"])
@pytest.mark.parametrize("accept", ["always", "monotonic", "metropolis"])
def test_thirty_hops_equal_the_numpy_twin(accept, perturb, batch_norm):
    net, other, third = (module(batch_norm) for _ in range(3))
    sigma = 0.5 if perturb == "model" else 3.0
    recipe = BasinHopping(perturb, accept, ls_steps=3, sigma=sigma, temperature=0.1)
    draws = stream()
    noise = lambda: sigma * torch.cat([p.reshape(-1) for p in draws.like(list(net.parameters()))]).numpy()  # noqa: E731
    chance = {
        "always": lambda rise: True,
        "monotonic": lambda rise: rise < 0,
        "metropolis": twin.metropolis(0.1, lambda: draws.normal(2, torch.float64)[0].tolist()),
    }[accept]
    expected, accepted = twin.basin_hopping(
        loss_of(other), gradient_of(third), flat(net).numpy(), 30, sgd_rule(0.1), noise, 3, perturb, chance
    )
    train(net, recipe.build(net, lr=0.1, random_state=0), 30)
    np.testing.assert_allclose(flat(net).numpy(), expected, rtol=0, atol=1e-11)
    assert sum(accepted) > 0
    assert (sum(accepted) < 30) == (accept != "always")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_step_and_every_hop_accepted_is_noise_in_the_model(momentum):
    hops, plain = module(), module()
    recipe = BasinHopping(ls_steps=1, sigma=0.1, noise="ball", momentum=momentum)
    train(hops, recipe.build(hops, lr=0.05, weight_decay=0.01, random_state=0), 10)
    other = NiMSGD(sigma=0.1, noise="ball", momentum=momentum)
    train(plain, other.build(plain, lr=0.05, weight_decay=0.01, random_state=0), 10)
    pairs = zip(hops.state_dict().values(), plain.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("perturb", ["model", "grad"])
@pytest.mark.parametrize(("temperature", "accept"), [(math.inf, "always"), (0.0, "monotonic")])
def test_the_limits_of_metropolis_are_the_other_rules(temperature, accept, perturb):
    limit, other = Valleys(6), Valleys(6)
    limit.run(BasinHopping(perturb, "metropolis", temperature=temperature, **BIG), 20)
    other.run(BasinHopping(perturb, accept, **BIG), 20)
    assert torch.equal(limit.w, other.w)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["model", "grad"]), st.sampled_from(["gaussian", "sphere", "ball"]), st.floats(0.0, 3.0)
)
def test_the_monotonic_rule_never_rises(perturb, noise, sigma):
    for temperature in (0.0, 1e-300):
        accept = "metropolis" if temperature else "monotonic"
        recipe = BasinHopping(perturb, accept, 2, sigma, noise, temperature)
        path = Valleys(5).run(recipe, 15)
        assert (path.diff(dim=0) <= 0).all()


def test_the_penalty_of_the_weight_decay_is_part_of_what_never_rises():
    problem = Valleys(40)
    recipe = BasinHopping(accept="monotonic", **BIG)
    optimizer = recipe.build([problem.w], 0.02, weight_decay=0.7, n_members=40, random_state=0)
    losses, objectives = [], []
    for _ in range(20):
        losses.append(problem.values().detach())
        objectives.append(losses[-1] + 0.35 * problem.w.detach().square().sum(1))
        optimizer.step(problem)
    assert (torch.stack(objectives).diff(dim=0) <= 1e-12).all()
    assert (torch.stack(losses).diff(dim=0) > 0).any()


def test_metropolis_takes_rises_as_often_as_it_says():
    k, rise, temperature = 20_000, 0.3, 0.5

    class Step:
        """A loss that is 0 at the first look and ``rise`` at the second."""

        looks = 0

        def losses(self):
            self.looks += 1
            return torch.full((k,), rise * (self.looks - 1), dtype=torch.float64)

        def __call__(self):
            w.grad = torch.zeros_like(w)
            return torch.zeros(k)

    w = torch.zeros(k, 1, dtype=torch.float64, requires_grad=True)
    recipe = BasinHopping(accept="metropolis", sigma=1.0, temperature=temperature)
    recipe.build([w], lr=0.1, n_members=k, random_state=0).step(Step())
    share = (w != 0).double().mean().item()
    p = math.exp(-rise / temperature)
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / k)


def test_a_tie_is_no_descent():
    w = torch.ones(3, 2, requires_grad=True)

    def flat_everywhere():
        w.grad = torch.zeros_like(w)
        return torch.zeros(3)

    for accept, moves in (("monotonic", False), ("metropolis", True)):
        BasinHopping(accept=accept).build([w], n_members=3, random_state=0).step(flat_everywhere)
        assert (w != 1).all() == moves


@pytest.mark.parametrize("perturb", ["model", "grad"])
@pytest.mark.parametrize("accept", ["always", "monotonic", "metropolis"])
def test_calls_of_the_closure_are_those_promised_and_one_for_each_loss_it_does_not_offer(accept, perturb):
    recipe = BasinHopping(perturb, accept, ls_steps=4)
    offering, plain = Valleys(3), Valleys(3, with_losses=False)
    offering.run(recipe, 1)
    plain.run(recipe, 1)
    assert offering.calls == recipe.gradients_per_step == 4 + (perturb == "grad")
    n_losses = 0 if accept == "always" else 1 + (perturb == "model")
    assert plain.calls == offering.calls + n_losses
    assert torch.equal(offering.w, plain.w)


def test_a_rejection_brings_back_weights_momentum_and_statistics():
    net = module()
    optimizer = BasinHopping(accept="monotonic", ls_steps=2, sigma=0.01, momentum=0.9).build(
        net, lr=0.05, random_state=0
    )
    train(net, optimizer, 3)
    for group in optimizer.param_groups:
        group["sigma"] = 1e3  # no search comes back from there
    buffers = [optimizer.state[p]["momentum_buffer"] for p in net.parameters()]
    before = [t.clone() for t in [*net.state_dict().values(), *buffers]]
    train(net, optimizer, 1)
    assert all(torch.equal(a, b) for a, b in zip([*net.state_dict().values(), *buffers], before, strict=True))


def test_a_rejected_first_hop_leaves_no_momentum():
    net, fresh = module(), module()
    optimizer = BasinHopping(accept="monotonic", ls_steps=2, sigma=1e3, momentum=0.9).build(
        net, random_state=0
    )
    train(net, optimizer, 1)
    assert torch.equal(flat(net), flat(fresh))
    assert all((optimizer.state[p]["momentum_buffer"] == 0).all() for p in net.parameters())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_brings_back_momentum_and_statistics_too(error):
    net = module()
    optimizer = BasinHopping(ls_steps=3, momentum=0.9).build(net, random_state=0)
    train(net, optimizer, 2)
    buffers = [optimizer.state[p]["momentum_buffer"] for p in net.parameters()]
    before = [t.clone() for t in [*net.state_dict().values(), *buffers]]
    closure = closure_for(net, optimizer)

    def fails():
        if closure.calls == 2:
            raise error
        return closure()

    with pytest.raises(error):
        optimizer.step(fails)
    assert all(torch.equal(a, b) for a, b in zip([*net.state_dict().values(), *buffers], before, strict=True))


def population(k=4):
    generators = [torch.Generator().manual_seed(s) for s in range(k)]
    net = TabNet(3, n_members=k, n_steps=1, n_d=2, n_a=2, generators=generators)
    X = torch.randn(16, 3, generator=torch.Generator().manual_seed(9))
    y = X[:, 0] * X[:, 1]

    def closure():
        net.zero_grad()
        losses = value()
        losses.sum().backward()
        return losses.detach()

    def value():
        output, _ = net(X.expand(k, 16, 3))
        return (output[..., 0] - y).square().mean(1)

    closure.losses = value
    return net, closure


def test_members_of_a_tabnet_come_back_or_move_on_by_their_own_loss():
    net, closure = population()
    recipe = BasinHopping(accept="monotonic", ls_steps=2, sigma=0.05, momentum=0.5)
    optimizer = recipe.build(net, lr=0.05, n_members=4, random_state=1)
    some_went, some_stayed = False, False
    for _ in range(12):
        weights, statistics = net.population.detach().clone(), net.statistics.clone()
        optimizer.step(closure)
        stayed = (net.population == weights).all(1)
        assert torch.equal((net.statistics == statistics).all(1), stayed)
        some_went, some_stayed = some_went or (~stayed).any(), some_stayed or stayed.any()
        if stayed.any() and not stayed.all():
            assert (optimizer.state[net.population]["momentum_buffer"][~stayed] != 0).any()
    assert some_went
    assert some_stayed


def test_a_member_without_a_loss_stays_and_the_others_go_on_bitwise():
    recipe = BasinHopping(accept="metropolis", temperature=0.3, **BIG)
    healthy, sick = Valleys(4), Valleys(4)
    with torch.no_grad():
        sick.w[0] = torch.nan
    healthy.run(recipe, 10)
    sick.run(recipe, 10)
    assert torch.equal(healthy.w[1:], sick.w[1:])
    assert sick.w[0].isnan().all()


def test_one_loss_for_several_members_is_refused():
    w = torch.ones(3, 2, requires_grad=True)
    optimizer = BasinHopping(accept="monotonic").build([w], n_members=3, random_state=0)

    def closure():
        w.grad = None
        loss = w.square().sum()
        loss.backward()
        return loss

    with pytest.raises(ParameterTypeError, match=r"shape \(3,\).*got shape \(\)"):
        optimizer.step(closure)
    assert (w == 1).all()
