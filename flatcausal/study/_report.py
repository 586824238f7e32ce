"""A study's report: one page of HTML that needs nothing but itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from flatcausal.exceptions import StoreError
from flatcausal.study._answer import answer, find, truth_sentence
from flatcausal.study._block_means import check_frame
from flatcausal.study._figures import difference_figure, population_figure
from flatcausal.study._headlines import SHARPNESS, TRUTHS, WORST_CASE_RISK, number, present
from flatcausal.study._splits import compare_as_designed, share_tested
from flatcausal.study._statistics import relate
from flatcausal.study._tables import (
    difference_rows,
    held_equal,
    importance_rows,
    optimizer_rows,
    ordered_labels,
    result_rows,
    summary_table,
)

__all__ = ["report", "summary_table"]


def report(frame: pd.DataFrame, design: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a study's report: one HTML page without scripts that loads nothing from elsewhere.

    Parameters
    ----------
    frame : DataFrame
        A study's records, from :func:`flatcausal.study.load_records`.
    design : dict
        The study's design, from :func:`flatcausal.study.load_design`; a key
        ``command``, if there, is shown as the way to run the study again.
    path : str or path
        The page; written whole or not at all, its folder is made.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataError
        If the study has no runs yet.
    StoreError
        If the page cannot be written there.

    Examples
    --------
    >>> from flatcausal.study import load_design, load_records, report
    >>> report(load_records("runs/quick.db"), load_design("runs/quick.db"), "quick.html")  # doctest: +SKIP
    """
    from jinja2 import Environment, StrictUndefined

    check_frame(frame)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files("flatcausal.study").joinpath("report.html.jinja").read_text("utf-8")
    page = environment.from_string(source).render(_content(frame, design))
    return _write_whole(Path(path), page)


def _content(frame: pd.DataFrame, design: Mapping[str, Any]) -> dict[str, Any]:
    labels = ordered_labels(frame, design)
    # Tables and colours follow this one order.
    frame = frame.sort_values("optimizer", key=lambda column: column.map(labels.index), kind="stable")
    headlines = present(frame)
    truths = present(frame, TRUTHS)
    control = design.get("control")
    comparable = control in labels and len(labels) > 1
    comparisons = {h.key: compare_as_designed(frame, h.key, design) for h in headlines} if comparable else {}
    findings = {h.key: find(h, comparisons[h.key]) for h in headlines if comparable}
    is_table = share_tested(design) is not None
    truth = truth_sentence(frame)
    return {
        "name": design.get("name", "study"),
        "version": design.get("version", ""),
        "written": datetime.now(UTC).strftime("%Y-%m-%d"),
        "labels": labels,
        "control": control,
        "comparable": comparable,
        "is_table": is_table,
        "unit": "random split" if is_table else "data set",
        "n_blocks": frame["block"].nunique(),
        "n_runs": len(frame),
        "n_missing": len(labels) * frame["block"].nunique()
        - len(frame[["block", "optimizer"]].drop_duplicates()),
        "sentences": answer(findings, str(control), truth, is_table=is_table),
        "truth": truth,
        "findings": [findings[h.key] for h in truths or headlines if comparable],
        "has_truth": bool(truths),
        "has_environments": WORST_CASE_RISK in headlines,
        "held_equal": held_equal(frame, design),
        "optimizers": optimizer_rows(frame, design),
        "headlines": headlines,
        "results": result_rows(frame, design),
        "relation": _relation(frame, is_table) if truths else None,
        "differences": [
            {
                "headline": h,
                "figure": difference_figure(comparisons[h.key], h),
                "rows": difference_rows(comparisons[h.key], h),
            }
            for h in headlines
            if comparable
        ],
        "importances": _importances(frame, labels) if is_table else None,
        "command": design.get("command"),
        "design": json.dumps(dict(design), indent=2, ensure_ascii=False, default=str),
    }


def _relation(frame: pd.DataFrame, is_table: bool) -> dict[str, Any] | None:
    parents = TRUTHS[0]
    usable = present(frame, (SHARPNESS, parents))
    if len(usable) < 2 or frame[[SHARPNESS.key, parents.key]].dropna().empty:
        return None
    relation = relate(frame, SHARPNESS.key, parents.key)
    unknown = (relation.ci_low, relation.ci_high) == (-1.0, 1.0)
    shown = relation.ci_low > 0 or relation.ci_high < 0
    return {
        "figure": population_figure(frame, SHARPNESS, parents),
        "estimate": number(relation.estimate),
        "low": number(relation.ci_low),
        "high": number(relation.ci_high),
        "n_blocks": relation.n_blocks,
        "n_optimizers": frame["optimizer"].nunique(),
        "few": relation.n_blocks < 10 and not unknown,
        "overlap": is_table and not unknown,
        "shown": shown,
        "flatter_is_better": relation.estimate < 0,
    }


def _importances(frame: pd.DataFrame, labels: list[str]) -> dict[str, Any] | None:
    if "importances" not in frame:
        return None
    runs: dict[str, list[dict[str, float]]] = {label: [] for label in labels}
    for label, importances in zip(frame["optimizer"], frame["importances"], strict=True):
        if isinstance(importances, dict):  # not of a run that diverged
            runs[label].append(importances)
    known = {label: found for label, found in runs.items() if found}
    if not known:
        return None
    rows, n_features = importance_rows(known)
    return {"rows": rows, "labels": list(known), "n_features": n_features, "n_shown": len(rows)}


def _write_whole(path: Path, text: str) -> Path:
    """Write a file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("w", encoding="utf-8", errors="xmlcharrefreplace", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"The report {path} cannot be written: {error.strerror or error}; choose another path."
        ) from error
    return path
