"""Running statistics estimated anew: those of all rows together, and nothing else changes."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flatcausal.exceptions import DataError
from flatcausal.nn import TabNet
from flatcausal.optim.averaging import update_batch_norm
from tests.optim import problems


def rows(n=23, seed=0):
    """Rows whose mean drifts, so that batches differ from each other."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, dtype=torch.float64, generator=generator) + torch.arange(n)[:, None] / 3


def first_layer():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).double()


def state(module):
    modes = [part.training for part in module.modules()]
    settings = [
        (part.momentum, part.track_running_stats, len(part._forward_pre_hooks))
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    return modes, settings, {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(one, other):
    assert one[:2] == other[:2]
    assert one[2].keys() == other[2].keys()
    assert all(torch.equal(value, other[2][name]) for name, value in one[2].items())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1))
def test_the_first_layer_gets_the_moments_of_all_rows_however_they_are_cut(sizes):
    X = rows(sum(sizes))
    model = first_layer()
    hidden = model[0](X).detach()
    update_batch_norm(model, X.split(sizes))
    torch.testing.assert_close(model[1].running_mean, hidden.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model[1].running_var, hidden.var(0), rtol=1e-12, atol=1e-12)


def test_deeper_layers_see_rows_normalised_by_their_batch():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2), nn.BatchNorm1d(2))
    model = model.double()
    sizes, X = [10, 9, 4], rows()
    update_batch_norm(model, X.split(sizes))
    weight = {name: value.detach().numpy() for name, value in model.named_parameters()}
    inputs = []
    for batch in np.split(X.numpy(), np.cumsum(sizes)[:-1]):
        hidden = batch @ weight["0.weight"].T + weight["0.bias"]
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
        inputs.append(np.tanh(hidden) @ weight["3.weight"].T + weight["3.bias"])
    everything = np.concatenate(inputs)
    np.testing.assert_allclose(model[4].running_mean, everything.mean(0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model[4].running_var, everything.var(0, ddof=1), rtol=1e-12)


def test_one_batch_of_all_rows_gives_what_a_training_pass_at_momentum_one_gives():
    model = problems.module()
    X, _ = problems.data()
    expected = copy.deepcopy(model).train()
    for part in expected.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.momentum = 1.0
    expected(X)
    update_batch_norm(model, [X])
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=1e-12, atol=1e-14)


def test_images_and_a_layer_used_twice():
    shared = nn.BatchNorm2d(2, dtype=torch.float64)
    model = nn.Sequential(shared, nn.Conv2d(2, 2, 1, dtype=torch.float64), shared)
    images = torch.randn(6, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = shared(images)
    twice = model[1](once)
    seen = torch.cat([images, twice]).transpose(0, 1).flatten(1)
    update_batch_norm(model, [images])
    torch.testing.assert_close(shared.running_mean, seen.mean(1).detach())
    torch.testing.assert_close(shared.running_var, seen.var(1).detach())


def test_single_precision_far_from_zero_keeps_its_digits():
    layer = nn.BatchNorm1d(1)
    X = (10_000 + rows(1000)[:, :1] * 1e-2).float()
    update_batch_norm(layer, X.split(64))
    assert layer.running_var.item() == pytest.approx(X.double().var().item(), rel=1e-6)
    assert layer.running_mean.dtype is torch.float32


def test_dropout_is_off_and_everything_else_stays():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1)).double()
    model.train()
    model[2].eval()
    model[1].momentum = 0.3
    X, draws = rows(), torch.get_rng_state()
    before = state(model)
    update_batch_norm(model, X.split(8))
    after = state(model)
    assert torch.equal(torch.get_rng_state(), draws)
    torch.testing.assert_close(after[2].pop("1.running_mean"), X.mean(0))
    torch.testing.assert_close(after[2].pop("1.running_var"), X.var(0))
    assert after[2].pop("1.num_batches_tracked") == 3
    assert after[2]["1.weight"].dtype is torch.float64
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        before[2].pop(name)
    assert_same(before, after)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_everything_as_it_was(error):
    model = nn.Sequential(first_layer(), nn.Dropout(0.5))
    model.eval()[1].train()
    before = state(model)

    def batches():
        yield rows()
        raise error("no more")

    with pytest.raises(error, match="no more"):
        update_batch_norm(model, batches())
    assert_same(state(model), before)
    with pytest.raises(RuntimeError):
        update_batch_norm(model, [rows(), torch.zeros(5, 4, dtype=torch.float64)])
    assert_same(state(model), before)


def test_without_batch_norm_nothing_happens():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4), nn.InstanceNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    before = state(model)

    def batches():
        raise AssertionError("asked for rows")
        yield

    update_batch_norm(model, batches())
    assert_same(state(model), before)


def test_a_layer_that_no_row_reaches_stays():
    class Bypass(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.used(x)

    model = Bypass().double()
    update_batch_norm(model, [rows()])
    assert torch.equal(model.idle.running_mean, torch.zeros(3, dtype=torch.float64))
    assert model.idle.num_batches_tracked == 0
    torch.testing.assert_close(model.used.running_mean, rows().mean(0))


def test_batches_may_come_with_targets_as_a_loader_gives_them():
    X = rows().float()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(X, torch.zeros(len(X))), batch_size=11, shuffle=False
    )
    layer = nn.BatchNorm1d(3)
    update_batch_norm(layer, loader)
    torch.testing.assert_close(layer.running_var, X.var(0))


@pytest.mark.parametrize("batches", [[], [rows(1)]])
def test_too_few_rows_are_named(batches):
    model = first_layer()
    before = state(model)
    with pytest.raises(DataError, match="two rows"):
        update_batch_norm(model, batches)
    assert_same(state(model), before)


def test_a_tabnet_does_it_by_itself():
    network = TabNet(3, n_members=2, virtual_batch_size=8)
    expected = copy.deepcopy(network)
    X = rows(25).float()
    update_batch_norm(network, X.split(8))  # 8, 8 and 9, for a row alone has no variance
    expected.reestimate_statistics(X.split([8, 8, 9]))
    assert torch.equal(network.statistics, expected.statistics)
    assert not torch.equal(network.statistics, TabNet(3, n_members=2).statistics)
