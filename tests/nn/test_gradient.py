"""The gradient by hand against autograd through ``forward``, and the laws of the population."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flatcausal.nn._gradient as gradient_module
from flatcausal.nn import TabNet, backpropagate
from flatcausal.nn._sparsemax import sparsemax, sparsemax_
from tests.nn.test_tabnet_parity import N_ROWS, SHAPES, inputs

LARGE = {"n_features": 33, "n_outputs": 3, "n_steps": 5, "n_shared": 1, "n_independent": 3, "gamma": 1.5}
LARGE_ENTMAX = {**LARGE, "mask_type": "entmax"}


def network(shape, seeds=(0, 1, 2), dtype=torch.float64, virtual_batch_size=32):
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    net = TabNet(
        **shape,
        n_members=len(seeds),
        virtual_batch_size=virtual_batch_size,
        bn_momentum=0.3,
        generators=generators,
    )
    for row, generator in zip(net.population.data, generators, strict=True):
        row[net.layout.mask("norm")] += 0.2 * torch.randn(
            int(net.layout.mask("norm").sum()), generator=generator
        )
    return net.to(dtype)


def losses(output, sparsity, members):
    weights = torch.linspace(0.5, 2, output.shape[1], dtype=output.dtype).unsqueeze(1)
    return (weights * (output - 0.3).square()).mean((1, 2)) - 0.1 * sparsity


def by_autograd(net, X, criterion=losses):
    values = criterion(*net(X), slice(None))
    values.sum().backward()
    return values.detach(), net.population.grad, net.statistics


def by_hand(net, X, criterion=losses):
    return backpropagate(net, X, criterion), net.population.grad, net.statistics


def assert_equal_up_to_rounding(net, X, criterion=losses):
    twin = copy.deepcopy(net)
    for ours, theirs in zip(by_hand(net, X, criterion), by_autograd(twin, X, criterion), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10 * theirs.abs().max().item())


@pytest.mark.parametrize("shape", [*SHAPES, LARGE, LARGE_ENTMAX])
@pytest.mark.parametrize("n_rows", [*N_ROWS, 2, 33])
def test_equals_forward_and_backward(shape, n_rows):
    assert_equal_up_to_rounding(network(shape), inputs(shape, n_rows, torch.float64))


@pytest.mark.parametrize("shape", [*SHAPES, LARGE, {"n_features": 3, "embeddings": {1: (4, 2)}}])
@pytest.mark.parametrize("n_rows", [200, 203, 193])  # without and with a tail, and one that joined a chunk
def test_a_batch_in_parts_has_the_gradient_of_the_whole(shape, n_rows, monkeypatch):
    X = inputs(shape, n_rows, torch.float64)
    held = by_hand(network(shape, virtual_batch_size=8), X)
    monkeypatch.setattr(gradient_module, "_HELD_ELEMENTS", 1)
    runs = []
    forward = gradient_module.Pass.forward
    monkeypatch.setattr(gradient_module.Pass, "forward", lambda run: runs.append(run.rows) or forward(run))
    parts = by_hand(network(shape, virtual_batch_size=8), X)
    assert runs == 2 * gradient_module.Chunks.of(n_rows, 8).sizes
    for whole, cut in zip(held, parts, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-10 * whole.abs().max().item())
    assert_equal_up_to_rounding(network(shape, virtual_batch_size=8), X)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_forward_and_backward_for_members_with_rows_of_their_own_and_small_chunks(shape):
    X = torch.stack([inputs(shape, 30, torch.float64, seed=seed) for seed in range(3)])
    assert_equal_up_to_rounding(network(shape, virtual_batch_size=8), X)
    features_first = X.transpose(1, 2).contiguous().transpose(1, 2)
    assert_equal_up_to_rounding(network(shape, virtual_batch_size=8), features_first)


@pytest.mark.parametrize("shape", [*SHAPES, LARGE, LARGE_ENTMAX])
@pytest.mark.parametrize("n_rows", [64, 200])
def test_float32_is_as_near_to_float64_as_autograd_is(shape, n_rows):
    X = inputs(shape, n_rows)
    net = network(shape, dtype=torch.float32)
    exact = by_autograd(copy.deepcopy(net).double(), X.double())
    ours, theirs = by_hand(copy.deepcopy(net), X), by_autograd(net, X)
    for e, o, t in zip(exact, ours, theirs, strict=True):
        scale = e.abs().max()
        assert (o - e).abs().max() / scale < 3 * (t - e).abs().max() / scale + 1e-5


def test_first_norm_keeps_its_digits_where_means_dwarf_deviations():
    shape = {"n_features": 5}
    X = inputs(shape, 256) * torch.tensor([1.0, 1.0, 10.0, 1.0, 1.0])
    X += torch.tensor([0.0, 1e3, 1e4, -1e3, 0.0])
    net = network(shape, dtype=torch.float32, virtual_batch_size=128)
    exact = by_autograd(copy.deepcopy(net).double(), X.double())[1]
    ours, theirs = by_hand(copy.deepcopy(net), X)[1], by_autograd(net, X)[1]
    assert (ours - exact).abs().max() < 3 * (theirs - exact).abs().max()


def test_unseen_categories_are_no_part_of_a_gradient():
    shape = {"n_features": 3, "embeddings": {1: (4, 2)}}
    X = inputs(shape, 40, torch.float64)
    X[::3, 1] = -1
    net = network(shape)
    net.statistics.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(5))
    assert_equal_up_to_rounding(net, X)


def test_gradients_add_up_and_losses_may_ignore_the_sparsity():
    net, X = network(SHAPES[0]), inputs(SHAPES[0], 64, torch.float64)
    net.track_running_stats = False
    before = net.statistics.clone()

    def plain(output, sparsity, members):
        return output.square().mean((1, 2))

    backpropagate(net, X, plain)
    once = net.population.grad.clone()
    assert_equal_up_to_rounding(copy.deepcopy(net), X, plain)
    backpropagate(net, X, plain)
    torch.testing.assert_close(net.population.grad, 2 * once)
    assert torch.equal(net.statistics, before)
    net.population.grad = None
    backpropagate(net, X, lambda output, sparsity, members: sparsity)
    assert net.population.grad[:, net.layout.columns()["output"]].eq(0).all()


def test_a_converted_network_is_exact_in_its_new_dtype():
    net, X = network(SHAPES[0], dtype=torch.float32), inputs(SHAPES[0], 64)
    backpropagate(net, X, losses)
    net.population.grad = None
    assert_equal_up_to_rounding(net.double(), X.double())


def test_losses_see_the_members_of_their_slice(monkeypatch):
    monkeypatch.setattr(gradient_module, "_GROUP_ELEMENTS", 1)
    net, X = network(SHAPES[0], seeds=range(5)), inputs(SHAPES[0], 20, torch.float64)
    seen = []

    def spy(output, sparsity, members):
        seen.append(members)
        assert output.shape == (members.stop - members.start, 20, 1)
        return output.mean((1, 2)) * torch.arange(5.0)[members]

    backpropagate(net, X, spy)
    assert seen == [slice(0, 2), slice(2, 5)]
    assert net.population.grad[0].eq(0).all()
    assert net.population.grad[1:].abs().sum(1).gt(0).all()


ODD = {"n_features": 33, "n_outputs": 3, "n_d": 3, "n_a": 1, "n_steps": 2}


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2], SHAPES[5], LARGE, LARGE_ENTMAX, ODD])
@pytest.mark.parametrize("n_rows", [21, 37, 64, 129, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_depends_neither_on_its_neighbours_nor_on_its_group(shape, n_rows, dtype, monkeypatch):
    X = inputs(shape, n_rows, dtype)
    of_nine = by_hand(network(shape, range(9), dtype, 8), X)
    of_two = by_hand(network(shape, (4, 8), dtype, 8), X)
    monkeypatch.setattr(gradient_module, "_GROUP_ELEMENTS", 1)
    grouped = by_hand(network(shape, range(9), dtype, 8), X)
    for nine, two, split in zip(of_nine, of_two, grouped, strict=True):
        assert torch.equal(nine, split)
        assert torch.equal(nine[[4, 8]], two)


@pytest.mark.parametrize("shape", [LARGE, LARGE_ENTMAX])
def test_parts_are_cut_alike_whatever_the_neighbours(shape, monkeypatch):
    monkeypatch.setattr(gradient_module, "_HELD_ELEMENTS", 1000)
    X = inputs(shape, 203, torch.float32)
    of_nine = by_hand(network(shape, range(9), torch.float32, 8), X)
    of_two = by_hand(network(shape, (4, 8), torch.float32, 8), X)
    for nine, two in zip(of_nine, of_two, strict=True):
        assert torch.equal(nine[[4, 8]], two)


@pytest.mark.parametrize("shape", [SHAPES[0], LARGE_ENTMAX])
def test_a_member_that_turns_nan_leaves_the_others_bitwise_unchanged(shape):
    X = inputs(shape, 50)
    healthy, sick = (network(shape, dtype=torch.float32) for _ in range(2))
    sick.population.data[0] = float("nan")
    for a, b in zip(by_hand(healthy, X), by_hand(sick, X), strict=True):
        assert torch.equal(a[1:], b[1:])
        assert b[0].isnan().any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 1.0, 10.0]))
def test_projection_in_place_equals_sparsemax(n_features, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, n_features, 30, dtype=torch.float64, generator=generator) * scale + 3
    mask, support, size = sparsemax_(z.clone())
    torch.testing.assert_close(mask, sparsemax(z, dim=1), atol=1e-12, rtol=0)
    assert torch.equal(support, (mask > 0).double())
    assert torch.equal(size, support.sum(1, keepdim=True))


def test_projection_of_a_column_does_not_depend_on_the_others():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 50, 64, generator=generator) * torch.tensor([0.05, 0.3, 1.0, 3.0, 1.0, 0.01]).view(
        -1, 1, 1
    )
    together = sparsemax_(z.clone())
    for pair in ([0, 1], [3, 2], [4, 5]):
        for whole, part in zip(together, sparsemax_(z[pair]), strict=True):
            assert torch.equal(whole[pair], part)


def test_projection_of_a_member_does_not_depend_on_how_many_rounds_its_neighbours_take():
    # The last logit lies on the threshold of the others, so that rounding decides whether it belongs to them.
    z = -torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) / 2
    z -= z.amax(1, keepdim=True)
    z = torch.cat([z, (z.sum(1, keepdim=True) - 1) / 3, -torch.full((2000, 36), 2.0)], dim=1).T
    slow = torch.linspace(0, -1, 40).exp().cumsum(0).unsqueeze(1) * torch.linspace(0.001, 0.5, 2000)
    of_twins, of_strangers = sparsemax_(torch.stack([z, z])), sparsemax_(torch.stack([z, slow]))
    for mine, theirs in zip(of_twins, of_strangers, strict=True):
        assert torch.equal(mine[0], theirs[0])


def test_projection_ends_where_rounding_could_swing_the_threshold_to_and_fro():
    logits = [-0.9754452705383301, 0.0, -0.49767303466796875, -0.791225790977478, -0.6804895401000977]
    z = torch.tensor([*logits, -0.5437957048416138]).view(1, -1, 1).repeat(1, 1, 16)
    torch.testing.assert_close(sparsemax_(z.clone())[0], sparsemax(z, dim=1), atol=1e-6, rtol=0)
