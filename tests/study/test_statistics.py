from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.study._pairs import holm
from flatcausal.study._statistics import compare, relate, summarize


def runs(values):
    """Records from an array (block, optimizer, member)."""
    values = np.asarray(values, dtype=float)
    index = np.ndindex(values.shape)
    names = ["sgd", "sam", "adam", "gd"]
    rows = [(f"dag-{b:03d}", names[o], m, "ok", values[b, o, m]) for b, o, m in index]
    return pd.DataFrame(rows, columns=["block", "optimizer", "member", "status", "risk"])


def random_runs(rng, blocks=8, optimizers=3, members=4, shift=0.0):
    values = rng.normal(size=(blocks, 1, 1)) * 5 + rng.normal(size=(blocks, optimizers, members)) * 0.1
    values[:, 1] += shift
    return runs(values)


def test_compare_is_the_signed_rank_test_of_block_means():
    values = np.random.default_rng(0).normal(size=(9, 3, 4))
    table = compare(runs(values), "risk", control="sgd")
    means = values.mean(axis=2)
    assert table[["optimizer_a", "optimizer_b"]].to_numpy().tolist() == [["sam", "sgd"], ["adam", "sgd"]]
    for column, (_, row) in enumerate(table.iterrows(), start=1):
        d = means[:, column] - means[:, 0]
        walsh = [(a + b) / 2 for i, a in enumerate(d) for b in d[i:]]
        assert row["n_blocks"] == 9
        assert row["mean_a"] == pytest.approx(means[:, column].mean())
        assert row["mean_b"] == pytest.approx(means[:, 0].mean())
        assert row["estimate"] == pytest.approx(np.median(walsh))
        assert row["p"] == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)
        assert row["verdict"] == "no difference shown"
        assert row["note"] == ""


def test_a_real_shift_is_shown_with_its_direction():
    table = compare(random_runs(np.random.default_rng(1), shift=1.0), "risk")
    verdict = {(row.optimizer_a, row.optimizer_b): row.verdict for row in table.itertuples()}
    assert verdict == {
        ("sgd", "sam"): "a lower",
        ("sgd", "adam"): "no difference shown",
        ("sam", "adam"): "a higher",
    }
    assert table.loc[0, "rank_biserial"] == -1.0
    assert table.loc[0, "ci_high"] < 0


@pytest.mark.parametrize("members", [1, 6])
def test_copies_of_a_run_are_no_evidence(members):
    values = np.random.default_rng(2).normal(size=(8, 2, 1))
    once = compare(runs(values), "risk")
    copied = compare(runs(np.repeat(values, members, axis=2)), "risk")
    pd.testing.assert_frame_equal(once, copied)


def test_an_interval_that_excludes_zero_is_not_enough():
    # n = 8: p = 0.0078, times 10 pairs > 0.05.
    values = np.random.default_rng(3).normal(size=(8, 4, 1)) * 0.01
    values[:, 1] += 1.0
    against_one = compare(runs(values), "risk", control="sgd")
    assert against_one.loc[0, "verdict"] == "a higher"
    frame = runs(values)
    for extra in "abc":
        frame = pd.concat([frame, frame[frame.optimizer == "sgd"].assign(optimizer=extra)])
    everything = compare(frame, "risk")
    row = everything[(everything.optimizer_a == "sgd") & (everything.optimizer_b == "sam")].iloc[0]
    assert row["ci_high"] < 0
    assert row["p_holm"] > 0.05
    assert row["verdict"] == "too few blocks"
    assert "not shown after Holm's correction" in row["note"]
    assert "too few blocks to show a difference among 21 comparisons" in row["note"]


def test_false_positives_stay_below_the_level_over_the_family():
    rng = np.random.default_rng(4)
    shown = [
        compare(random_runs(rng, members=1), "risk")["verdict"].isin(["a higher", "a lower"]).any()
        for _ in range(60)
    ]
    assert np.mean(shown) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)


def test_few_blocks_never_show_anything():
    table = compare(random_runs(np.random.default_rng(5), blocks=5, shift=100.0), "risk")
    assert (table["verdict"] == "too few blocks").all()
    assert np.isinf(table[["ci_low", "ci_high"]]).all().all()
    assert table["estimate"].notna().all()
    assert table["note"].str.contains("too few blocks for any two-sided test").all()


def test_diverged_runs_are_left_out_and_counted():
    frame = random_runs(np.random.default_rng(6), blocks=9, members=3, optimizers=2)
    reference = frame.copy()
    sam = frame["optimizer"] == "sam"
    frame.loc[sam & (frame.block == "dag-000"), ["status", "risk"]] = ["diverged", np.nan]
    one = sam & (frame.block == "dag-001") & (frame.member == 0)
    frame.loc[one, ["status", "risk"]] = ["diverged", 1e30]  # a value of a diverged run counts no more
    row = compare(frame, "risk").iloc[0]
    assert row["n_blocks"] == 8
    assert "1 block dropped: no finite run of one of the pair" in row["note"]
    assert "1 run without a finite value left out" in row["note"]
    kept = reference[~one & (reference.block != "dag-000")]
    assert row["estimate"] == pytest.approx(compare(kept, "risk").iloc[0]["estimate"])

    frame.loc[sam, "risk"] = np.nan
    row = compare(frame, "risk").iloc[0]
    assert (row["n_blocks"], row["p"], row["verdict"]) == (0, 1.0, "too few blocks")


def test_notes_on_constant_and_tied_differences():
    same = runs(np.ones((8, 2, 1)))
    row = compare(same, "risk").iloc[0]
    assert (row["p"], row["estimate"], row["note"]) == (1.0, 0.0, "identical on every block")
    shifted = runs(np.ones((8, 2, 1)) * [[[0.0], [0.5]]])
    assert compare(shifted, "risk").iloc[0]["note"] == "the same difference on every block"
    tied = runs(np.array([0, 1, 1, 2, 3, 4, 5, 6.0])[:, None, None] * [[[0.0], [0.5]]])
    assert compare(tied, "risk").iloc[0]["note"].startswith("ties among the differences")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_by_its_definition(p):
    p = np.array(p)
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.2, *adjusted[adjusted < 1]):
        rejected, order = set(), np.argsort(p, kind="stable")
        for step, i in enumerate(order):
            if p[i] * (len(p) - step) > level:
                break
            rejected.add(i)
        assert set(np.flatnonzero(adjusted <= level)) == rejected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "accuracy"}, ParameterError, "no metric 'accuracy'; it has 'risk'"),
        ({"metric": "status"}, ParameterError, "'status' does not hold numbers"),
        ({"control": "lion"}, ParameterError, "control must be one of 'sgd', 'sam', 'adam', got 'lion'"),
        ({"confidence": 1.5}, ParameterError, "confidence must be finite and greater than 0 and less than 1"),
        ({"confidence": "95%"}, ParameterTypeError, "confidence must be a number"),
        ({"frame": [1, 2]}, ParameterTypeError, "frame must be a pandas DataFrame, got list"),
        ({"frame": pd.DataFrame({"risk": [1.0]})}, ParameterError, "no column 'block'"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    frame = random_runs(np.random.default_rng(0))
    with pytest.raises(error, match=message):
        compare(**{"frame": frame, "metric": "risk", **arguments})


def test_one_optimizer_or_no_run_cannot_be_compared():
    frame = random_runs(np.random.default_rng(0))
    with pytest.raises(ParameterError, match="at least two optimizers"):
        compare(frame[frame.optimizer == "sgd"], "risk")
    for function in (lambda f: compare(f, "risk"), lambda f: summarize(f, ["risk"])):
        with pytest.raises(DataError, match="holds no runs"):
            function(frame.iloc[:0])


def test_relate_looks_within_blocks():
    # Blocks differ wildly and the other way round: pooled, the relation would seem positive.
    rng = np.random.default_rng(7)
    x = rng.normal(size=(8, 4, 1))
    level = np.arange(8)[:, None, None] * 100
    frame = runs(x + level).rename(columns={"risk": "x"})
    frame["y"] = runs(-x + level + 0.1 * rng.normal(size=x.shape))["risk"]
    relation = relate(frame, "x", "y")
    assert stats.spearmanr(frame["x"], frame["y"]).statistic > 0.9
    assert relation.n_blocks == 8
    centred = [v - v.mean(axis=1, keepdims=True) for v in (x[..., 0], frame["y"].to_numpy().reshape(8, 4))]
    assert relation.estimate == pytest.approx(stats.spearmanr(*(v.ravel() for v in centred)).statistic)
    assert relation.ci_low < relation.estimate < relation.ci_high < 0
    assert relation == relate(frame, "x", "y")
    assert relation != relate(frame, "x", "y", random_state=1)


def test_relate_of_unrelated_metrics_covers_zero_mostly():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(30):
        frame = runs(rng.normal(size=(10, 4, 1))).assign(y=rng.normal(size=40))
        relation = relate(frame, "risk", "y", n_resamples=200)
        covered += relation.ci_low <= 0 <= relation.ci_high
    assert covered >= 24  # 2.5 standard errors below 28.5


def test_relate_where_nothing_varies_or_too_few_blocks():
    rng = np.random.default_rng(9)
    frame = runs(rng.normal(size=(8, 3, 1))).assign(y=np.repeat(rng.normal(size=8), 3))
    assert math.isnan(relate(frame, "risk", "y").estimate)
    few = relate(frame[frame.block < "dag-005"].assign(y=rng.normal(size=15)), "risk", "y")
    assert (few.ci_low, few.ci_high, few.n_blocks) == (-1.0, 1.0, 5)
    assert relate(frame[frame.optimizer == "sgd"], "risk", "y").n_blocks == 0


def test_summarize_gives_students_interval_over_block_means():
    values = np.random.default_rng(10).normal(size=(8, 2, 4))
    frame = runs(values)
    frame.loc[(frame.optimizer == "sam") & (frame.block == "dag-003"), ["status", "risk"]] = [
        "diverged",
        np.nan,
    ]
    table = summarize(frame, ["risk"])
    sgd = values[:, 0].mean(axis=1)
    low, high = stats.t.interval(0.95, 7, loc=sgd.mean(), scale=stats.sem(sgd))
    assert table.loc["sgd", "risk"] == pytest.approx(sgd.mean())
    assert table.loc["sgd", "risk_half_width"] == pytest.approx((high - low) / 2)
    sam = np.delete(values[:, 1].mean(axis=1), 3)
    assert table.loc["sam", "risk"] == pytest.approx(sam.mean())
    assert table.loc["sam", "risk_half_width"] == pytest.approx(stats.t.ppf(0.975, 6) * stats.sem(sam))
    assert table["diverged"].to_dict() == {"sgd": 0.0, "sam": 4 / 32}
    assert table["n_runs"].tolist() == [32, 32]
    one_block = summarize(frame[frame.block == "dag-000"], ["risk"])
    assert one_block["risk_half_width"].isna().all()
    with pytest.raises(ParameterError, match="no metric 'auc'"):
        summarize(frame, ["auc"])
