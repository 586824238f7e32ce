"""What becomes of each member is decided by its own losses and weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.estimators._monitor import MemberMonitor
from flatcausal.nn import TabNet

NAN, INF = float("nan"), float("inf")


def watch(losses, patience=None, weights=None):
    """Observe epochs of losses (epochs, K); member k's weights in epoch e are e unless given."""
    K = len(losses[0])
    network = TabNet(2, n_d=2, n_a=2, n_steps=1, n_members=K)
    with torch.no_grad():
        network.population.zero_()
    monitor = MemberMonitor(network, patience)
    for epoch, row in enumerate(losses, start=1):
        with torch.no_grad():
            network.population.fill_(epoch)
            for (e, k), value in (weights or {}).items():
                if e == epoch:
                    network.population[k, 3] = value
        monitor.observe(epoch, torch.tensor(row), lr=0.1 * epoch)
    return monitor


def settled(monitor, n_epochs):
    monitor.settle(n_epochs, lr=0.1 * n_epochs)
    return monitor.network.population[:, 0].tolist()


def test_without_patience_the_last_weights_stay():
    monitor = watch([[3.0, 1.0], [2.0, 2.0], [4.0, 3.0]])
    assert settled(monitor, 3) == [3, 3]
    assert monitor.kept_epoch(3).tolist() == [3, 3]
    assert monitor.best_epoch.tolist() == [2, 1]
    assert monitor.active.all()


def test_with_patience_each_member_returns_to_its_own_best_epoch():
    monitor = watch([[3.0, 1.0], [2.0, 2.0], [4.0, 3.0]], patience=2)
    assert monitor.active.tolist() == [True, False]
    assert settled(monitor, 3) == [2, 1]
    assert monitor.kept_epoch(3).tolist() == [2, 1]


def test_a_member_that_stopped_does_not_come_back():
    monitor = watch([[1.0, 5.0], [2.0, 4.0], [2.0, 3.0], [0.0, 2.0], [NAN, 1.0]], patience=2)
    assert monitor.active.tolist() == [False, True]
    assert monitor.best_epoch.tolist() == [1, 5]
    assert not monitor.diverged.any()
    assert settled(monitor, 5) == [1, 5]


def test_equal_losses_are_no_improvement():
    assert watch([[1.0], [1.0], [1.0]], patience=3).best_epoch.tolist() == [1]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("where", ["loss", "weights"])
def test_a_member_diverges_by_its_loss_or_its_weights(bad, where):
    losses = [[3.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    weights = {}
    if where == "loss":
        losses[2][0] = bad
    else:
        weights[3, 0] = bad
    monitor = watch(losses, weights=weights)
    assert monitor.diverged.tolist() == [True, False]
    assert monitor.diverged_epoch.tolist() == [3, 0]
    assert monitor.diverged_lr.tolist() == pytest.approx([0.3, 0])
    assert settled(monitor, 3) == [2, 3]
    assert monitor.kept_epoch(3).tolist() == [2, 3]


def test_weights_that_break_after_the_last_epoch_count_as_diverged():
    monitor = watch([[1.0, 1.0], [2.0, 0.5]])
    with torch.no_grad():
        monitor.network.population[0, 2] = NAN
    assert settled(monitor, 2) == [1, 2]
    assert monitor.diverged_epoch.tolist() == [2, 0]


def test_divergence_in_the_first_epoch_goes_back_to_the_initial_weights():
    monitor = watch([[NAN, 1.0], [1.0, 0.5]])
    assert settled(monitor, 2) == [0, 2]
    assert monitor.kept_epoch(2).tolist() == [0, 2]
    assert monitor.diverged_epoch.tolist() == [1, 0]


LOSS = st.sampled_from([0.5, 1.0, 2.0, NAN, INF])


@given(st.lists(st.tuples(LOSS, LOSS, LOSS), min_size=1, max_size=8), st.sampled_from([None, 1, 2, 3]))
def test_a_member_s_fate_is_that_of_a_member_alone(losses, patience):
    together = watch([list(row) for row in losses], patience)
    kept = settled(together, len(losses))
    for k in range(3):
        alone = watch([[row[k]] for row in losses], patience)
        assert settled(alone, len(losses)) == [kept[k]]
        assert alone.best_epoch.item() == together.best_epoch[k]
        assert alone.active.item() == together.active[k]
        assert alone.diverged_epoch.item() == together.diverged_epoch[k]


@given(st.lists(LOSS, min_size=1, max_size=10), st.sampled_from([None, 1, 2, 3]))
def test_agrees_with_a_loop_in_plain_words(losses, patience):
    best, best_epoch, misses, diverged = INF, 0, 0, False
    for epoch, loss in enumerate(losses, start=1):
        if not abs(loss) < INF:
            diverged = True
            break
        misses = 0 if loss < best else misses + 1
        if loss < best:
            best, best_epoch = loss, epoch
        if misses == patience:
            break
    monitor = watch([[loss] for loss in losses], patience)
    kept = best_epoch if diverged or patience is not None else len(losses)
    assert settled(monitor, len(losses)) == [kept]
    assert monitor.kept_epoch(len(losses)).tolist() == [kept]
    assert monitor.diverged.tolist() == [diverged]


def test_the_state_is_a_copy_and_goes_into_another_monitor():
    losses = [[3.0, 1.0], [2.0, 2.0], [4.0, NAN], [1.0, 1.0]]
    whole = watch(losses, patience=2)
    half = watch(losses[:2], patience=2)
    state = half.state_dict()
    half.observe(3, torch.tensor([0.0, 0.0]), 0.1)  # does not reach the state
    resumed = MemberMonitor(half.network, 2)
    resumed.load_state_dict(state)
    for epoch in (3, 4):
        with torch.no_grad():
            resumed.network.population.fill_(epoch)
        resumed.observe(epoch, torch.tensor(losses[epoch - 1]), 0.1 * epoch)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
