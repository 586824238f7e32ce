"""The report's tables, as rows of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from flatcausal.study._headlines import Headline, difference, number, plus_minus, present
from flatcausal.study._splits import share_tested
from flatcausal.study._statistics import summarize

_SUMMARY = (
    "ap_lift_parents",
    "ap_lift_markov_blanket",
    "iid_risk",
    "worst_case_risk",
    "sharpness_adaptive",
    "train_loss",
)
_KINDS = {
    "synthetic": "random causal graphs, drawn anew for each data set",
    "dlcausal": "random causal graphs, by the published protocol",
    "table": "one table, split at random into training and test rows",
}
_EXCEPTIONS = {
    "entropy_sgd": "the schedule acts on its outer learning rate, the inner one stays constant, "
    "and its momentum starts anew each step",
    "gd": "one fixed order of rows, for its batch is the whole set",
}
N_FEATURES = 20


def summary_table(frame: pd.DataFrame, design: Mapping[str, Any]) -> pd.DataFrame:
    """Return a short table for a terminal: mean over blocks ± half width of the 95 % interval.

    Parameters
    ----------
    frame : DataFrame
        A study's records, from :func:`flatcausal.study.load_records`.
    design : dict
        The study's design, from :func:`flatcausal.study.load_design`.

    Returns
    -------
    DataFrame
        One row for each optimizer, the control first; text, with the headline
        metrics that the study has and, if any run diverged, their share.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.study import summary_table
    >>> frame = pd.DataFrame({
    ...     "block": ["a", "b"] * 2, "optimizer": ["sam", "sam", "sgd", "sgd"],
    ...     "iid_risk": [0.1, 0.3, 0.2, 0.2],
    ... })
    >>> summary_table(frame, {"control": "sgd", "optimizers": {"sam": "sam", "sgd": "sgd"}})
      optimizer     iid_risk
    0       sgd  0.200 ± 0.000
    1       sam  0.2 ± 1.3
    """
    metrics = [key for key in _SUMMARY if key in frame and frame[key].notna().to_numpy().any()]
    means = summarize(frame, metrics, test_share=share_tested(design)).loc[ordered_labels(frame, design)]
    table = pd.DataFrame({"optimizer": means.index})
    for key in metrics:
        pairs = zip(means[key], means[f"{key}_half_width"], strict=True)
        table[key] = [plus_minus(value, half) for value, half in pairs]
    if means["diverged"].any():
        table["diverged"] = [f"{share:.0%}" for share in means["diverged"]]
    return table


def ordered_labels(frame: pd.DataFrame, design: Mapping[str, Any]) -> list[str]:
    """Return the optimizers that have runs: the control, then as designed, then any other."""
    known = frame["optimizer"].unique()
    wanted = [design.get("control"), *design.get("optimizers", {}), *known]
    return [label for label in dict.fromkeys(wanted) if label in known]


def held_equal(frame: pd.DataFrame, design: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name what all optimizers share, and its value."""
    data, training = design.get("data", {}), design.get("training", {})
    network = design.get("network", {})
    kind = data.get("kind")
    rows = [
        ("Data", _KINDS.get(kind, str(kind))),
        ("Data settings", settings({key: value for key, value in data.items() if key != "kind"})),
        ("Split, initial weights, batch order", f"the same for every optimizer; seed {design.get('seed')}"),
        ("Members", f"{design.get('n_members')} independent networks for each optimizer and data set"),
        ("Gradient budget", _budget(frame, training)),
        ("Learning-rate schedule", str(training.get("lr_schedule") or "constant")),
        (
            "Batch size",
            f"{training.get('batch_size')} (batch norm over {training.get('virtual_batch_size')})",
        ),
        ("Weight decay", _plain(training.get("weight_decay"))),
        ("Momentum", _momentum(training)),
        ("Network", settings(network)),
        ("Exceptions", _exceptions(design)),
    ]
    return [(name, value) for name, value in rows if value]


def _budget(frame: pd.DataFrame, training: Mapping[str, Any]) -> str:
    if "n_gradient_evaluations" not in frame:
        return ""
    counts = frame["n_gradient_evaluations"].to_numpy()
    amount = _span(counts)
    if not all(len(np.unique(counts[(frame["block"] == block).to_numpy()])) == 1 for block in frame["block"]):
        return f"NOT equal: {amount} mini-batch gradients a run; see the optimizers below"
    passes = (
        f", the work of {training['epochs']} passes over the training rows" if "epochs" in training else ""
    )
    return f"{amount} mini-batch gradients for every run{passes}"


def _exceptions(design: Mapping[str, Any]) -> str:
    found = []
    for label, optimizer in design.get("optimizers", {}).items():
        name = optimizer.get("name") if isinstance(optimizer, Mapping) else str(optimizer)
        found += [f"{label}: {_EXCEPTIONS[name]}"] if name in _EXCEPTIONS else []
    return "; ".join([*found, "learning rates are each recipe's own"])


def _momentum(training: Mapping[str, Any]) -> str:
    momentum = training.get("momentum")
    if momentum is None:
        return "as each optimizer states"
    nesterov = ", Nesterov" if training.get("nesterov") else ""
    return f"{_plain(momentum)}{nesterov}, wherever the optimizer has one"


def optimizer_rows(frame: pd.DataFrame, design: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe every optimizer: its parameters, learning rate and epochs."""
    rows = []
    for label in ordered_labels(frame, design):
        its = (frame["optimizer"] == label).to_numpy()
        spans = {
            column: _span(frame[column].to_numpy()[its]) if column in frame else "–"
            for column in ("lr", "n_epochs", "n_gradient_evaluations")
        }
        description = describe(design.get("optimizers", {}).get(label, ""))
        rows.append(
            {"label": label, "control": label == design.get("control"), "description": description, **spans}
        )
    return rows


def describe(optimizer: Any) -> str:
    """Write a recipe's plain form as a call.

    Examples
    --------
    >>> from flatcausal.study._tables import describe
    >>> describe({"name": "sam", "rho": 0.05, "base": {"name": "sgd", "momentum": 0.9}, "lr": 0.1})
    'sam(rho=0.05, base=sgd(momentum=0.9))'
    """
    if not isinstance(optimizer, Mapping):
        return str(optimizer)
    inner = [f"{key}={describe(value)}" for key, value in optimizer.items() if key not in ("name", "lr")]
    return f"{optimizer.get('name', '')}({', '.join(inner)})"


def settings(values: Mapping[str, Any]) -> str:
    """Write settings in one line, leaving out what is not set and checksums."""
    kept = {key: value for key, value in values.items() if value is not None and not key.endswith("sha256")}
    return " · ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in kept.items())


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return number(value) if isinstance(value, float) else str(value)


def _span(values: np.ndarray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def result_rows(frame: pd.DataFrame, design: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, for each optimizer, mean ± half width of every headline metric that has values."""
    headlines = present(frame)
    means = summarize(frame, [headline.key for headline in headlines], test_share=share_tested(design))
    return [
        {
            "label": label,
            "control": label == design.get("control"),
            "cells": [
                plus_minus(means.loc[label, h.key], means.loc[label, f"{h.key}_half_width"])  # pyright: ignore
                for h in headlines
            ],
            "diverged": f"{means.loc[label, 'diverged']:.0%}",
        }
        for label in ordered_labels(frame, design)
    ]


def difference_rows(comparison: pd.DataFrame, headline: Headline) -> list[dict[str, Any]]:
    """Write a comparison with the control."""
    words = {"a higher": headline.more, "a lower": headline.less}
    return [
        {
            "label": row["optimizer_a"],
            "n_blocks": row["n_blocks"],
            **dict(zip(("estimate", "interval"), _difference_of(row), strict=True)),
            "p_holm": number(row["p_holm"]),
            "rank_biserial": number(row["rank_biserial"]),
            "shown": row["verdict"] in words,
            "verdict": words.get(row["verdict"], row["verdict"]),
            "note": row["note"],
        }
        for row in comparison.to_dict("records")
    ]


def _difference_of(row: Mapping[str, Any]) -> tuple[str, str]:
    return difference(row["estimate"], row["ci_low"], row["ci_high"])


def importance_rows(
    importances: Mapping[str, Sequence[Mapping[str, float]]],
) -> tuple[list[dict[str, Any]], int]:
    """Return the most important features, mean and spread over runs, and how many features there are.

    ``importances`` holds, for each optimizer, what its runs found.
    """
    tables = {label: pd.DataFrame(list(runs)) for label, runs in importances.items()}
    means = pd.DataFrame({label: table.mean() for label, table in tables.items()})
    spreads = pd.DataFrame({label: table.std() for label, table in tables.items()}).to_dict()
    overall = means.mean(axis=1).sort_values(ascending=False, kind="stable")
    top = float(means.to_numpy().max()) or 1.0
    values = means.to_dict()

    def cell(label: str, feature: Any) -> dict[str, Any]:
        mean, spread = values[label][feature], spreads[label][feature]
        text = f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
        return {"text": text, "share": round(100 * mean / top, 1)}

    rows = [
        {"feature": feature, "cells": [cell(label, feature) for label in tables]}
        for feature in overall.index[:N_FEATURES]
    ]
    return rows, len(overall)
