"""Designs small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flatcausal.study import StudyDesign

TINY_DATA = {
    "n_datasets": 2,
    "n_nodes": 5,
    "n_distractors": 2,
    "n_train": 60,
    "n_test": 30,
    "n_environments": 2,
}
TINY_NETWORK = {"n_d": 2, "n_a": 2, "n_steps": 2, "n_independent": 1, "n_shared": 1}


def tiny(**changes) -> StudyDesign:
    """Two graphs, two optimizers, two epochs."""
    values = {
        "name": "tiny",
        "n_members": 2,
        "data": TINY_DATA,
        "training": {"epochs": 2, "batch_size": 30},
        "network": TINY_NETWORK,
        "measures": {"sharpness_rows": 20, "sharpness_draws": 2},
        "optimizers": ["sgd", "sam"],
    }
    return StudyDesign.from_dict({**values, **changes})


def write_table(folder: Path, n_rows: int = 60) -> Path:
    """Write a table of the chain cause -> y -> effect with an idle column."""
    rng = np.random.default_rng(0)
    cause, idle = rng.normal(size=(2, n_rows))
    y = cause + 0.5 * rng.normal(size=n_rows)
    effect = y + 0.5 * rng.normal(size=n_rows)
    path = folder / "table.csv"
    np.savetxt(path, np.c_[cause, effect, idle, y], delimiter=",", header="cause,effect,idle,y", comments="")
    return path


def without_clock(records) -> list[dict]:
    """Drop the one key that may differ between two runs."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]
