"""Every member sees every row once a pass, in an order of its own."""

import torch

from flatcausal.estimators._batches import MemberBatches, RowBatches, Table


def batches(n_rows=10, batch_size=4, n_members=2, batches_per_step=1, full_batch=False):
    rows = torch.arange(n_rows, dtype=torch.float32)[:, None]
    generators = [torch.Generator().manual_seed(k) for k in range(n_members)]
    return MemberBatches(Table(rows, rows), batch_size, generators, batches_per_step, full_batch)


def epoch(iterator):
    return torch.cat([X[..., 0] for group in iterator for X, *_ in group], dim=1)


def test_a_pass_holds_every_row_once_for_every_member():
    seen = epoch(batches())
    assert torch.equal(seen.sort(1).values, torch.arange(10.0).expand(2, 10))


def test_orders_differ_between_members_and_passes():
    iterator = batches()
    first, second = epoch(iterator), epoch(iterator)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])


def test_rows_and_targets_stay_together():
    assert all(torch.equal(X, y) for group in batches() for X, y, _ in group)


def test_a_step_of_several_batches_takes_fresh_ones_and_fills_up_from_a_new_order():
    iterator = batches(n_rows=12, batches_per_step=2)  # 3 batches an epoch, 2 a step
    groups = list(iterator)
    assert len(iterator) == len(groups) == 2
    assert torch.equal(epoch(groups)[0, :12].sort().values, torch.arange(12.0))


def test_a_full_batch_keeps_its_order():
    iterator = batches(full_batch=True)
    assert len(iterator) == 1
    assert torch.equal(epoch(iterator), epoch(iterator))
    assert iterator.gradients_per_batch == 3


def test_row_batches_keep_the_order():
    table = Table(torch.arange(7.0)[:, None])
    assert torch.cat([X for X, *_ in RowBatches(table, 3)])[:, 0].tolist() == list(range(7))
