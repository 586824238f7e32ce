"""Run a study: skip what the store holds, compute the rest in parallel, store each cell as it ends."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import pandas as pd

from flatcausal._validation import check_integer
from flatcausal.exceptions import ParameterError
from flatcausal.study._cells import Cell, run_cells
from flatcausal.study._design import StudyDesign
from flatcausal.study._store import open_store

Progress = Callable[[int, int], None]

MEMBERS_PER_TASK = 16  # more gain little, and an interrupt loses what the task has done


def run_study(
    design: StudyDesign,
    store: str | os.PathLike[str],
    *,
    n_jobs: int = 1,
    progress: Progress | None = None,
    command: str | None = None,
) -> pd.DataFrame:
    """Run every cell of a design that its store does not hold yet.

    Cells that are alike but for their rows train as one population. Each finished cell is stored in one
    transaction. Interrupt the study when you like:
    running it again with the same store computes only what is missing.

    Parameters
    ----------
    design : StudyDesign
        What to run.
    store : str or path
        A SQLite file, made if it is not there, or a SQLAlchemy address.
    n_jobs : int, default=1
        Processes; -1 takes every core. Each cell runs in one thread, so the numbers do not
        depend on it. A ``joblib.parallel_config`` around the call chooses the backend.
    progress : callable, optional
        Called as ``progress(done, total)`` at the start and after every cell.
    command : str, optional
        How the study was started; kept in the store, and shown by its report.

    Returns
    -------
    pandas.DataFrame
        One row a member: ``block``, ``optimizer``, ``member``, ``status``, the budget, the
        risks, the flatness, and where the truth is known the scores of causal recovery.

    Raises
    ------
    DesignError, DataError, GraphError
        If the design cannot be carried out; nothing has been run then.
    StoreError
        If the store belongs to another design or cannot be written.

    Examples
    --------
    >>> from flatcausal.study import StudyDesign, run_study
    >>> design = StudyDesign(
    ...     n_members=2,
    ...     data={"n_datasets": 1, "n_nodes": 5, "n_distractors": 2, "n_train": 64, "n_test": 32},
    ...     training={"epochs": 2, "batch_size": 32},
    ...     optimizers=["sgd", "sam"],
    ... )
    >>> frame = run_study(design, ":memory:")
    >>> frame[["block", "optimizer", "member", "n_gradient_evaluations"]]
       block optimizer  member  n_gradient_evaluations
    0  dag-0       sam       0                       4
    1  dag-0       sam       1                       4
    2  dag-0       sgd       0                       4
    3  dag-0       sgd       1                       4
    """
    if check_integer("n_jobs", n_jobs) == 0:
        raise ParameterError("n_jobs must be a number of processes, or -1 for every core, got 0.")
    cells = design.cells()
    described = design.to_dict() if command is None else {**design.to_dict(), "command": command}
    with open_store(store, described, design.id) as opened:
        finished = opened.finished()
        missing = sorted((cell for cell in cells if cell.id not in finished), key=lambda cell: -cell.cost)
        done = len(cells) - len(missing)
        _tell(progress, done, len(cells))
        for results in _compute(missing, n_jobs):
            for cell_id, seconds, records in results:
                opened.add(cell_id, seconds, records)
            done += len(results)
            _tell(progress, done, len(cells))
        return opened.records()


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _compute(cells: list[Cell], n_jobs: int) -> Any:
    tasks = _tasks(cells, joblib.effective_n_jobs(n_jobs))
    # More processes than tasks would only cost their start.
    parallel = joblib.Parallel(n_jobs=min(n_jobs, max(len(tasks), 1)), return_as="generator_unordered")
    return parallel(joblib.delayed(_timed)(task, os.getpid()) for task in tasks)


def _tasks(cells: list[Cell], n_jobs: int) -> list[list[Cell]]:
    """Cells that train as one population, in the order of the first; enough tasks for every process."""
    kin: dict[str, list[Cell]] = {}
    for cell in cells:
        kin.setdefault(cell.kin, []).append(cell)
    return [task for alike in kin.values() for task in _shares(alike, n_jobs)]


def _shares(alike: list[Cell], n_jobs: int) -> Iterator[list[Cell]]:
    n_members = alike[0].n_members
    # One member alone takes another kernel, whose rounding differs: its cells never share.
    size = 1 if n_members == 1 else min(MEMBERS_PER_TASK // n_members, math.ceil(len(alike) / n_jobs))
    for start in range(0, len(alike), max(size, 1)):
        yield alike[start : start + max(size, 1)]


def _timed(cells: list[Cell], parent: int) -> list[tuple[str, float, list[dict[str, Any]]]]:
    # Ctrl-C reaches every process of the terminal; only the one that stores may act on it.
    if os.getpid() != parent and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    started = time.perf_counter()
    found = run_cells(cells)
    seconds = (time.perf_counter() - started) / len(cells)
    return [(cell.id, seconds, records) for cell, records in zip(cells, found, strict=True)]
