"""Comparison at equal training loss."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.flatness import compare_at_matched_loss


def run(losses, values):
    return {"loss": losses, "sharpness": values}


def test_runs_are_read_between_records_where_they_first_pass_the_level():
    runs = {"a": run([4, 2, 3, 0.5], [10, 6, 9, 1]), "b": pd.DataFrame(run([5.0, 1.0], [8.0, 4.0]))}
    found = compare_at_matched_loss(runs, "sharpness", at=3.0).set_index("run")
    assert found.loc["a", "step"] == 0.5
    assert found.loc["a", "sharpness"] == 8
    assert found.loc["b", "step"] == 0.5
    assert found.loc["b", "sharpness"] == 6
    assert found.loc["a", "final_loss"] == 0.5
    assert found.loc["a", "final_sharpness"] == 1


def test_the_default_level_is_the_lowest_that_all_reach():
    runs = {"a": run([3.0, 0.1], [1.0, 2.0]), "b": run([3.0, 0.4, 0.6], [1.0, 5.0, 7.0])}
    found = compare_at_matched_loss(runs, "sharpness")
    assert (found["loss"] == 0.4).all()
    assert found["sharpness"][1] == 5


def test_unequal_losses_turn_the_comparison_round():
    """Sharpness falls with the loss; at each loss b is flatter, and at the end it looks sharper."""
    loss_a, loss_b = np.geomspace(1, 0.01, 30), np.geomspace(1, 0.2, 30)
    runs = {"a": run(loss_a, 10 * loss_a), "b": run(loss_b, 7 * loss_b)}
    found = compare_at_matched_loss(runs, "sharpness").set_index("run")
    assert found.loc["b", "final_sharpness"] > found.loc["a", "final_sharpness"]
    assert found.loc["b", "sharpness"] == pytest.approx(7 / 10 * found.loc["a", "sharpness"], rel=1e-9)


@given(
    st.lists(st.floats(0.0, 1e3), min_size=2, max_size=20),
    st.floats(-5, 5),
    st.floats(-5, 5),
)
def test_a_measure_that_is_linear_in_the_loss_is_read_exactly(losses, slope, offset):
    losses = np.array(losses)
    level = losses.min()
    found = compare_at_matched_loss({"a": run(losses, slope * losses + offset)}, "sharpness")
    assert found["sharpness"][0] == pytest.approx(slope * level + offset, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("runs", "at", "error", "match"),
    [
        ({}, None, DataError, "runs is empty"),
        ({"a": {"loss": [1.0]}}, None, DataError, "no column of numbers 'sharpness'"),
        ({"a": run([1.0, 2.0], [1.0])}, None, DataError, "one length"),
        ({"a": run([1.0, np.nan], [1.0, 2.0])}, None, DataError, "not finite"),
        ({"a": run([2.0, 1.0], [1.0, 2.0])}, 0.5, DataError, "stays above.*pass at=1 or more"),
        ({"a": run([2.0, 1.0], [1.0, 2.0])}, 3.0, DataError, "starts at a loss of 2"),
        ({"a": run([2.0, 1.0], [1.0, 2.0])}, np.nan, ParameterError, "at must be finite"),
        ({"a": run([9, 1], [1, 1]), "b": run([0.5, 0.2], [1, 1])}, None, DataError, r"runs\['b'\] starts"),
    ],
)
def test_what_cannot_be_compared_is_named(runs, at, error, match):
    with pytest.raises(error, match=match):
        compare_at_matched_loss(runs, "sharpness", at=at)
