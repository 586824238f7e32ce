"""Micro-batches of m-SAM in a fit."""

import numpy as np
import pytest
import torch

from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.estimators._batches import Batch
from flatcausal.estimators._net import StepClosure
from flatcausal.optim import ASAM, GSAM, SAM, Adam

rng = np.random.default_rng(0)
X = rng.normal(size=(70, 4)).astype(np.float32)
y = X[:, 0] - X[:, 1]


def fitted(optimizer, **params):
    small = {"n_d": 4, "n_a": 4, "n_steps": 1, "max_epochs": 3, "batch_size": 32, "virtual_batch_size": 8}
    est = FlatMinimaTabNetRegressor(optimizer=optimizer, random_state=0, **{**small, **params})
    return est.fit(X, y, sample_weight=params.get("sample_weight"))


@pytest.mark.parametrize("recipe", [SAM, ASAM, GSAM])
def test_as_many_rows_as_the_batch_change_nothing_bitwise(recipe):
    whole, parts = fitted(recipe()), fitted(recipe(m=32))
    assert torch.equal(whole.net_.module_.population, parts.net_.module_.population)
    assert np.array_equal(whole.history_["train_loss"], parts.history_["train_loss"])


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_step_counts_as_two_gradients(n_members):
    whole, parts = fitted(SAM(), n_members=n_members), fitted(SAM(m=8), n_members=n_members)
    assert parts.n_gradient_evaluations_ == whole.n_gradient_evaluations_
    assert not torch.equal(whole.net_.module_.population, parts.net_.module_.population)


def test_members_do_not_meet():
    triple, pair = (fitted(SAM(rho=0.5, m=8), n_members=k).net_.module_.population for k in (3, 2))
    assert torch.equal(triple[:2], pair)


def test_it_learns():
    est = fitted(SAM(m=8, base=Adam()), max_epochs=40)
    assert est.score(X, y) > 0.6


def closure_on(n_rows, optimizer="sam"):
    net = fitted(optimizer, n_members=2).net_
    rows = torch.randn(2, n_rows, 4, generator=torch.Generator().manual_seed(1))
    return StepClosure(net, [Batch(rows, rows[..., :1], rows[..., 1].abs())])


@pytest.mark.parametrize(
    ("n_rows", "m", "sizes"),
    [(12, 5, [5, 5, 2]), (12, 4, [4, 4, 4]), (13, 4, [4, 4, 5]), (3, 1, [1, 1, 1]), (7, 8, [7]), (9, 8, [9])],
)
def test_rows_are_shared_out_in_their_order(n_rows, m, sizes):
    closure = closure_on(n_rows)
    parts = closure.split(m)
    assert [part.n_rows for part in parts] == sizes
    assert (parts[0] is closure) == (len(sizes) == 1)
    for field in range(3):
        joined = torch.cat([part.batches[0][field] for part in parts], dim=1)
        assert torch.equal(joined, closure.batches[0][field])


def test_the_loss_of_a_split_step_is_the_mean_by_rows():
    closure = closure_on(12, SAM(m=5))
    batch = closure.batches[0]
    losses = [closure.net.batch_losses(part.batches[0]) for part in closure.split(5)]
    step = closure.net.train_step([batch])
    assert step["n_calls"] == 2
    expected = (5 * losses[0] + 5 * losses[1] + 2 * losses[2]) / 12
    torch.testing.assert_close(step["losses"], expected)
