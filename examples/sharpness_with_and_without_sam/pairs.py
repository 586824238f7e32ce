"""A pair of runs, with and without SAM, in all else alike; and what is measured of it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from flatcausal.flatness import LossSurface, compare_at_matched_loss
from flatcausal.optim import SAM, SGD, Adam, Recipe
from sharpness_with_and_without_sam import models
from sharpness_with_and_without_sam.images import Images, Split, noisy_labels, split
from sharpness_with_and_without_sam.measures import MEASURES, Measure, nothing
from sharpness_with_and_without_sam.training import Run, Schedule, train

Record = dict[str, Any]

_BASES: dict[str, tuple[Recipe, float]] = {"SGD": (SGD(momentum=0.9), 0.05), "Adam": (Adam(), 0.01)}
BASES = tuple(_BASES)
_WEIGHT_DECAY = 5e-4
HALF, SHORT, LONG, WITH = ", 0.5x epochs", "", ", 2x epochs", "+SAM"
_NOWHERE = {label: {"epochs": np.nan, **nothing()} for label in (SHORT, WITH)}


@dataclass(frozen=True)
class Pair:
    """What to run.

    Attributes
    ----------
    experiment : {"clean", "noisy"}
        Which part of the example it belongs to.
    model, base : str
        Names of the network and of the optimizer that both runs descend by.
    seed : int
        Of the split, of the weights that all runs start from, and of the order of batches.
    n_epochs, batch_size, n_rows : int
        Epochs of the run with SAM, rows of a batch, training rows to measure on.
    rho : float
        Length of SAM's ascent.
    label_noise : float
        Share of training rows with a wrong class.
    twice : bool
        Whether to run without SAM for twice the epochs, and not for half of them only.
    resolution : int
        Points of each axis of the surfaces; 0 for none.
    """

    experiment: str
    model: str
    base: str
    seed: int
    n_epochs: int
    batch_size: int
    n_rows: int
    rho: float
    label_noise: float = 0.0
    twice: bool = True
    resolution: int = 0


@dataclass(frozen=True)
class Found:
    """Records of a pair, and the loss around its networks of equal epochs, if asked for."""

    pair: Pair
    records: list[Record]
    surfaces: dict[str, LossSurface]


def run_pair(pair: Pair, images: Images) -> Found:
    """Run and measure: a record for each run at its end, and one for each of a pair at its matched loss."""
    with _one_thread():
        data = data_of(pair, images)
        start = models.build(pair.model, images.shape, images.n_classes, pair.seed)
        recipe, lr = _BASES[pair.base]
        schedule = Schedule(lr, _WEIGHT_DECAY, pair.batch_size, pair.seed)
        measure = Measure(data, pair.n_rows, pair.seed)
        plans = {
            SHORT: (recipe, pair.n_epochs),
            WITH: (SAM(rho=pair.rho, base=recipe), pair.n_epochs),
            **({LONG: (recipe, 2 * pair.n_epochs)} if pair.twice else {}),
            HALF: (recipe, -(-pair.n_epochs // 2)),
        }
        runs = {
            label: train(copy.deepcopy(start), how, data.X, data.y, schedule, n_epochs)
            for label, (how, n_epochs) in plans.items()
        }
        ends = {label: nothing() if run.diverged else measure.all(run.module) for label, run in runs.items()}
        records = [
            _record(pair, "end", label, runs[label], {"epochs": n_epochs, **ends[label]})
            for label, (_, n_epochs) in plans.items()
        ]
        for where, matched in (("matched", _along(runs, ends, measure)), ("annealed", _ended(runs, ends))):
            records += [_record(pair, where, label, runs[label], matched[label]) for label in (SHORT, WITH)]
        drawn = [label for label in (SHORT, WITH) if pair.resolution and not runs[label].diverged]
        surfaces = {label: measure.surface(runs[label].module, pair.resolution) for label in drawn}
        return Found(pair, records, surfaces)


def data_of(pair: Pair, images: Images) -> Split:
    """The split of the pair's seed, with wrong labels among those for training."""
    data = split(images, pair.seed)
    return replace(data, y=noisy_labels(data.y, pair.label_noise, images.n_classes, pair.seed))


def _record(pair: Pair, where: str, label: str, run: Run, found: dict[str, float]) -> Record:
    return {
        "experiment": pair.experiment,
        "where": where,
        "model": pair.model,
        "base": pair.base,
        "run": label,
        "optimizer": pair.base + label,
        "seed": pair.seed,
        "status": "diverged" if run.diverged else "finished",
        "n_gradients": run.n_gradients,
        "start_hash": _digest(run.checkpoints[0]),
        "batches_hash": run.batches[:16],
        **found,
    }


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]


def _along(
    runs: dict[str, Run], ends: dict[str, dict[str, float]], measure: Measure
) -> dict[str, dict[str, float]]:
    """Measures where the training losses of both runs of equal epochs are equal along training.

    The common level is the lowest that both reach. The loss is known of all checkpoints, the measures of the
    two between which a run first falls to the level: no others enter the line between them.
    """
    if any(runs[label].diverged for label in (SHORT, WITH)):
        return _NOWHERE
    losses = {label: _losses(runs[label], ends[label], measure) for label in (SHORT, WITH)}
    level = max(values.min() for values in losses.values())
    tracks = {}
    for label, values in losses.items():
        after = int(np.argmax(values <= level))
        around = [after] if values[after] == level or after == 0 else [after - 1, after]
        states = [_measured(runs[label], ends[label], i, measure) for i in around]
        tracks[label] = [
            {**state, "train_loss": float(values[i]), "epochs": runs[label].epochs[i]}
            for i, state in zip(around, states, strict=True)
        ]
    return _at_one_loss(tracks)


def _ended(runs: dict[str, Run], ends: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The run with SAM, and those without on lines between their ends: all at the end of their schedules."""
    without = [label for label in (HALF, SHORT, LONG) if label in runs]
    if any(runs[label].diverged for label in (*without, WITH)):
        return _NOWHERE
    tracks = {
        name: [{**ends[label], "epochs": runs[label].epochs[-1]} for label in labels]
        for name, labels in ((SHORT, without), (WITH, [WITH]))
    }
    return _at_one_loss(tracks)


def _at_one_loss(tracks: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Read records of falling loss at the lowest loss that both tracks reach."""
    losses = {label: [state["train_loss"] for state in track] for label, track in tracks.items()}
    level = max(map(min, losses.values()))
    if any(values[0] < level for values in losses.values()):  # one was never that high
        return _NOWHERE
    found = {label: {"train_loss": level} for label in tracks}
    for name in ("epochs", *MEASURES):
        if name != "train_loss":
            columns = {
                label: {"loss": losses[label], name: [state[name] for state in track]}
                for label, track in tracks.items()
            }
            table = compare_at_matched_loss(columns, name).set_index("run")
            for label in tracks:
                found[label][name] = float(table.at[label, name])  # pyright: ignore[reportArgumentType]
    return found


def _losses(run: Run, end: dict[str, float], measure: Measure) -> np.ndarray:
    former = [measure.loss(run.at(i)) for i in range(len(run.checkpoints) - 1)]
    return np.array([*former, end["train_loss"]])


def _measured(run: Run, end: dict[str, float], checkpoint: int, measure: Measure) -> dict[str, float]:
    if checkpoint == len(run.checkpoints) - 1:
        return end
    return measure.all(run.at(checkpoint))


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same number of threads in every process, for it decides how sums are rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
