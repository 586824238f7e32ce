"""Statistics and tables of the example on SAM."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sharpness_with_and_without_sam.comparisons import CLEAN, CONTROL, cells, differences, paired
from sharpness_with_and_without_sam.experiment import Settings
from sharpness_with_and_without_sam.images import load
from sharpness_with_and_without_sam.measures import FLATNESS, MEASURES
from sharpness_with_and_without_sam.pairs import LONG, SHORT, WITH
from sharpness_with_and_without_sam.report import report

PAIRS = [(model, base) for model in ("resnet8", "vgg6") for base in ("SGD", "Adam")]


def _records(n_seeds, effects=(), diverged=()):
    """Normal measures; ``effects`` maps (model, base, measure) to what SAM adds."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(n_seeds):
        for experiment, where, runs in (
            ("clean", "end", (SHORT, LONG, WITH)),
            ("clean", "matched", (SHORT, WITH)),
            ("clean", "annealed", (SHORT, WITH)),
            ("noisy", "end", (SHORT, WITH)),
            ("noisy", "matched", (SHORT, WITH)),
            ("noisy", "annealed", (SHORT, WITH)),
        ):
            for model, base in PAIRS if experiment == "clean" else PAIRS[:1]:
                for run in runs:
                    values = {name: rng.normal() for name in MEASURES}
                    for name in MEASURES:
                        values[name] += (run == WITH) * dict(effects).get((model, base, name), 0.0)
                    lost = (seed, model, base, run) in diverged
                    rows.append(
                        {
                            **{"experiment": experiment, "where": where, "model": model, "base": base},
                            **{"run": run, "optimizer": base + run, "seed": seed, "epochs": 16},
                            **(dict.fromkeys(MEASURES, np.nan) if lost else values),
                            "status": "diverged" if lost else "finished",
                        }
                    )
    return pd.DataFrame(rows)


def _holm(p):
    """From its definition: of the ordered p the largest of all up to each, times what is left."""
    order, adjusted = np.argsort(p), np.empty(len(p))
    for place, i in enumerate(order):
        adjusted[i] = min(1, max((len(p) - k) * p[order[k]] for k in range(place + 1)))
    return adjusted


def test_differences_are_tested_paired_and_corrected_over_the_family():
    records = _records(10, {("vgg6", "SGD", "trace"): -50.0, ("vgg6", "Adam", "asam"): 1.0}.items())
    table = paired(records, CLEAN[0])
    flatness = table[table["family"] == "flatness"]
    assert len(flatness) == len(FLATNESS) * 4
    ends = records[(records["experiment"] == "clean") & (records["where"] == "end")]
    p = []
    for row in flatness.to_dict("records"):
        of = ends[(ends["model"] == row["model"]) & (ends["base"] == row["base"])].set_index("seed")
        with_sam, without = (of.loc[of["run"] == run, row["measure"]] for run in (WITH, SHORT))
        p.append(stats.wilcoxon(with_sam - without, method="exact").pvalue)
        assert row["mean_with_sam"] == pytest.approx(with_sam.mean())
        assert row["mean_without"] == pytest.approx(without.mean())
        change = (with_sam - without).to_numpy()
        walsh = np.add.outer(change, change)[np.triu_indices(10)] / 2
        assert row["difference"] == pytest.approx(np.median(walsh))
    np.testing.assert_allclose(flatness["p"], p)
    np.testing.assert_allclose(flatness["p_holm"], _holm(np.array(p)))
    shown = flatness[flatness["shown"] != "no evidence of a difference"]
    assert shown[["model", "base", "measure", "shown"]].to_numpy().tolist() == [
        ["vgg6", "SGD", "trace", "SAM lower"]
    ]


def test_ten_seeds_can_show_a_difference_in_a_whole_family_and_five_cannot():
    effects = {(model, base, name): 100.0 for model, base in PAIRS for name in FLATNESS}.items()
    for n_seeds, verdict in ((10, "SAM higher"), (5, "too few seeds to tell")):
        table = paired(_records(n_seeds, effects), CLEAN[2])
        assert set(table.loc[table["family"] == "flatness", "shown"]) == {verdict}


def test_the_loss_is_compared_where_it_is_not_matched():
    table = differences(_records(6))
    losses = table[table["measure"] == "train_loss"]
    assert set(losses["comparison"]) == {c.title for c in (*CLEAN, *CONTROL) if c.where == "end"}


def test_equal_gradients_take_the_longer_run():
    records = _records(6)
    long = records.loc[records["run"] == LONG].query("model == 'vgg6' and base == 'SGD'")
    table = paired(records, CLEAN[1]).query("model == 'vgg6' and base == 'SGD' and measure == 'trace'")
    assert table["mean_without"].item() == pytest.approx(long["trace"].mean())


def test_seeds_that_diverge_are_left_out_in_pairs_and_told():
    records = _records(8, diverged={(3, "vgg6", "SGD", WITH)})
    row = paired(records, CLEAN[0]).query("model == 'vgg6' and base == 'SGD' and measure == 'trace'")
    assert row["n_seeds"].item() == 7
    assert "1 seed dropped" in row["note"].item()
    text = report(cells(records), differences(records), Settings(), load("digits"))
    assert "diverged" in text
    assert "12%" in text
    assert text.count("\nvgg6, SGD: 7 seeds; others") == len(CLEAN)
    assert text.count("seeds; others") == len(CLEAN)


def test_means_have_students_interval():
    records = _records(10)
    row = cells(records).query("where == 'end' and experiment == 'clean' and model == 'vgg6'")
    row = row.query("optimizer == 'Adam+SAM' and measure == 'trace'").iloc[0]
    values = records.query("experiment == 'clean' and where == 'end' and model == 'vgg6'")
    values = values.loc[values["optimizer"] == "Adam+SAM", "trace"]
    low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert row["mean"] == pytest.approx((low + high) / 2)
    assert row["half_width"] == pytest.approx((high - low) / 2)
