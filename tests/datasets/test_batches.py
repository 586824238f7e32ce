"""Batches are one sample, cut."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.datasets import Sample, SyntheticDAGDataset


@pytest.fixture(scope="module")
def ds():
    return SyntheticDAGDataset(n_nodes=6, n_distractors=3, n_calibration=1000, random_state=2)


def _joined(batches):
    parts = list(batches)
    return np.concatenate([part.X for part in parts]), np.concatenate([part.y for part in parts])


@given(n=st.integers(1, 2600), batch_size=st.integers(1, 3000))
def test_any_cut_gives_the_rows_of_one_sample(ds, n, batch_size):
    whole = ds.sample(n, random_state=5)
    batches = list(ds.iter_batches(n, batch_size, random_state=5))
    assert [len(batch.y) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    X, y = _joined(batches)
    np.testing.assert_array_equal(X, whole.X)
    np.testing.assert_array_equal(y, whole.y)


@pytest.mark.parametrize("kind", ["do", "shift", "scale", "soft", "mechanism"])
def test_environments_and_held_columns_are_cut_alike(ds, kind):
    env = ds.environments(1, kind=kind, random_state=1)[0]
    distractor = next(name for name in ds.feature_names_ if name not in ds.graph_)
    node = next(name for name in ds.feature_names_ if name in ds.graph_)
    do = {distractor: np.arange(2500.0), node: -np.arange(2500.0)}
    whole = ds.sample(2500, do=do, env=env, random_state=5)
    X, y = _joined(ds.iter_batches(2500, 333, do=do, env=env, random_state=5))
    np.testing.assert_array_equal(X, whole.X)
    np.testing.assert_array_equal(y, whole.y)
    np.testing.assert_array_equal(X[:, ds.feature_names_.index(distractor)], np.arange(2500.0))


def test_a_batch_can_be_kept(ds):
    first, second = (batch.X for batch in ds.iter_batches(20, 10, random_state=5))
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, ds.sample(10, random_state=5).X)


def test_forms(ds):
    batch = next(ds.iter_batches(9, 4, random_state=0))
    assert isinstance(batch, Sample)
    frame, series = next(ds.iter_batches(9, 4, return_X_y=True, as_frame=True, random_state=0))
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ds.feature_names_
    np.testing.assert_array_equal(series.to_numpy(), batch.y)


def test_unseeded_batches_count_as_one_sample():
    first, second = (SyntheticDAGDataset(n_nodes=6, n_calibration=1000, random_state=2) for _ in range(2))
    first.sample(10)
    X, _ = _joined(first.iter_batches(3000, 1000))
    second.sample(10)
    np.testing.assert_array_equal(X, second.sample(3000).X)
    np.testing.assert_array_equal(first.sample(5).X, second.sample(5).X)


def test_memory_does_not_grow_with_the_rows(ds):
    peaks = []
    for n in (20_000, 200_000):
        tracemalloc.start()
        total = sum(float(batch.y.sum()) for batch in ds.iter_batches(n, 5000, random_state=0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.isfinite(total)
    assert peaks[1] < 1.2 * peaks[0]
