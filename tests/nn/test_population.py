"""The laws of the population matrix: members never meet."""

import pytest
import torch

from flatcausal.exceptions import ParameterError
from flatcausal.nn import TabNet
from flatcausal.nn._normalization import Chunks
from tests.reference.pytorch_tabnet_weights import reference_network

SIZES = {"n_features": 4, "n_d": 3, "n_a": 3, "n_steps": 2, "virtual_batch_size": 8}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def network(*seeds, dtype=torch.float32):
    return TabNet(**SIZES, n_members=len(seeds), generators=generators(*seeds)).to(dtype)


def batch(n=21, dtype=torch.float32, seed=0):
    return torch.randn(n, 4, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gradients(net, X):
    net.zero_grad()
    output, sparsity = net(X)
    (output.square().mean((1, 2)).sum() + sparsity.sum()).backward()
    return output.detach(), net.population.grad.clone(), net.statistics.clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_does_not_depend_on_its_neighbours(dtype):
    X = batch(dtype=dtype)
    of_four = gradients(network(3, 1, 4, 5, dtype=dtype), X)
    of_two = gradients(network(4, 1, dtype=dtype), X)
    for four, two in zip(of_four, of_two, strict=True):
        assert torch.equal(four[2], two[0])
        assert torch.equal(four[1], two[1])


def test_one_member_alone_agrees_up_to_rounding():
    X = batch(dtype=torch.float64)
    alone, stacked = (
        gradients(network(7, dtype=torch.float64), X),
        gradients(network(7, 8, dtype=torch.float64), X),
    )
    for a, b in zip(alone, stacked, strict=True):
        torch.testing.assert_close(a[0], b[0], atol=1e-10, rtol=1e-10)


def test_a_member_that_turns_nan_leaves_the_others_bitwise_unchanged():
    X = batch()
    healthy, sick = network(1, 2, 3), network(1, 2, 3)
    with torch.no_grad():
        sick.population[0] = float("nan")
    for a, b in zip(gradients(healthy, X), gradients(sick, X), strict=True):
        assert torch.equal(a[1:], b[1:])
    assert gradients(sick, X)[0][0].isnan().all()


def test_each_member_may_have_rows_of_its_own():
    net = network(1, 2)
    own = torch.stack([batch(seed=1), batch(seed=2)])
    together = net(own)[0]
    torch.testing.assert_close(together[0], network(1, 2)(own[0])[0][0])
    torch.testing.assert_close(together[1], network(1, 2)(own[1])[0][1])


def test_no_parameter_is_dead():
    net = network(1, 2)
    _, gradient, _ = gradients(net, batch(200))
    for name, columns in net.layout.columns().items():
        assert gradient[:, columns].abs().sum(1).gt(0).all(), name


def test_frozen_statistics_stay_and_evaluation_never_moves_them():
    net = network(1, 2)
    before = net.statistics.clone()
    net.track_running_stats = False
    net(batch())
    net.track_running_stats = True
    net.eval()(batch())
    assert torch.equal(net.statistics, before)


def test_reestimated_statistics_are_row_weighted_means_of_ghost_batches():
    net = network(1, 2, dtype=torch.float64)
    X = batch(16, dtype=torch.float64)
    net.reestimate_statistics([X])
    # One whole batch: the first layer's statistics are those of the data.
    n_norm = net.statistics.shape[1] // 2
    torch.testing.assert_close(net.statistics[0, :4], X.mean(0))
    torch.testing.assert_close(net.statistics[0, n_norm : n_norm + 4], X.var(0))
    # Cut at a ghost-batch edge: the means of the first layer do not change.
    once = net.statistics.clone()
    net.reestimate_statistics([X[:8], X[8:]])
    torch.testing.assert_close(net.statistics[:, :4], once[:, :4])


@pytest.mark.parametrize(
    ("n_rows", "size", "expected"),
    [(16, 8, [8, 8]), (6, 8, [6]), (13, 8, [7, 6]), (5, 2, [2, 3]), (3, 2, [3]), (2, 2, [2])],
)
def test_ghost_batches_never_hold_a_single_row(n_rows, size, expected):
    assert Chunks.of(n_rows, size).sizes == expected


def test_initial_weights_follow_tabnet():
    net = TabNet(50, n_members=40, n_d=20, n_a=20, generators=generators(*range(40)))
    reference = reference_network(net, 0)
    columns = net.layout.columns()
    for name, weight in [
        ("shared.0", reference.encoder.initial_splitter.shared.glu_layers[0].fc.weight),
        ("attention.1", reference.encoder.att_transformers[0].fc.weight),
        ("output", reference.final_mapping.weight),
    ]:
        ours = net.population[:, columns[name]].std().item()
        assert ours == pytest.approx(weight.std().item(), rel=0.3 if name == "output" else 0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 0.9),
        ("n_steps", 0),
        ("virtual_batch_size", 1),
        ("bn_momentum", 1.5),
        ("n_members", 0),
        ("n_d", 0),
        ("mask_type", "softmax"),
    ],
)
def test_bad_sizes_are_named(name, value):
    with pytest.raises(ParameterError, match=name):
        TabNet(4, **{name: value})
