"""Studies: a design is cut into cells, cells give records, records give statistics and a report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatcausal.study._cells import Cell, run_cell
    from flatcausal.study._conclusion import conclusion
    from flatcausal.study._design import StudyDesign
    from flatcausal.study._presets import preset_names, preset_text
    from flatcausal.study._report import report, summary_table
    from flatcausal.study._run import run_study
    from flatcausal.study._splits import compare_splits
    from flatcausal.study._statistics import compare, relate, summarize
    from flatcausal.study._store import load_design, load_records, open_store
    from flatcausal.study._synthetic import DlcausalData, SyntheticData
    from flatcausal.study._table import TableData
    from flatcausal.study._training import Measures, Network, Training

__all__ = [
    "Cell",
    "DlcausalData",
    "Measures",
    "Network",
    "StudyDesign",
    "SyntheticData",
    "TableData",
    "Training",
    "compare",
    "compare_splits",
    "conclusion",
    "load_design",
    "load_records",
    "open_store",
    "preset_names",
    "preset_text",
    "relate",
    "report",
    "run_cell",
    "run_study",
    "summarize",
    "summary_table",
]

_HOMES = {
    "_cells": ("Cell", "run_cell"),
    "_conclusion": ("conclusion",),
    "_design": ("StudyDesign",),
    "_presets": ("preset_names", "preset_text"),
    "_report": ("report", "summary_table"),
    "_run": ("run_study",),
    "_splits": ("compare_splits",),
    "_statistics": ("compare", "relate", "summarize"),
    "_store": ("load_design", "load_records", "open_store"),
    "_synthetic": ("DlcausalData", "SyntheticData"),
    "_table": ("TableData",),
    "_training": ("Measures", "Network", "Training"),
}


def __getattr__(name: str):
    # Resolved on first use: reading a store and writing its report need no torch.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
