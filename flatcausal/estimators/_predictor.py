"""What a fitted population tells: predictions, masks and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from flatcausal._threads import pinned_threads
from flatcausal._validation import check_integer
from flatcausal.estimators._batches import RowBatches, Table
from flatcausal.estimators._input import check_lengths, read_features
from flatcausal.estimators._net import ROWS_PER_PASS, PopulationNet
from flatcausal.nn import TabNet


class PopulationPredictor(BaseEstimator):
    """The half of the estimators that works on a ``net_``.

    A subclass says what a target is, by ``_criterion`` and three methods.
    """

    _criterion: ClassVar[type[nn.Module]]

    n_threads: int
    net_: PopulationNet
    diverged_: np.ndarray
    causal_importances_: np.ndarray
    categories_: dict[int, np.ndarray]

    def _check_target(self, y: Any) -> np.ndarray:
        """Return the user's target as a finite array."""
        raise NotImplementedError

    def _encode_target(self, y: np.ndarray) -> np.ndarray:
        """What the criterion compares outputs with."""
        raise NotImplementedError

    def _decode(self, outputs: Tensor) -> Tensor:
        """From outputs (K, n, n_outputs) to predictions of the target."""
        raise NotImplementedError

    def predict_members(self, X: ArrayLike) -> np.ndarray:
        """Predict by each member.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n_members, n), (n_members, n, n_targets) or (n_members, n, n_classes)
            Targets of a regressor, in the precision of ``predict``; probabilities of a classifier, float32.
        """
        return self._over_rows(X, self._predict_rows, axis=1, dtype=self._precision())

    def _mean_prediction(self, X: ArrayLike) -> np.ndarray:
        """Mean over members that did not diverge, (n,) or (n, n_targets) or (n, n_classes)."""
        healthy = self._healthy()
        return self._over_rows(
            X,
            lambda network, rows: self._predict_rows(network, rows)[healthy].mean(0),
            dtype=self._precision(),
        )

    def _predict_rows(self, network: TabNet, rows: Tensor) -> Tensor:
        return self._decode(network.predict(rows))

    def _precision(self) -> torch.dtype:
        """Of predictions."""
        return torch.float32

    def explain(self, X: ArrayLike) -> np.ndarray:
        """How much each row's prediction attends to each input.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of float32, shape (n, n_features)
            Rows sum to one. ``causal_importances_`` is the mean of these rows over the rows trained on,
            weighted as their losses are.
        """
        healthy = self._healthy()
        return self._over_rows(X, lambda network, rows: network.explain(rows)[healthy].mean(0))

    def _healthy(self) -> Tensor:
        check_is_fitted(self)
        return torch.from_numpy(np.flatnonzero(~self.diverged_))

    @property
    def feature_importances_(self) -> np.ndarray:
        """``causal_importances_`` under the name that scikit-learn's selectors look for."""
        check_is_fitted(self)
        return self.causal_importances_

    def data_loss(self, X: ArrayLike, y: ArrayLike) -> Callable[[nn.Module], Tensor]:
        """Mean loss of each member on (X, y) as a function of the network.

        The target is coded as in training; the sparsity penalty and weights are left out. The function takes
        ``net_.module_`` or a copy of it, of any dtype, and returns a tensor of shape (n_members,).
        """
        check_is_fitted(self)
        inputs = torch.from_numpy(read_features(self, X, self.categories_, reset=False))
        y = self._check_target(y)
        check_lengths(inputs, y)
        target = torch.from_numpy(self._encode_target(y))
        criterion = self._criterion()

        def loss(network: nn.Module) -> Tensor:
            like = next(network.parameters())
            output = network(inputs.to(like))[0]
            return criterion(output, target.to(like if target.is_floating_point() else like.device)).mean(1)

        return loss

    def _over_rows(
        self,
        X: ArrayLike,
        function: Callable[[TabNet, Tensor], Tensor],
        axis: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> np.ndarray:
        """Apply ``function`` to batches of rows and join its results along ``axis``.

        In float64, so that a row's float32 prediction is the same whatever rows and members are around it.
        """
        check_is_fitted(self)
        values = torch.from_numpy(read_features(self, X, self.categories_, reset=False))
        network = _in_float64(self.net_.module_)
        like = network.population
        results = None
        with pinned_threads(check_integer("n_threads", self.n_threads, low=1)), torch.no_grad():
            for start in range(0, len(values), ROWS_PER_PASS):
                part = function(network, values[start : start + ROWS_PER_PASS].to(like)).to(dtype).cpu()
                if results is None:  # filled in place: joining parts would hold them twice
                    results = part.new_empty(*part.shape[:axis], len(values), *part.shape[axis + 1 :])
                results.narrow(axis, start, part.shape[axis]).copy_(part)
        assert results is not None
        return results.numpy()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _fitted_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if _is_fitted_name(name)}

    def _become(self, trained: PopulationPredictor) -> None:
        """Take over another's fit in place of one's own."""
        for name in self._fitted_attributes():
            delattr(self, name)
        vars(self).update(trained._fitted_attributes())


def _in_float64(network: TabNet) -> TabNet:
    """A copy in double precision, where the device has it."""
    precise = copy.deepcopy(network)
    return precise if network.population.device.type == "mps" else precise.double()


@torch.no_grad()
def mean_masks(network: TabNet, table: Table) -> np.ndarray:
    """Mean attention of each member over the rows, weighted as their losses are, shape (K, p)."""
    precise = _in_float64(network)
    total, mass = 0.0, 0.0
    for rows in RowBatches(table, ROWS_PER_PASS):
        weight = None if rows.weight is None else rows.weight.double()
        n = rows.X.shape[-2] if weight is None else weight.sum().item()
        total = total + precise.mean_masks(rows.X.to(precise.population), weight) * n
        mass += n
    return (total / mass).cpu().numpy()  # pyright: ignore


def _is_fitted_name(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")
