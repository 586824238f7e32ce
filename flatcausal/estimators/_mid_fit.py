"""An estimator in the middle of its fit, as callbacks may measure it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from flatcausal.estimators._batches import Table


class MidFit:
    """What it takes to see a net under training as its estimator.

    Parameters
    ----------
    estimator : FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
        Knows how the rows were read.
    net : PopulationNet
        Its net.
    X, y
        The user's table and target.
    """

    def __init__(self, estimator: Any, net: Any, X: Any, y: Any):
        estimator.net_ = net
        self.estimator, self.X = estimator, X
        y = np.asarray(y)
        self.y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y  # the fit has warned of a column already

    @contextmanager
    def present(self, table: Table) -> Iterator[Any]:
        """The estimator with its present weights, which can measure its loss and predict, and no more.

        Running statistics are those of the present weights on ``table``, as at the end of a fit; when the
        block is left they are again what they were.
        """
        net = self.estimator.net_
        running = net.module_.statistics.clone()
        net.reestimate_statistics(table)
        self.estimator.diverged_ = net.monitor_.diverged.cpu().numpy()
        try:
            yield self.estimator
        finally:
            net.module_.statistics.copy_(running)

    def rows(self, table: Table) -> tuple[Any, Any]:
        """The user's rows and targets that ``table`` holds."""
        if table.rows is None or len(table) == len(self.y):
            return self.X, self.y
        return _safe_indexing(self.X, table.rows), self.y[table.rows]
