"""Pairs of optimizers, each put to one test over blocks, and what may be said of them together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
import pandas as pd

from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterError
from flatcausal.study._block_means import block_means
from flatcausal.study._signed_rank import signed_rank

_COLUMNS = [
    "optimizer_a",
    "optimizer_b",
    "metric",
    "n_blocks",
    "mean_a",
    "mean_b",
    "estimate",
    "ci_low",
    "ci_high",
    "p",
    "p_holm",
    "rank_biserial",
    "verdict",
    "note",
]


class Tested(Protocol):
    """What a test of paired differences returns; an interval without ends is infinite."""

    @property
    def estimate(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def p(self) -> float: ...


@dataclass(frozen=True)
class PairedTest:
    """A test of paired differences, ``run(differences, confidence)``.

    ``least_p`` gives the smallest p-value that so many differences can reach.
    """

    run: Callable[[np.ndarray, float], Tested]
    least_p: Callable[[int], float]
    by_ranks: bool


def compare_pairs(
    frame: pd.DataFrame, metric: str, control: str | None, confidence: float, test: PairedTest
) -> pd.DataFrame:
    """Test each pair of optimizers and correct by Holm; the columns are those of ``compare``."""
    check_real("confidence", confidence, low=0, high=1, open_low=True, open_high=True)
    means, dropped = block_means(frame, metric)
    pairs = _pairs(list(means.columns), control)
    alpha = 1 - confidence
    table = pd.DataFrame([_pair(means, dropped, a, b, confidence, test) for a, b in pairs])
    table["p_holm"] = holm(table["p"].to_numpy())
    table["metric"] = metric
    excludes = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    shown = excludes & (table["p_holm"] <= alpha)
    # Holm's correction is monotone: no data could bring p_holm below this.
    hopeless = holm(np.array([test.least_p(n) for n in table["n_blocks"]])) > alpha
    direction = np.where(table["estimate"] > 0, "a higher", "a lower")
    table["verdict"] = np.where(hopeless, "too few blocks", np.where(shown, direction, "no difference shown"))
    table.loc[excludes & ~shown, "note"] += "; not shown after Holm's correction"
    among = hopeless & np.isfinite(table["ci_low"])
    table.loc[among, "note"] += f"; too few blocks to show a difference among {len(table)} comparisons"
    table["note"] = table["note"].str.removeprefix("; ")
    return table.reindex(columns=_COLUMNS)


def _pairs(labels: list[str], control: str | None) -> list[tuple[str, str]]:
    if len(labels) < 2:
        raise ParameterError(
            f"A comparison needs at least two optimizers, got {labels}; run the study with another one."
        )
    if control is None:
        return list(combinations(labels, 2))
    if control not in labels:
        raise ParameterError(f"control must be one of {', '.join(map(repr, labels))}, got {control!r}.")
    return [(label, control) for label in labels if label != control]


def _pair(
    means: pd.DataFrame, dropped: pd.DataFrame, a: str, b: str, confidence: float, test: PairedTest
) -> dict:
    both = means[[a, b]].dropna()
    difference = both.to_numpy() @ [1.0, -1.0]
    result = test.run(difference, confidence)
    notes = []
    missing = len(means) - len(both)
    if missing:
        notes.append(f"{_count(missing, 'block')} dropped: no finite run of one of the pair")
    lost = int(dropped.loc[both.index, [a, b]].to_numpy().sum())
    if lost:
        notes.append(f"{_count(lost, 'run')} without a finite value left out")
    if math.isinf(result.low):
        notes.append("too few blocks for any two-sided test at this level")
    sizes = np.abs(difference)
    if len(sizes) and not sizes.any():
        notes.append("identical on every block")
    elif len(sizes) > 1 and np.ptp(difference) == 0:
        notes.append("the same difference on every block")
    elif test.by_ranks and (len(np.unique(sizes)) < len(sizes) or not sizes.all()):
        notes.append("ties among the differences: the test is conservative")
    return {
        "optimizer_a": a,
        "optimizer_b": b,
        "n_blocks": len(both),
        "mean_a": both[a].mean(),
        "mean_b": both[b].mean(),
        "estimate": result.estimate,
        "ci_low": result.low,
        "ci_high": result.high,
        "p": result.p,
        "rank_biserial": signed_rank(difference).rank_biserial,
        "note": "".join(f"; {note}" for note in notes),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
