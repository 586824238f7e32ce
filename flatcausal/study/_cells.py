"""A cell: one optimizer on one block. A pure specification, and the function that runs it."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning

from flatcausal.exceptions import DesignError
from flatcausal.study._blocks import Block, Sample, Stream
from flatcausal.study._budget import Budget
from flatcausal.study._canonical import content_id
from flatcausal.study._optimizers import averaging_of, recipe_of
from flatcausal.study._training import Measures, Network, Training

if TYPE_CHECKING:
    from flatcausal.estimators import FlatMinimaTabNetRegressor

_SHIFTED = ("worst_case_risk", "mean_environment_risk")
_FLATNESS = ("sharpness_adaptive", "sharpness_adaptive_average", "gradient_norm", "weight_norm")


@dataclass(frozen=True)
class Cell:
    """One optimizer on one block, with all that decides its numbers; plain and picklable."""

    block: Block
    label: str
    optimizer: Mapping[str, Any]
    n_members: int
    budget: Budget
    training: Training
    network: Network
    measures: Measures

    @cached_property
    def id(self) -> str:
        """Hash of the content: 32 hexadecimal digits, the same on any machine."""
        return content_id(
            {
                "block": {"name": self.block.name, **self.block.identity()},
                "label": self.label,
                **self._training_identity(),
                "measures": self.measures.to_dict(),
            }
        )

    def _training_identity(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer,
            "n_members": self.n_members,
            "max_epochs": self.budget.max_epochs,
            "batch_size": self.budget.batch_size,
            "virtual_batch_size": self.training.virtual_batch_size,
            "lr_schedule": self.training.lr_schedule,
            "weight_decay": self.training.weight_decay,
            "network": self.network.to_dict(),
        }

    @cached_property
    def kin(self) -> str:
        """Hash of all but the block's rows: cells of one kin can train as one population."""
        shape = {"n_train": self.block.n_train, "n_features": self.block.n_features}
        return content_id({**self._training_identity(), **shape})

    @property
    def cost(self) -> float:
        """How long the cell takes, up to a factor: numbers that pass through the network."""
        width = self.block.n_features + 4 * (self.network.n_d + self.network.n_a)
        return self.budget.n_gradient_evaluations * self.budget.batch_size * width * self.n_members

    def estimator(self) -> FlatMinimaTabNetRegressor:
        """Return the unfitted estimator that the cell trains."""
        from flatcausal.estimators import FlatMinimaTabNetRegressor

        schedule = self.training.lr_schedule
        return FlatMinimaTabNetRegressor(
            optimizer=recipe_of(self.optimizer),
            lr=self.optimizer["lr"],
            weight_decay=self.training.weight_decay,
            lr_schedule=None if schedule == "constant" else schedule,
            averaging=averaging_of(self.optimizer),
            max_epochs=self.budget.max_epochs,
            batch_size=self.budget.batch_size,
            virtual_batch_size=self.training.virtual_batch_size,
            n_members=self.n_members,
            n_threads=1,
            device="cpu",
            random_state=self.block.stream(Stream.MEMBERS),
            **self.network.to_dict(),
        )


def run_cell(cell: Cell) -> list[dict[str, Any]]:
    """Train one population and measure each member.

    The result depends on the cell alone: not on other cells, their order, or the number
    of processes. Only ``seconds`` varies.

    Parameters
    ----------
    cell : Cell
        From :meth:`StudyDesign.cells`.

    Returns
    -------
    list of dict
        One record a member. ``status`` is "ok" or "diverged"; a member that diverged has
        None for every measure.
    """
    return run_cells([cell])[0]


def run_cells(cells: Sequence[Cell]) -> list[list[dict[str, Any]]]:
    """Run cells of one ``kin`` as one population: the records of :func:`run_cell`, sooner."""
    from flatcausal._threads import pinned_threads

    with pinned_threads(1), warnings.catch_warnings():
        # Both are told by the record: as its status, and as a score that is None.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        samples = [cell.block.load() for cell in cells]
        started = time.perf_counter()
        fits = _fit(cells, samples)
        seconds = (time.perf_counter() - started) / sum(cell.n_members for cell in cells)
        return [_records(*found, seconds) for found in zip(cells, samples, fits, strict=True)]


def _fit(cells: Sequence[Cell], samples: Sequence[Sample]) -> list[Any]:
    """Fitted estimators; None where every member diverged."""
    from flatcausal.estimators import fit_together

    datasets = [(sample.X_train, sample.y_train) for sample in samples]
    try:
        return list(fit_together([cell.estimator() for cell in cells], datasets))
    except FloatingPointError:
        if len(cells) == 1:
            return [None]
        # One fit without a healthy member must not cost the others theirs.
        return [_fit([cell], [sample])[0] for cell, sample in zip(cells, samples, strict=True)]


def _records(cell: Cell, sample: Sample, estimator: Any, seconds: float) -> list[dict[str, Any]]:
    heads = [_head(cell, member, seconds) for member in range(cell.n_members)]
    if estimator is None:
        return [_diverged(head, sample) for head in heads]
    _check_budget(cell, estimator)
    columns = _measure(cell, estimator, sample)
    return [
        _diverged(head, sample)
        if diverged
        else {**head, **_member(columns, head["member"], estimator, sample)}
        for head, diverged in zip(heads, estimator.diverged_, strict=True)
    ]


def _head(cell: Cell, member: int, seconds: float) -> dict[str, Any]:
    return {
        "block": cell.block.name,
        "optimizer": cell.label,
        "member": member,
        "status": "ok",
        "n_gradient_evaluations": cell.budget.n_gradient_evaluations,
        "n_epochs": cell.budget.max_epochs,
        "lr": cell.optimizer["lr"],
        "seconds": seconds,
    }


def _check_budget(cell: Cell, estimator: Any) -> None:
    spent = int(estimator.n_gradient_evaluations_)
    if spent != cell.budget.n_gradient_evaluations:
        raise DesignError(
            f"optimizers.{cell.label} spent {spent} gradient evaluations on {cell.block.name} instead of "
            f"{cell.budget.n_gradient_evaluations}; mend its recipe's gradients_per_step or batches_per_step."
        )


def _measure(cell: Cell, estimator: Any, sample: Sample) -> dict[str, np.ndarray]:
    return {
        "train_loss": _normalised_mse(estimator, sample.X_train, sample.y_train, np.var(sample.y_train)),
        **_risks(estimator, sample),
        **_flatness(cell, estimator, sample),
    }


def _member(columns: Mapping[str, np.ndarray], member: int, estimator: Any, sample: Sample) -> dict[str, Any]:
    importances = estimator.member_importances_[member]
    return {
        **{key: _number(values[member]) for key, values in columns.items()},
        **_recovery(importances, sample),
        "importances": {str(name): float(v) for name, v in zip(sample.X_train, importances, strict=True)},
    }


def _risks(estimator: Any, sample: Sample) -> dict[str, np.ndarray]:
    """Errors as fractions of the target's variance in training and test rows, in every environment."""
    # A few test rows would make the scale a matter of luck; for a table, this is the whole of it.
    variance = np.var(np.concatenate([sample.y_train, sample.y_test]))
    risks = {"iid_risk": _normalised_mse(estimator, sample.X_test, sample.y_test, variance)}
    if sample.environments:
        shifted = np.stack([_normalised_mse(estimator, X, y, variance) for X, y in sample.environments])
        risks.update(zip(_SHIFTED, (shifted.max(axis=0), shifted.mean(axis=0)), strict=True))
    return risks


def _normalised_mse(estimator: Any, X: pd.DataFrame, y: np.ndarray, variance: Any) -> np.ndarray:
    predictions = np.asarray(estimator.predict_members(X), dtype=np.float64)
    with np.errstate(all="ignore"):
        return np.mean((predictions - y) ** 2, axis=1) / variance


def _flatness(cell: Cell, estimator: Any, sample: Sample) -> dict[str, np.ndarray]:
    from flatcausal.flatness import sharpness

    rows = slice(cell.measures.sharpness_rows)
    X, y = sample.X_train.iloc[rows], sample.y_train[rows]
    seed = cell.block.stream(Stream.SHARPNESS)
    try:
        one_step = sharpness(estimator, X, y, kind="adaptive", n_rows=None)
        average = sharpness(
            estimator,
            X,
            y,
            kind="adaptive_average",
            n_draws=cell.measures.sharpness_draws,
            n_rows=None,
            random_state=seed,
        )
    except FloatingPointError:  # finite weights whose loss is not: no flatness to speak of
        return dict.fromkeys(_FLATNESS, np.full(cell.n_members, np.nan))
    found = (one_step.value, average.value, one_step.gradient_norm, one_step.weight_norm)
    return dict(zip(_FLATNESS, found, strict=True))


def _recovery(importances: np.ndarray, sample: Sample) -> dict[str, float | None]:
    if sample.roles is None:
        return {}
    from flatcausal.metrics import causal_recovery_report

    return {key: _number(value) for key, value in causal_recovery_report(importances, sample.roles).items()}


def _number(value: Any) -> float | None:
    # A store holds no NaN: what is not defined is None.
    return float(value) if math.isfinite(value) else None


def _diverged(head: dict[str, Any], sample: Sample) -> dict[str, Any]:
    """Fill a record with the keys of a healthy one, so that every record has the same columns."""
    keys = ["train_loss", "iid_risk", *(_SHIFTED if sample.environments else ()), *_FLATNESS]
    uniform = np.full(sample.X_train.shape[1], 1.0)
    blank = dict.fromkeys([*keys, *_recovery(uniform, sample)])
    return {**head, "status": "diverged", **blank, "importances": None}
