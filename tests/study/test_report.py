from __future__ import annotations

import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest

from flatcausal.exceptions import DataError, StoreError
from flatcausal.study._answer import answer, find
from flatcausal.study._conclusion import conclusion
from flatcausal.study._figures import difference_figure
from flatcausal.study._headlines import SHARPNESS, TRUTHS, difference, number, plus_minus
from flatcausal.study._report import report, summary_table
from flatcausal.study._splits import compare_splits
from flatcausal.study._statistics import compare, summarize
from flatcausal.study._tables import describe, difference_rows, held_equal

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements nest, and collects what a reader sees and what a browser would load."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.loads, self.ids, self.tags = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
            assert not name.startswith("on"), (tag, name)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "head"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def records(
    *, shift=0.0, sharper=0.0, n_blocks=8, graph=True, labels=("sgd", "sam", "adam"), features=("x1", "x2")
):
    rng = np.random.default_rng(0)
    rows = []
    for block in range(n_blocks):
        level = rng.normal(0.4, 0.1)
        for label in labels:
            effect = shift if label == "sam" else 0.0
            flat = sharper if label == "sam" else 0.0
            for member in range(3):
                noise = rng.normal(size=8) * 0.01
                row = {
                    "block": f"dag-{block:03d}",
                    "optimizer": label,
                    "member": member,
                    "status": "ok",
                    "n_gradient_evaluations": 300,
                    "n_epochs": 60,
                    "lr": 0.1,
                    "train_loss": 0.1 + noise[0],
                    "iid_risk": level + noise[1],
                    "sharpness_adaptive": np.exp(-3 + flat + noise[2]),
                    "importances": dict.fromkeys(features, 1 / len(features)),
                }
                if graph:
                    row["worst_case_risk"] = 1 + level + noise[3]
                    for i, truth in enumerate(TRUTHS):
                        row[truth.key] = level + effect + noise[4 + i]
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def design():
    return {
        "name": "tiny",
        "seed": 0,
        "n_members": 3,
        "control": "sgd",
        "data": {"kind": "synthetic", "n_datasets": 8},
        "training": {"epochs": 60, "batch_size": 200, "virtual_batch_size": 200, "lr_schedule": "cosine"},
        "network": {"n_d": 8},
        "optimizers": {"sgd": {"name": "sgd", "lr": 0.1}, "sam": "SAM", "adam": {"name": "adam"}},
        "command": "flatcausal study --preset 'tiny' && echo <done>",
        "version": "0.1.0",
    }


def page_of(frame, design, tmp_path):
    path = report(frame, design, tmp_path / "runs" / "report.html")
    return Page(path.read_text("utf-8"))


def answer_of(page):
    return page.words.split("What was held equal")[0]


def test_the_page_stands_alone_and_is_well_formed(design, tmp_path):
    page = page_of(records(), design, tmp_path)
    assert page.loads == []
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert page.tags.count("svg") == 1 + 7
    assert len(page.ids) == len(set(page.ids))
    html = (tmp_path / "runs" / "report.html").read_text()
    urls = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert {url.split("/")[2] for url in urls} <= {"www.w3.org"}  # names of XML, not addresses
    assert not re.search(r"url\((?!#)", html)
    assert "nan" not in re.findall(r"[a-z]+", page.words.lower())


def test_no_difference_is_said_to_be_none_shown(design, tmp_path):
    words = answer_of(page_of(records(), design, tmp_path))
    assert "No optimizer was shown to end in flatter or sharper minima than sgd." in words
    assert "this study cannot tell" in words
    assert words.count("no difference shown: sam, adam") == 3
    assert "no evidence that there is none" in words
    assert "over 8 data sets" in words
    assert "Each optimizer ran at its own learning rate" in words
    assert "the comparisons of one metric; 7 metrics are tested" in words
    assert "resampled" not in words


def test_a_difference_is_said_with_its_interval(design, tmp_path):
    frame = records(shift=0.2, sharper=-1.0)
    words = answer_of(page_of(frame, design, tmp_path))
    assert "sam ended in flatter minima than sgd. sam also ranked the true parents higher." in words
    row = compare(frame, "ap_lift_parents", "sgd").iloc[0]
    estimate, ends = difference(row["estimate"], row["ci_low"], row["ci_high"])
    assert f"sam higher: {estimate} ({ends}) no difference shown: adam" in words


@pytest.mark.parametrize(
    ("shift", "sharper", "said"),
    [
        (0.2, 0.0, "this study cannot tell whether flat minima find causes"),
        (0.0, -1.0, "For sam, no difference in ranking the true parents was shown."),
        (-0.2, -1.0, "sam ranked the true parents lower."),
        (0.2, 1.0, "sam ended in sharper minima than sgd, and none in flatter ones."),
    ],
)
def test_the_conclusion_follows_the_verdicts(shift, sharper, said):
    frame = records(shift=shift, sharper=sharper)
    findings = {h.key: find(h, compare(frame, h.key, "sgd")) for h in (SHARPNESS, TRUTHS[0])}
    assert said in " ".join(answer(findings, "sgd"))


def test_each_verdict_has_its_own_word():
    for sharper, word in ((-1.0, "lower (flatter)"), (1.0, "higher (sharper)")):
        comparison = compare(records(sharper=sharper), SHARPNESS.key, "sgd")
        ((label, phrase),) = find(SHARPNESS, comparison).shown
        assert (label, phrase.split(":")[0]) == ("sam", word)
        rows = difference_rows(comparison, SHARPNESS)
        assert [row["verdict"] for row in rows] == [word, "no difference shown"]


def test_few_blocks_claim_nothing(design, tmp_path):
    words = answer_of(page_of(records(shift=5.0, sharper=-5.0, n_blocks=4), design, tmp_path))
    assert words.count("too few data sets to show any: sam, adam") == 3
    assert "higher:" not in words


def test_too_few_blocks_for_the_number_of_comparisons_is_said_in_the_answer(design, tmp_path):
    labels = ("sgd", "sam", "adam", "gd", "entropy_sgd")
    frame = records(shift=5.0, sharper=-5.0, n_blocks=6, labels=labels)
    words = answer_of(page_of(frame, design, tmp_path))
    assert "There are too few data sets to show whether sam, adam, gd and entropy_sgd ended in" in words
    assert "No optimizer was shown" not in words
    assert "too few data sets" in conclusion(frame, design)
    few = frame["optimizer"].isin(["sgd", "sam"]) & (frame["block"] < "dag-004")
    frame.loc[~few, TRUTHS[0].key] = np.nan
    frame = frame[frame["optimizer"].isin(["sgd", "sam"])]
    assert "For sam, there are too few data sets to show a difference in" in conclusion(frame, design)


def test_a_table_names_its_test_and_its_reach(design, tmp_path):
    design["data"] = {"kind": "table", "test_fraction": 0.25}
    frame = records(shift=0.2, sharper=-1.0, n_blocks=10)
    page = page_of(frame, design, tmp_path)
    for words in (answer_of(page), conclusion(frame, design)):
        assert "corrected resampled t; more splits would add little evidence" in words
        assert "speaks of this table only" in words
        assert "sam also ranked the parents in the given graph higher" in words
    assert "Wilcoxon" not in page.words
    assert "too few" not in page.words
    row = compare_splits(frame, "iid_risk", "sgd", test_share=0.25).iloc[0]
    assert number(row["p_holm"]) in page.words
    half = summarize(frame, ["iid_risk"], test_share=0.25).loc["sgd", "iid_risk_half_width"]
    assert half == pytest.approx(
        summarize(frame, ["iid_risk"]).loc["sgd", "iid_risk_half_width"] * np.sqrt(1 + 10 / 3)
    )
    mean = frame[frame["optimizer"] == "sgd"].groupby("block")["iid_risk"].mean().mean()
    assert plus_minus(mean, half) in summary_table(frame, design)["iid_risk"].tolist()


def test_a_relation_speaks_of_these_optimizers_only(design, tmp_path):
    words = page_of(records(), design, tmp_path).words
    assert "Among these 3 optimizers, within data sets" in words
    assert "and 3 points carry no more" in words
    assert "With fewer than 10 data sets, the interval is too narrow" in words
    assert "too narrow" not in page_of(records(n_blocks=10), design, tmp_path).words
    assert "too narrow" not in page_of(records(n_blocks=4), design, tmp_path).words


def test_exceptions_from_equality_are_named(design):
    frame = records(labels=("sgd", "gd"))
    assert dict(held_equal(frame, design))["Exceptions"] == "learning rates are each recipe's own"
    design["optimizers"] = {"wide": {"name": "entropy_sgd"}, "gd": {"name": "gd"}}
    said = dict(held_equal(frame, design))["Exceptions"]
    assert "wide: the schedule acts on its outer learning rate, the inner one stays constant" in said
    assert "gd: one fixed order of rows" in said


def test_a_target_without_parents_is_said(design, tmp_path):
    design["data"] = {"kind": "table", "graph": "g.csv"}
    frame = records().assign(average_precision_parents=np.nan)
    frame[TRUTHS[0].key] = np.nan
    words = answer_of(page_of(frame, design, tmp_path))
    assert "The target has no parents in the given graph" in words
    assert "without a causal graph" not in words
    frame["average_precision_parents"] = 1.0
    assert "Every feature is a parent" in conclusion(frame, design)
    frame[[truth.key for truth in TRUTHS]] = np.nan
    assert "come without a causal graph" not in page_of(frame, design, tmp_path).words


def test_unequal_training_loss_is_warned_of(design, tmp_path):
    frame = records(sharper=-1.0, graph=False)
    assert "Beware" not in answer_of(page_of(frame, design, tmp_path))
    frame.loc[frame["optimizer"] == "sam", "train_loss"] += 1.0
    words = answer_of(page_of(frame, design, tmp_path))
    assert "Beware: the training loss of sam differs from that of sgd as well" in words


def test_a_table_without_graph_leaves_out_what_it_cannot_know(design, tmp_path):
    design["data"] = {"kind": "table", "file": "d.csv", "target": "y", "graph": None}
    hostile = ["<script>alert(1)</script>", "a\"'&b", "$x_{", "\u202eevil", "血圧"]
    names = [*hostile, *(f"f{i}" for i in range(30))]
    frame = records(graph=False, features=names)
    page = page_of(frame, design, tmp_path)
    assert "come without a causal graph" in page.words
    assert "recovery of parents, ancestors and Markov blanket is left out" in page.words
    assert "the worst-case risk is left out" in page.words
    assert "AP-lift" not in page.words
    assert "The intervals speak of this table only" in page.words
    assert "The first 20 of 35 features" in page.words
    assert "script" not in page.tags
    for name in hostile:
        assert name in page.words


def test_importances_are_means_and_spreads_over_runs(design, tmp_path):
    design["data"] = {"kind": "table"}
    frame = records(graph=False, n_blocks=1, labels=("sgd",))
    frame["importances"] = [{"low": 0.1, "high": 0.9}, {"low": 0.3, "high": 0.7}, float("nan")]
    words = page_of(frame, design, tmp_path).words
    assert re.search(r"high 0\.800 ± 0\.141 low 0\.200 ± 0\.141", words)


def test_studies_that_are_not_finished_or_diverged_can_be_read(design, tmp_path):
    frame = records()
    words = page_of(frame[frame["optimizer"] == "sgd"], design, tmp_path).words
    assert "nothing is compared" in words
    frame = frame[~((frame.block == "dag-007") & (frame.optimizer == "adam"))].copy()
    metrics = frame.select_dtypes("float").columns.drop("lr")
    frame.loc[frame["optimizer"] == "sam", metrics] = np.nan
    frame.loc[frame["optimizer"] == "sam", "status"] = "diverged"
    words = page_of(frame, design, tmp_path).words
    assert "1 cell not finished yet" in words
    assert re.search(r"sam( –){7} 100%", words)
    frame[metrics] = np.nan
    page_of(frame, design, tmp_path)
    with pytest.raises(DataError, match="holds no runs"):
        report(frame.iloc[:0], design, tmp_path / "x.html")


def test_unequal_budgets_are_not_called_equal(design):
    frame = records()
    budget = dict(held_equal(frame, design))["Gradient budget"]
    assert budget == "300 mini-batch gradients for every run, the work of 60 passes over the training rows"
    frame.loc[frame["optimizer"] == "sam", "n_gradient_evaluations"] = 600
    assert dict(held_equal(frame, design))["Gradient budget"].startswith("NOT equal: 300 to 600")


def test_the_command_and_the_whole_design_are_shown(design, tmp_path):
    words = page_of(records(), design, tmp_path).words
    assert design["command"] in words
    assert '"lr_schedule": "cosine"' in words
    assert (
        describe({"name": "sam", "rho": 0.05, "base": {"name": "sgd"}, "lr": 1})
        == "sam(rho=0.05, base=sgd())"
    )


def test_a_page_is_replaced_whole_or_kept(design, tmp_path, monkeypatch):
    path = report(records(graph=False), design, tmp_path / "report.html")
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"report\.html cannot be written: No space left on device; choose"):
        report(records(graph=False, n_blocks=7), design, path)
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    monkeypatch.undo()
    with pytest.raises(StoreError, match="cannot be written"):
        report(records(graph=False), design, tmp_path)


def test_a_page_depends_on_its_numbers_alone(design, tmp_path):
    frame, settings = records(n_blocks=2, labels=("sgd",)), dict(matplotlib.rcParams)
    first = report(frame, design, tmp_path / "a.html").read_text()
    second = report(frame.sample(frac=1, random_state=0), design, tmp_path / "b.html").read_text()
    assert len(first) == len(second)
    again = report(frame, design, tmp_path / "a.html").read_text()
    assert first == again
    assert dict(matplotlib.rcParams) == settings


def test_figures_take_their_colours_from_the_page():
    headline = TRUTHS[0]
    svg = difference_figure(compare(records(), headline.key, "sgd"), headline)
    assert "var(--ink)" in svg
    assert "#1f2328" not in svg
    assert svg.startswith('<svg role="img" aria-label="Differences of AP-lift, parents"')
    assert ">sam − sgd</text>" in svg


def test_summary_table_is_short_and_leads_with_the_control(design):
    frame = records()
    table = summary_table(frame, design)
    assert table["optimizer"].tolist() == ["sgd", "sam", "adam"]
    assert list(table.columns) == [
        "optimizer",
        "ap_lift_parents",
        "ap_lift_markov_blanket",
        "iid_risk",
        "worst_case_risk",
        "sharpness_adaptive",
        "train_loss",
    ]
    frame.loc[frame["optimizer"] == "adam", ["status", "iid_risk"]] = ["diverged", np.nan]
    assert summary_table(frame, design)["diverged"].tolist() == ["0%", "0%", "100%"]
    assert "worst_case_risk" not in summary_table(records(graph=False), design)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.0, "1"), (300, "300"), (-0.5, "−0.5"), (99999, "100000"), (1e5, "1×10⁵"), (-np.inf, "−∞")],
)
def test_numbers_are_written_plainly(value, text):
    assert number(value) == text


def test_means_and_differences_keep_the_digits_that_matter():
    assert plus_minus(12.3456, 1.234) == "12.3 ± 1.2"
    assert plus_minus(1234.5, 345.6) == "1234 ± 346"
    assert plus_minus(np.nan, np.nan) == "–"
    assert plus_minus(1.0, 0.0) == "1.000 ± 0.000"
    assert difference(1e-7, -1e-7, 3e-7) == ("1×10⁻⁷", "−1×10⁻⁷ to 3×10⁻⁷")
    assert difference(0.0, 0.0, 0.0) == ("0", "0 to 0")
