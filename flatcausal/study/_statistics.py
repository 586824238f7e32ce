"""Paired comparison of optimizers over blocks, and how flatness relates to recovery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from flatcausal._random import RandomState, seed_sequence
from flatcausal._validation import check_integer, check_real
from flatcausal.study._block_means import block_means, check_frame
from flatcausal.study._pairs import PairedTest, compare_pairs
from flatcausal.study._signed_rank import signed_rank

_SIGNED_RANK = PairedTest(signed_rank, least_p=lambda n: min(1.0, 2.0 ** (1 - n)), by_ranks=True)


def compare(
    frame: pd.DataFrame, metric: str, control: str | None = None, *, confidence: float = 0.95
) -> pd.DataFrame:
    r"""Compare optimizers on one metric, paired over blocks.

    A block (a data set) is the unit: the runs of one optimizer on one block
    are averaged first, because members that share a data set are no
    independent evidence about other data sets. Each pair is then compared by
    Wilcoxon's exact signed-rank test, with the confidence interval that the
    same test gives, and Holm's correction over the rows of this call; the
    intervals themselves are not corrected. For random splits of one table,
    which are no independent blocks, see :func:`compare_splits`.

    Parameters
    ----------
    frame : DataFrame
        One row for each run, with columns ``block``, ``optimizer`` and
        ``metric``. Runs without a finite value, or with ``status``
        "diverged", are left out and counted in ``note``.
    metric : str
        A numeric column.
    control : str or None, default=None
        Compare each optimizer with this one; None compares all pairs.
    confidence : float, default=0.95
        Level of the intervals; 1 - confidence is the level of the tests.

    Returns
    -------
    DataFrame
        One row for each pair: ``optimizer_a``, ``optimizer_b``, ``metric``,
        ``n_blocks`` (with both), ``mean_a``, ``mean_b`` (over these blocks),
        ``estimate`` (Hodges-Lehmann, of a - b), ``ci_low``, ``ci_high``
        (infinite where so few blocks can show nothing), ``p``, ``p_holm``,
        ``rank_biserial`` (matched pairs, in [-1, 1]), ``verdict`` and
        ``note``. The verdict is "a higher" or "a lower" only if the interval
        excludes zero and ``p_holm <= 1 - confidence``; "too few blocks" if
        even the clearest result could not bring ``p_holm`` that low; otherwise
        "no difference shown", which is no evidence that there is none.

    Raises
    ------
    ParameterError
        If a name is unknown, or if there is only one optimizer.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.study import compare
    >>> frame = pd.DataFrame({
    ...     "block": [f"dag-{i}" for i in range(8)] * 2,
    ...     "optimizer": ["sam"] * 8 + ["sgd"] * 8,
    ...     "iid_risk": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.2, 0.4, 0.6, 0.7, 0.9, 0.8, 0.9, 1.0],
    ... })
    >>> row = compare(frame, "iid_risk", control="sgd").iloc[0]
    >>> row["optimizer_a"], row["verdict"], round(float(row["estimate"]), 3)
    ('sam', 'a lower', -0.25)
    """
    return compare_pairs(frame, metric, control, confidence, _SIGNED_RANK)


@dataclass(frozen=True)
class Relation:
    """How two metrics go together within blocks.

    Attributes
    ----------
    x, y : str
        The metrics.
    estimate : float
        Spearman's correlation; NaN where one of them does not vary.
    ci_low, ci_high : float
        Bootstrap interval over blocks, the optimizers being fixed; (-1, 1) where the blocks are too few.
    n_blocks : int
        Blocks with at least two optimizers.
    """

    x: str
    y: str
    estimate: float
    ci_low: float
    ci_high: float
    n_blocks: int


def relate(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    random_state: RandomState = 0,
) -> Relation:
    """Measure how two metrics go together among these optimizers, within blocks.

    The runs of one optimizer on one block are averaged, each block's own
    mean is taken off, so that easy and hard data sets do not make a relation
    of their own, and Spearman's correlation is taken over what is left. The
    interval is a percentile bootstrap over blocks; the optimizers stay fixed.
    It speaks of other blocks among these optimizers, and not of other
    optimizers: N optimizers are N points, and carry no more. For fewer than 10
    blocks the interval is too narrow, and so it is for splits of one table.

    Parameters
    ----------
    frame : DataFrame
        One row for each run, with columns ``block``, ``optimizer``, x and y.
    x, y : str
        Numeric columns.
    confidence : float, default=0.95
        Level of the interval.
    n_resamples : int, default=2000
        Bootstrap samples.
    random_state : int, SeedSequence, Generator, RandomState or None, default=0
        Draws the bootstrap samples.

    Returns
    -------
    Relation
        Estimate, interval and number of blocks.

    Raises
    ------
    ParameterError
        If a column is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.study import relate
    >>> frame = pd.DataFrame({
    ...     "block": ["a", "a", "a", "b", "b", "b"], "optimizer": ["sam", "sgd", "adam"] * 2,
    ...     "sharpness": [1.0, 2.0, 3.0, 11.0, 13.0, 15.0], "recovery": [0.9, 0.8, 0.7, 0.5, 0.3, 0.1],
    ... })
    >>> relation = relate(frame, "sharpness", "recovery")
    >>> round(relation.estimate, 2), relation.n_blocks, (relation.ci_low, relation.ci_high)
    (-1.0, 2, (-1.0, 1.0))
    """
    check_real("confidence", confidence, low=0, high=1, open_low=True, open_high=True)
    check_integer("n_resamples", n_resamples, low=1)
    tables = [block_means(frame, name)[0].to_numpy() for name in (x, y)]
    blocks = [_centred(rows) for rows in np.stack(tables, axis=2)]
    blocks = [rows for rows in blocks if len(rows) > 1]
    n = len(blocks)
    estimate = _spearman(np.concatenate(blocks)) if n else math.nan
    low, high = -1.0, 1.0
    # A bootstrap of fewer blocks than a signed-rank test needs would only look precise.
    if 2.0 ** (1 - n) <= 1 - confidence and not math.isnan(estimate):
        rng = np.random.default_rng(seed_sequence(random_state))
        draws = rng.integers(n, size=(n_resamples, n))
        values = [_spearman(np.concatenate([blocks[i] for i in draw])) for draw in draws]
        tail = (1 - confidence) / 2
        low, high = (float(v) for v in np.nanquantile(values, [tail, 1 - tail]))
    return Relation(x, y, estimate, low, high, n)


def _centred(rows: np.ndarray) -> np.ndarray:
    """Take the block's mean off the (optimizer, metric) rows that have both metrics."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    rest = rows - rows.mean(axis=0, keepdims=True) if len(rows) else rows
    # Ranks would make much of what rounding leaves where nothing varies.
    return np.where(np.abs(rest) > 1e-12 * np.abs(rows), rest, 0.0)


def _spearman(pairs: np.ndarray) -> float:
    ranks = stats.rankdata(pairs, axis=0)
    ranks -= ranks.mean(axis=0)
    spread = np.sqrt((ranks**2).sum(axis=0).prod())
    return float((ranks[:, 0] * ranks[:, 1]).sum() / spread) if spread > 0 else math.nan


def summarize(
    frame: pd.DataFrame,
    metrics: Sequence[str],
    *,
    confidence: float = 0.95,
    test_share: float | None = None,
) -> pd.DataFrame:
    """Summarize each optimizer: the mean of every metric over blocks, with its precision.

    Parameters
    ----------
    frame : DataFrame
        One row for each run, with columns ``block``, ``optimizer`` and the
        metrics, and ``status`` if runs can diverge.
    metrics : sequence of str
        Numeric columns.
    confidence : float, default=0.95
        Level of the half widths.
    test_share : float or None, default=None
        Share of the rows that each block tests on, where the blocks are random splits of one
        table: the half widths are then corrected as in :func:`compare_splits`.

    Returns
    -------
    DataFrame
        Indexed by optimizer: ``n_blocks``, ``n_runs``, ``diverged`` (share of
        runs) and, for each metric, ``<metric>`` (the mean over blocks of the
        mean over runs) and ``<metric>_half_width`` (of Student's interval over
        blocks; NaN for one block).

    Raises
    ------
    ParameterError
        If a metric is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.study import summarize
    >>> frame = pd.DataFrame({"block": ["a", "a", "b"], "optimizer": "sgd", "iid_risk": [0.1, 0.3, 0.4]})
    >>> summarize(frame, ["iid_risk"])[["n_blocks", "n_runs", "iid_risk"]]
               n_blocks  n_runs  iid_risk
    optimizer
    sgd               2       3       0.3
    """
    check_real("confidence", confidence, low=0, high=1, open_low=True, open_high=True)
    check_frame(frame)
    diverged = frame["status"].eq("diverged") if "status" in frame else pd.Series(False, index=frame.index)
    runs = frame.assign(diverged=diverged).groupby("optimizer", sort=False)
    columns: dict[str, Any] = {
        "n_blocks": runs["block"].nunique(),
        "n_runs": runs.size(),
        "diverged": runs["diverged"].mean(),
    }
    ratio = 0.0 if test_share is None else test_share / (1 - test_share)
    for metric in metrics:
        means, _ = block_means(frame, metric)
        n = means.count()
        quantile = stats.t.ppf((1 + confidence) / 2, (n - 1).where(n > 1))
        columns[metric] = means.mean()
        columns[f"{metric}_half_width"] = means.std() * np.sqrt(1 / n + ratio) * quantile
    return pd.DataFrame(columns).rename_axis("optimizer")
