"""Many fits as one population."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch

from flatcausal._random import seed_sequence
from flatcausal._threads import pinned_threads
from flatcausal._validation import check_integer
from flatcausal.estimators._base import PopulationEstimator
from flatcausal.estimators._batches import Table
from flatcausal.estimators._net import PopulationNet
from flatcausal.estimators._training import train
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError

_ALONE = ("callbacks", "checkpoint_dir", "warm_start")


def fit_together(
    estimators: Sequence[PopulationEstimator], datasets: Sequence[tuple[Any, Any]]
) -> list[PopulationEstimator]:
    """Fit estimators that are alike, each to data of its own, as one population.

    A population's members are independent, so the fits are those that each estimator's ``fit`` would give,
    bitwise where ``n_members`` is two or more; but small networks train many times faster side by side.

    Parameters
    ----------
    estimators : sequence of FlatMinimaTabNetRegressor or of FlatMinimaTabNetClassifier
        Alike in class and in all parameters but ``random_state``; without ``callbacks``, ``checkpoint_dir``
        and ``warm_start``.
    datasets : sequence of (X, y)
        One for each estimator, all of one shape, with as many classes and categories.

    Returns
    -------
    list
        The same estimators, fitted.

    Raises
    ------
    ParameterError
        If a parameter differs, or there is not one data set for each estimator.
    DataError
        If shapes, or numbers of classes or categories, differ.
    FloatingPointError
        If all members of one of the fits diverged; then none of the estimators is changed.

    Examples
    --------
    >>> from flatcausal import FlatMinimaTabNetRegressor, SyntheticDAGDataset
    >>> from flatcausal.estimators import fit_together
    >>> datasets = [SyntheticDAGDataset(n_nodes=6, random_state=s) for s in range(3)]
    >>> estimators = [FlatMinimaTabNetRegressor(max_epochs=5, random_state=s) for s in range(3)]
    >>> fits = fit_together(estimators, [ds.sample(200, return_X_y=True) for ds in datasets])
    >>> [est.causal_importances_.shape for est in fits]
    [(15,), (15,), (15,)]
    """
    estimators = list(estimators)
    _check_alike(estimators, datasets)
    seeds = [seed_sequence(est.random_state) for est in estimators]
    trained, trains, valids = [], [], []
    for est, (X, y), seed in zip(estimators, datasets, seeds, strict=True):
        fresh, table = est._read(X, y, None, None)
        table, valid = fresh._split(table, seed)
        trained.append(fresh)
        trains.append(table)
        valids.append(valid)
    _check_sizes(trained)
    n_members = check_integer("n_members", estimators[0].n_members, low=1)
    table = _stacked(trains, n_members)
    valid = None if valids[0] is None else _stacked(valids, n_members)
    net = trained[0]._make_net(seeds)
    with pinned_threads(check_integer("n_threads", estimators[0].n_threads, low=1)):
        train(net, table, valid)
        for i, (fresh, own) in enumerate(zip(trained, trains, strict=True)):
            fresh._conclude(_share(net, i, n_members), own)
    for fresh in trained:
        fresh._report_divergence(stacklevel=3)
    for est, fresh in zip(estimators, trained, strict=True):
        est._become(fresh)
    return estimators


def _check_alike(estimators: Sequence[Any], datasets: Sequence[Any]) -> None:
    if not estimators or len(estimators) != len(datasets):
        raise ParameterError(
            f"fit_together needs one data set for each of at least one estimator, got {len(estimators)} "
            f"estimators and {len(datasets)} data sets."
        )
    for i, estimator in enumerate(estimators):
        if not isinstance(estimator, PopulationEstimator):
            raise ParameterTypeError(
                f"estimators[{i}] must be a TabNet estimator of this package, got {type(estimator).__name__}."
            )
        if any(estimator is other for other in estimators[:i]):
            raise ParameterError(f"estimators[{i}] is there twice: pass clones of it.")
        for name in _ALONE:
            if getattr(estimator, name):
                raise ParameterError(
                    f"{name} works in fits of their own, got {getattr(estimator, name)!r}: leave it out, "
                    f"or fit apart."
                )
    first = {"class": type(estimators[0]).__name__, **estimators[0].get_params()}
    for i, estimator in enumerate(estimators[1:], start=1):
        params = {"class": type(estimator).__name__, **estimator.get_params()}
        for name in first.keys() | params.keys():
            ours, theirs = first.get(name), params.get(name)
            if name != "random_state" and repr(ours) != repr(theirs) and not _equal_numbers(ours, theirs):
                raise ParameterError(
                    f"{name} must be the same for all estimators: estimators[0] has {ours!r}, "
                    f"estimators[{i}] has {theirs!r}."
                )


def _equal_numbers(ours: Any, theirs: Any) -> bool:
    return isinstance(ours, Real) and isinstance(theirs, Real) and ours == theirs


def _check_sizes(trained: Sequence[PopulationEstimator]) -> None:
    """Refuse fits whose networks would not be of one size."""
    sizes = [(est._n_outputs, {i: len(values) for i, values in est.categories_.items()}) for est in trained]
    for i, size in enumerate(sizes):
        if size != sizes[0]:
            raise DataError(
                f"fit_together needs as many outputs and categories in all data sets: datasets[0] has "
                f"{sizes[0]}, datasets[{i}] has {size}: fit them apart."
            )


def _stacked(tables: Sequence[Table], n_members: int) -> Table:
    """One table for each member, in the order of the fits."""
    shapes = {tuple(tuple(part.shape) for part in table.parts if part is not None) for table in tables}
    if len(shapes) > 1:
        raise DataError(f"fit_together needs data sets of one shape, got {sorted(shapes)}: fit them apart.")
    stacked: list[Any] = []
    for parts in zip(*(table.parts for table in tables), strict=True):
        present = parts[0] is not None
        stacked.append(torch.stack(parts).repeat_interleave(n_members, dim=0) if present else None)
    return Table(*stacked)


def _share(net: PopulationNet, i: int, n_members: int) -> PopulationNet:
    """The net of fit ``i`` alone."""
    share = net.twin(slice(i * n_members, (i + 1) * n_members))
    share.seeds = net.seeds[i : i + 1]
    return share
