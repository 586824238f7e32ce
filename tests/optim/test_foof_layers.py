"""What FOOF sees of a model: layers, populations, what belongs to others, hooks."""

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal._members import member_norms
from flatcausal.nn import backpropagate
from flatcausal.optim import FOOF, SAM, SGD, Adam, Momentum
from tests.nn.test_gradient import losses, network
from tests.nn.test_tabnet_parity import SHAPES
from tests.nn.test_tabnet_parity import inputs as tabnet_inputs
from tests.optim.linear_problems import half_mse, linear, normal, outer
from tests.optim.problems import closure_for, module, train

# ---- what it sees of a model


def second_moment(optimizer, layer):
    state = optimizer.state[layer.weight]["weight"]
    ema = optimizer.param_groups[0]["ema"]
    return state["second_moment"][0] / (1 - ema ** state["n_averaged"])


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = linear(normal(3, 3, seed=8))

    def forward(self, X):
        return self.layer(self.layer(X).tanh())


def test_uses_of_a_layer_are_summed_and_passes_averaged_by_rows():
    net, X, y = Twice(), normal(10, 3), normal(10, 3, seed=1)
    optimizer = FOOF().build(net, lr=0.0)
    half_mse(net, X, y).backward()
    optimizer.step()
    uses = outer(X) + outer(net.layer(X).tanh())
    torch.testing.assert_close(second_moment(optimizer, net.layer), uses / 10)

    optimizer = FOOF().build(net, lr=0.0)
    for rows in (slice(0, 7), slice(7, 10)):  # gradients accumulate
        half_mse(net, X[rows], y[rows]).backward()
    optimizer.step()
    torch.testing.assert_close(second_moment(optimizer, net.layer), uses / 10)


def test_leading_axes_are_rows_and_inputs_may_come_by_name():
    net, X = linear(normal(2, 3), [0.5, -0.5]), normal(4, 5, 3)
    optimizer = FOOF().build(net, lr=0.0)
    net(input=X).square().mean().backward()
    optimizer.step()
    A = torch.cat([X.reshape(20, 3), torch.ones(20, 1)], dim=1)
    torch.testing.assert_close(second_moment(optimizer, net), outer(A) / 20)


def test_only_passes_in_training_mode_with_gradients_are_seen():
    net, X = linear(normal(2, 3)), normal(4, 3)
    optimizer = FOOF().build(net, lr=0.0)
    with torch.no_grad():
        net(1e3 * X)
    net.eval()
    net(1e3 * X)
    net.train()
    net(X).square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(second_moment(optimizer, net), outer(X) / 4)


def test_passes_before_a_closure_do_not_count():
    net, X, y = linear(normal(2, 3)), normal(4, 3), normal(4, 2, seed=1)
    for recipe in (FOOF(), SAM(base=FOOF())):
        optimizer = recipe.build(net, lr=0.0)
        net(1e3 * X)

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = half_mse(net, X, y)
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(second_moment(optimizer, net), outer(X) / 4)


def test_under_sam_the_first_pass_alone_is_seen():
    net = Twice()
    X, y = normal(12, 3), normal(12, 3, seed=1)
    optimizer = SAM(rho=3.0, base=FOOF()).build(net, lr=0.1)
    hidden = net.layer(X).tanh()

    def closure():
        optimizer.zero_grad()
        loss = half_mse(net, X, y)
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(second_moment(optimizer, net.layer), (outer(X) + outer(hidden)) / 12)
    assert optimizer.base.moments.looking


def test_sam_without_radius_is_foof_on_a_tabnet_bitwise():
    ends = []
    for recipe in (FOOF(), SAM(rho=0.0, base=FOOF()), SAM(rho=1.0, base=FOOF())):
        net = network(SHAPES[0])
        train_tabnet(net, recipe, 3)
        ends.append(net.population.detach())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


# ---- populations


def train_tabnet(net, recipe, n_steps, by_hand=True, lr=0.1, **build):
    X = tabnet_inputs(SHAPES[0], 40, net.population.dtype)
    optimizer = recipe.build(net, lr=lr, n_members=net.n_members, **build)

    def closure():
        net.population.grad = None
        if by_hand:
            return backpropagate(net, X, losses)
        values = losses(*net(X), slice(None))
        values.sum().backward()
        return values.detach()

    for _ in range(n_steps):
        optimizer.step(closure)
    return optimizer


class Told:
    wanted = True

    def __call__(self, moments, n_rows):
        self.moments = {name: total / n_rows for name, total in moments.items()}


@pytest.mark.parametrize("by_hand", [True, False])
def test_each_member_and_layer_of_a_tabnet_takes_its_own_step(by_hand):
    net, twin_net = network(SHAPES[0]), network(SHAPES[0])
    twin_net.input_observer = Told()
    values = losses(*twin_net(tabnet_inputs(SHAPES[0], 40, torch.float64)), slice(None))
    values.sum().backward()
    gradient, start = twin_net.population.grad, twin_net.population.detach()
    train_tabnet(net, FOOF(damping=0.2), 1, by_hand, weight_decay=0.5)
    for block, columns in net.layout.columns().items():
        for k in range(3):
            w, g = start[k, columns].numpy(), gradient[k, columns].numpy()
            if block.startswith("norm"):
                expected = w - 0.1 * (g + 0.5 * w)
            else:
                moment = twin_net.input_observer.moments[block][k].numpy()
                inverse = np.linalg.inv(moment + 0.2 * np.eye(len(moment)))
                expected = (1 - 0.1 * 0.5) * w - 0.1 * (g.reshape(-1, len(moment)) @ inverse).ravel()
            np.testing.assert_allclose(net.population.detach()[k, columns], expected, rtol=0, atol=1e-11)


def test_a_tabnet_goes_alike_by_forward_and_by_hand():
    by_hand, by_forward = network(SHAPES[5]), network(SHAPES[5])
    X = tabnet_inputs(SHAPES[5], 40, torch.float64)
    for net in (by_hand, by_forward):
        optimizer = FOOF(damping=0.1, momentum=0.5, rest=Adam()).build(net, lr=0.02, n_members=3)
        for _ in range(5):
            net.population.grad = None
            if net is by_hand:
                backpropagate(net, X, losses)
            else:
                losses(*net(X), slice(None)).sum().backward()
            optimizer.step()
    torch.testing.assert_close(by_hand.population, by_forward.population, rtol=0, atol=1e-9)


def test_the_rest_of_a_population_moves_as_its_recipe_would_move_it():
    net, whole = network(SHAPES[5]), network(SHAPES[5])
    X = tabnet_inputs(SHAPES[5], 40, torch.float64)
    free = net.layout.mask("norm", "embedding")
    foof = FOOF(rest=Adam()).build(net, lr=0.02, n_members=3, weight_decay=0.1)
    adam = Adam().build(whole, lr=0.02, n_members=3, weight_decay=0.1)
    for _ in range(4):
        net.population.grad = None
        backpropagate(net, X, losses)
        with torch.no_grad():
            whole.population[:, ~free] = net.population[:, ~free]
        whole.population.grad = net.population.grad.clone()
        foof.step()
        adam.step()
        assert torch.equal(net.population[:, free], whole.population[:, free])
    assert not torch.equal(net.population[:, ~free], whole.population[:, ~free])


def test_matched_norms_give_each_member_the_length_of_sgds_step():
    nets = [network(SHAPES[0]) for _ in range(3)]
    start = nets[0].population.detach().clone()
    for net, recipe in zip(
        nets, (SGD(), FOOF(norm_match=True), FOOF(norm_match=True, damping=1e9)), strict=True
    ):
        train_tabnet(net, recipe, 1)
    sgd, matched, damped = (net.population.detach() - start for net in nets)
    torch.testing.assert_close(member_norms([matched], 3), member_norms([sgd], 3))
    torch.testing.assert_close(damped, sgd, rtol=0, atol=1e-8)
    assert (torch.cosine_similarity(matched, sgd) < 0.99).all()


def test_populations_that_are_part_of_a_module():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network(SHAPES[0], seeds=(0,))
            self.head = linear([[2.0]], [0.1])

        def forward(self, X):
            return self.head(self.inner(X)[0][0])

    net, X = Scaled(), tabnet_inputs(SHAPES[0], 40, torch.float64)
    alone = network(SHAPES[0], seeds=(0,))
    alone.input_observer = Told()
    alone(X)
    optimizer = FOOF().build(net, lr=0.1)
    net(X).square().mean().backward()
    optimizer.step()
    state = optimizer.state[net.inner.population]["shared.0"]
    torch.testing.assert_close(state["second_moment"] / 0.05, alone.input_observer.moments["shared.0"])
    assert optimizer.state[net.head.weight]["weight"]["second_moment"].shape == (1, 2, 2)


# ---- what belongs to others


class Mixture(nn.Module):
    """Tied, attended, normalised, convolved and frozen weights beside a plain layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.embedding.weight
        self.convolution = nn.Conv1d(1, 2, 1)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.spectral = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.plain = nn.Linear(4, 1)

    def forward(self, codes):
        x = self.tied(self.norm(self.embedding(codes)))
        x = self.frozen(self.spectral(self.attention(x, x, x)[0]))
        return self.plain(self.convolution(x.mean(1, keepdim=True)).mean(1))


def test_only_weights_of_one_linear_layer_are_its_own():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Mixture()
    optimizer = FOOF(rest=Momentum()).build(net, lr=0.01)
    assert [block.home for block in optimizer.blocks] == [net.plain.weight]
    plain = copy.deepcopy(net)
    other = Momentum().build(plain.parameters(), lr=0.01)
    codes = torch.tensor([[0, 1, 2], [3, 2, 1]])
    for _ in range(3):
        for model, opt in ((net, optimizer), (plain, other)):
            opt.zero_grad()
            model(codes).square().mean().backward()
        for p, q in zip(net.parameters(), plain.parameters(), strict=True):
            q.grad = None if p.grad is None else p.grad.clone()
        optimizer.step()
        other.step()
        with torch.no_grad():
            plain.plain.load_state_dict(net.plain.state_dict())
        for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
            assert torch.equal(p, q), name


def test_tensors_that_are_added_go_to_the_rest():
    net, extra = module(), nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = FOOF().build(net, lr=0.1)
    optimizer.add_param_group({"params": [extra], "lr": 0.5})
    extra.grad = torch.ones_like(extra)
    optimizer.step()
    assert extra.tolist() == [0.5, 0.5]
    again = FOOF().build(module(), lr=0.1)
    again.add_param_group({"params": [nn.Parameter(torch.ones(2, dtype=torch.float64))]})
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[1]["lr"] == 0.5


def test_a_bias_that_is_frozen_later_stays():
    net = module()
    optimizer = FOOF().build(net, lr=0.1)
    train(net, optimizer, 2)
    net[0].bias.requires_grad_(False)
    optimizer.zero_grad()
    kept, weight = net[0].bias.clone(), net[0].weight.detach().clone()
    train(net, optimizer, 2)
    assert torch.equal(net[0].bias, kept)
    assert not torch.equal(net[0].weight, weight)


# ---- hooks


def test_a_model_outlives_its_optimizer():
    net = module()
    optimizer = FOOF().build(net)
    moments = optimizer.moments
    train(net, optimizer, 1)
    assert sum(len(layer._forward_hooks) for layer in net.modules()) == 2
    del optimizer
    gc.collect()
    assert not moments.wanted
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net.modules())
    train(net, SGD().build(net), 1)
    assert moments.totals == [None, None]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_the_model_alone_is_not_watched(duplicate):
    net = module()
    optimizer = FOOF().build(net, lr=0.1)
    train(net, optimizer, 2)
    alone = duplicate(net)
    closure_for(alone, SGD().build(alone))()
    assert optimizer.moments.totals == [None, None]
    [observer] = {hook.moments for layer in (alone[0], alone[3]) for hook in layer._forward_hooks.values()}
    assert observer.totals == [None, None]
    twin_net, twin_optimizer = duplicate((net, optimizer))
    closure_for(twin_net, twin_optimizer)()
    assert all(total is not None for total in twin_optimizer.moments.totals)
    assert optimizer.moments.totals == [None, None]


def test_a_tabnet_goes_on_bitwise_from_a_state_dict():
    straight = network(SHAPES[5])
    X = tabnet_inputs(SHAPES[5], 40, torch.float64)
    recipe = FOOF(rest=Adam(), momentum=0.5, T=3)

    def run(net, optimizer, n_steps):
        for _ in range(n_steps):
            net.population.grad = None
            backpropagate(net, X, losses)
            optimizer.step()

    run(straight, recipe.build(straight, lr=0.02, n_members=3), 8)
    first = network(SHAPES[5])
    optimizer = recipe.build(first, lr=0.02, n_members=3)
    run(first, optimizer, 4)
    saved = pickle.loads(pickle.dumps((first.state_dict(), optimizer.state_dict())))
    second = network(SHAPES[5], seeds=(7, 8, 9))
    second.load_state_dict(saved[0])
    resumed = recipe.build(second, lr=0.9, n_members=3)
    resumed.load_state_dict(saved[1])
    run(second, resumed, 4)
    assert torch.equal(second.population, straight.population)
