"""Rows of a data set, observed or under interventions, at once or in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_integer
from flatcausal.datasets._blueprint import SAMPLES, Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import Environment
from flatcausal.datasets._intervening import Intervening
from flatcausal.datasets._requests import Request
from flatcausal.datasets._stream import block_intervention, draw_blocks

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of a dataset.

    Parameters
    ----------
    X : ndarray of float64 or DataFrame, shape (n, n_features)
        The features, distractors included; codes 0, 1, ... of a categorical one, or pandas categoricals.
    y : ndarray of float64 or Series, shape (n,)
        The target; int64, 0 or 1, for classification.
    """

    X: Array | pd.DataFrame
    y: Array | pd.Series


class Sampling(Intervening):
    """The part of a data set that draws rows."""

    feature_names_: list[str]
    n_features_: int
    target_name_: str
    _blueprint: Blueprint
    _columns: Columns
    _root: np.random.SeedSequence
    _n_samples_drawn: int

    def sample(
        self,
        n: int,
        *,
        return_X_y: bool = False,
        as_frame: bool = False,
        do: Mapping[str, ArrayLike] | None = None,
        shift: Mapping[str, float] | None = None,
        scale: Mapping[str, float] | None = None,
        soft: Mapping[str, float] | None = None,
        env: Environment | None = None,
        allow_target: bool = False,
        random_state: RandomState = None,
    ) -> Any:
        """Draw rows.

        With an equal ``random_state``, ``sample(n)`` is the beginning of ``sample(m)`` for n < m, and an
        intervention leaves every column that is not downstream of it bitwise unchanged.

        Parameters
        ----------
        n : int
            Number of rows, at least 1.
        return_X_y : bool, default=False
            Return the tuple ``(X, y)``.
        as_frame : bool, default=False
            Return a pandas DataFrame and Series with names.
        do : dict of str to float or array-like of shape (n,), default=None
            Features to hold at a value, cut off from their causes; a categorical one at a category's code.
        shift, scale : dict of str to float, default=None
            What to add to the noise u of a feature, which has variance 1, and what to multiply it with.
        soft : dict of str to float, default=None
            Features whose causes' signal is multiplied by 1 + this number, while their noise stays; with
            ``noise_mode="functional"``, where the two cannot be told apart, their causes' values.
        env : Environment, default=None
            An environment from :meth:`environments`; it spares the features that any of the above names.
        allow_target : bool, default=False
            Let interventions name the target.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed of the rows. None draws further rows at each call, all determined by the dataset's own seed.

        Returns
        -------
        Sample or tuple
            X of shape (n, n_features), float64, and y of shape (n,), float64 or int64.

        Raises
        ------
        ParameterError
            If n < 1, or an intervention names an unknown feature, one that it cannot move, or the target.
        DataError
            If a value of ``do`` is not finite or has another length than n.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, n_distractors=1, random_state=0)
        >>> bool((ds.sample(100, do={"x2": 3.0}).X[:, 2] == 3.0).all())
        True
        """
        n = check_integer("n", n, low=1)
        request = self._border.request(
            n, do=do, shift=shift, scale=scale, soft=soft, env=env, allow_target=allow_target
        )
        X, y = next(self._draw_batches(n, n, request, self._next_rows(random_state)))
        return self._as_asked(X, y, return_X_y=return_X_y, as_frame=as_frame)

    def iter_batches(
        self,
        n: int,
        batch_size: int,
        *,
        return_X_y: bool = False,
        as_frame: bool = False,
        do: Mapping[str, ArrayLike] | None = None,
        shift: Mapping[str, float] | None = None,
        scale: Mapping[str, float] | None = None,
        soft: Mapping[str, float] | None = None,
        env: Environment | None = None,
        allow_target: bool = False,
        random_state: RandomState = None,
    ) -> Iterator[Any]:
        """Draw rows batch by batch, bitwise those of one :meth:`sample`, in memory that does not grow with n.

        Parameters
        ----------
        n : int
            Number of rows, at least 1.
        batch_size : int
            Rows of a batch, at least 1; the last batch may have fewer.
        return_X_y, as_frame, do, shift, scale, soft, env, allow_target, random_state
            As for :meth:`sample`; values of ``do`` are for all n rows.

        Returns
        -------
        iterator of Sample or tuple
            Each batch in arrays of its own.

        Raises
        ------
        ParameterError, DataError
            As for :meth:`sample`, at the call and not at the first batch.

        Examples
        --------
        >>> import numpy as np
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, n_distractors=1, random_state=0)
        >>> batches = [batch.y for batch in ds.iter_batches(2500, 1000, random_state=1)]
        >>> [len(y) for y in batches]
        [1000, 1000, 500]
        >>> bool((np.concatenate(batches) == ds.sample(2500, random_state=1).y).all())
        True
        """
        n = check_integer("n", n, low=1)
        batch_size = check_integer("batch_size", batch_size, low=1)
        request = self._border.request(
            n, do=do, shift=shift, scale=scale, soft=soft, env=env, allow_target=allow_target
        )
        batches = self._draw_batches(n, batch_size, request, self._next_rows(random_state))
        return (self._as_asked(X, y, return_X_y=return_X_y, as_frame=as_frame) for X, y in batches)

    def _next_rows(self, random_state: RandomState) -> np.random.SeedSequence:
        if random_state is not None:
            return child(seed_sequence(random_state), SAMPLES)
        self._n_samples_drawn += 1
        return child(self._root, SAMPLES, self._n_samples_drawn - 1)

    def _draw_batches(
        self, n: int, batch_size: int, request: Request, sequence: np.random.SeedSequence
    ) -> Iterator[tuple[Array, Array]]:
        """Cut the stream's blocks into batches."""
        border = self._border
        intervene = block_intervention(border.model, request, border.node_of)
        held = {
            self.feature_names_.index(name): np.broadcast_to(value, (n,))
            for name, value in request.do.items()
            if name not in border.node_of
        }
        features, target = self._blueprint.features, self._blueprint.target
        X = y = np.empty(0)
        filled = 0
        for rows, nodes, distractors in draw_blocks(n, self._blueprint, intervene, sequence):
            columns = self._columns.place(nodes[features], distractors)
            labels = self._columns.shown_target(nodes[target])
            for column, values in held.items():
                columns[column, : rows.stop - rows.start] = values[rows]
            row = rows.start
            while row < rows.stop:
                if not filled:
                    size = min(batch_size, n - row)
                    X, y = np.empty((size, self.n_features_)), np.empty(size, dtype=labels.dtype)
                taken = min(len(y) - filled, rows.stop - row)
                block = slice(row - rows.start, row - rows.start + taken)
                X[filled : filled + taken] = columns[:, block].T
                y[filled : filled + taken] = labels[block]
                row, filled = row + taken, filled + taken
                if filled == len(y):
                    yield X, y
                    filled = 0

    def _as_asked(self, X: Array, y: Array, *, return_X_y: bool, as_frame: bool) -> Any:
        if as_frame:
            frame, series = _as_frame(X, y, self._columns)
            return (frame, series) if return_X_y else Sample(frame, series)
        return (X, y) if return_X_y else Sample(X, y)


def _as_frame(X: Array, y: Array, columns: Columns) -> tuple[pd.DataFrame, pd.Series]:
    import pandas as pd  # pandas takes a while to load, and arrays do not need it

    frame = pd.DataFrame(X, columns=pd.Index(columns.feature_names))
    for position, name in enumerate(columns.feature_names):
        if name in columns.categories:
            equation = columns.categories[name]
            codes = frame.iloc[:, position].to_numpy(dtype=np.int64)
            categories = pd.RangeIndex(equation.n_categories)
            dtype = pd.CategoricalDtype(categories, ordered=equation.kind == "ordinal")
            frame.isetitem(position, pd.Categorical.from_codes(codes, dtype=dtype))
    return frame, pd.Series(y, name=columns.target_name)
