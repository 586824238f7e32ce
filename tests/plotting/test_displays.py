from __future__ import annotations

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from scipy import stats

from flatcausal.exceptions import DataError, ParameterError
from flatcausal.plotting import DifferenceDisplay, PopulationDisplay
from flatcausal.plotting._style import look


@pytest.fixture
def records():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [[f"dag-{b}" for b in range(6)], ["sgd", "sam"], range(3)], names=["block", "optimizer", "member"]
    )
    frame = index.to_frame(index=False)
    frame["sharpness_adaptive"] = rng.lognormal(sigma=0.1, size=len(frame))
    frame["ap_lift_parents"] = rng.normal(size=len(frame))
    return frame


@pytest.fixture
def comparison():
    return pd.DataFrame(
        {
            "optimizer_a": ["sam", "adam", "gd", "lost"],
            "optimizer_b": "sgd",
            "metric": "iid_risk",
            "estimate": [-0.2, 0.1, 0.05, np.nan],
            "ci_low": [-0.3, -0.1, -np.inf, -np.inf],
            "ci_high": [-0.1, 0.2, np.inf, np.inf],
            "verdict": ["a lower", "no difference shown", "too few blocks", "too few blocks"],
        }
    )


def test_population_centres_are_means_of_blocks_with_students_interval(records):
    display = PopulationDisplay.from_records(records)
    assert not display.log_x
    means = records[records.optimizer == "sam"].groupby("block")["ap_lift_parents"].mean()
    low, high = stats.t.interval(0.95, 5, loc=means.mean(), scale=stats.sem(means))
    center = display.centers.loc["sam"]
    np.testing.assert_allclose(center[["y", "y_low", "y_high"]], [means.mean(), low, high])
    assert len(display.runs) == len(records)


def test_a_wide_positive_metric_is_drawn_and_averaged_on_a_log_scale(records):
    records["sharpness_adaptive"] = 10.0 ** (records["member"] - 4)
    display = PopulationDisplay.from_records(records).plot()
    assert display.ax_.get_xscale() == "log"
    np.testing.assert_allclose(display.centers["x"], 1e-3)
    assert (display.centers["x_low"] > 0).all()
    records.loc[0, "sharpness_adaptive"] = -1.0
    assert PopulationDisplay.from_records(records).plot().ax_.get_xscale() == "linear"


def test_runs_without_a_value_are_left_out_and_one_block_has_no_cross(records):
    records.loc[0, "ap_lift_parents"] = np.nan
    records.loc[1, "sharpness_adaptive"] = np.inf
    assert len(PopulationDisplay.from_records(records).runs) == len(records) - 2
    one = PopulationDisplay.from_records(records[records.block == "dag-5"])
    assert one.centers[["y_low", "y_high"]].isna().all().all()
    one.plot()


def test_one_point_for_each_run_and_one_colour_and_marker_for_each_optimizer(records):
    ax = PopulationDisplay.from_records(records).plot().ax_
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(records)
    colors = [tuple(points.get_facecolor()[0][:3]) for points in ax.collections]
    assert len(set(colors)) == 2
    assert len({look(i) for i in range(42)}) == 42
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sgd", "sam"]


def test_difference_marks_what_was_shown_and_where_an_interval_has_no_end(comparison):
    ax = DifferenceDisplay.from_comparison(comparison).plot().ax_
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        f"{a} − sgd" for a in comparison.optimizer_a
    ]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in points] == [-0.2, 0.1, 0.05]
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, True, True]
    assert sorted(line.get_marker() for line in ax.lines if line.get_marker() in "<>") == ["<", ">"]
    assert [text.get_text() for text in ax.texts] == ["no data"]
    low, high = ax.get_xlim()
    assert low == -high
    assert high > 0.3


@pytest.mark.parametrize("name", ["$x^{$", "_hidden", "a & <b>", "100 %", r"\frac{"])
def test_any_name_can_be_drawn_as_it_is(records, comparison, name):
    for display in (
        PopulationDisplay.from_records(records.replace({"optimizer": {"sam": name}})),
        DifferenceDisplay.from_comparison(comparison.replace({"optimizer_a": {"sam": name}})),
    ):
        figure = display.plot().figure_
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            figure.savefig(page := io.StringIO(), format="svg")
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert escaped in page.getvalue()


def test_drawing_touches_no_global_state_and_uses_given_axes(records, comparison):
    before = dict(matplotlib.rcParams)
    displays = [PopulationDisplay.from_records(records), DifferenceDisplay.from_comparison(comparison)]
    for display in displays:
        assert display.plot() is display
        assert isinstance(display.figure_, Figure)
        ax = Figure().add_subplot()
        assert display.plot(ax=ax).ax_ is ax
        assert display.figure_ is ax.figure
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_when_drawing():
    code = "import sys, flatcausal.plotting; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"]


def test_mistakes_are_named(records, comparison):
    with pytest.raises(ParameterError, match="no column 'auc'"):
        PopulationDisplay.from_records(records, y="auc")
    with pytest.raises(DataError, match="No run has a finite value of both"):
        PopulationDisplay.from_records(records.assign(ap_lift_parents=np.nan))
    with pytest.raises(ParameterError, match="no column 'verdict'"):
        DifferenceDisplay.from_comparison(comparison.drop(columns="verdict"))
    two = pd.concat([comparison, comparison.assign(metric="train_loss")])
    with pytest.raises(ParameterError, match="one metric, got iid_risk, train_loss: draw one at a time"):
        DifferenceDisplay.from_comparison(two)
    with pytest.raises(DataError, match="no pairs"):
        DifferenceDisplay.from_comparison(comparison.iloc[:0])
