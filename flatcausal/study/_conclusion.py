"""The answer of a study in a few words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from flatcausal.study._answer import answer, find, truth_sentence
from flatcausal.study._headlines import SHARPNESS, TRAIN_LOSS, TRUTHS, present
from flatcausal.study._splits import compare_as_designed


def conclusion(frame: pd.DataFrame, design: Mapping[str, Any]) -> str:
    """Say whether flat minima found causes, as far as the confidence intervals carry it.

    Parameters
    ----------
    frame : DataFrame
        A study's records, from :func:`flatcausal.study.load_records`.
    design : dict
        The study's design, from :func:`flatcausal.study.load_design`.

    Returns
    -------
    str
        Plain sentences; empty where there is nothing to compare with.

    Examples
    --------
    >>> import pandas as pd
    >>> from flatcausal.study import conclusion
    >>> blocks = [f"dag-{k}" for k in range(8)]
    >>> frame = pd.DataFrame({
    ...     "block": blocks * 2, "optimizer": ["sam"] * 8 + ["sgd"] * 8,
    ...     "sharpness_adaptive": [1.0, 1.1] * 4 + [1.1, 1.0] * 4,
    ... })
    >>> conclusion(frame, {"control": "sgd", "data": {"kind": "synthetic"}}).split(". ")[1]
    'No optimizer was shown to end in flatter or sharper minima than sgd'
    """
    control = design.get("control")
    labels = set(frame["optimizer"])
    if control is None or control not in labels or len(labels) < 2:
        return ""
    needed = present(frame, (SHARPNESS, TRUTHS[0], TRAIN_LOSS))
    findings = {h.key: find(h, compare_as_designed(frame, h.key, design)) for h in needed}
    is_table = design.get("data", {}).get("kind") == "table"
    return " ".join(answer(findings, control, truth_sentence(frame), is_table=is_table))
