"""Rows that a fit holds out to judge its members by."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from flatcausal.estimators._batches import Table
from flatcausal.exceptions import DataError


def hold_out(
    table: Table, fraction: float, seeds: np.random.SeedSequence, stratify: bool, asked_by: str
) -> tuple[Table, Table]:
    """Training and validation rows, the same for all members; by class if ``stratify``."""
    seed = np.random.RandomState(np.random.MT19937(seeds))
    classes = table.parts.y.cpu().numpy() if stratify else None
    rows = np.arange(len(table))
    try:
        split = train_test_split(rows, test_size=fraction, random_state=seed, stratify=classes)
        if len(split[0]) < 2:
            raise ValueError("it leaves less than two rows to train on")
    except ValueError as error:
        raise DataError(
            f"{asked_by} cannot hold out {fraction:.3g} of {len(rows)} rows ({error}): give more rows, "
            f"or another validation_fraction."
        ) from error
    train, valid = (_part(table, np.sort(part)) for part in split)
    return train, valid


def _part(table: Table, rows: np.ndarray) -> Table:
    return Table(*table[torch.from_numpy(rows)], rows=None if table.rows is None else table.rows[rows])
