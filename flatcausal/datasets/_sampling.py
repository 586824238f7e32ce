"""Rows of a data set, observed or under interventions, and environments to draw them from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.datasets._blueprint import ENVIRONMENTS, SAMPLES, Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import KINDS, Environment, draw_environment
from flatcausal.datasets._requests import check_do, check_environment, intervenable
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
        The features, distractors included.
    y : ndarray of float64 or Series, shape (n,)
        The target.
    """

    X: Array | pd.DataFrame
    y: Array | pd.Series


class Sampling:
    """The part of a data set that draws rows and environments."""

    feature_names_: list[str]
    n_features_: int
    target_name_: str
    _blueprint: Blueprint
    _columns: Columns
    _root: np.random.SeedSequence
    _n_samples_drawn: int
    _n_environments_drawn: int

    def sample(
        self,
        n: int,
        *,
        return_X_y: bool = False,
        as_frame: bool = False,
        do: Mapping[str, ArrayLike] | None = None,
        env: Environment | None = None,
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
            Features to hold at a value, cut off from their causes.
        env : Environment, default=None
            An environment from :meth:`environments`; ``do`` wins where both name a feature.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed of the rows. None draws further rows at each call, all determined by the dataset's own seed.

        Returns
        -------
        Sample or tuple
            X of shape (n, n_features) and y of shape (n,), float64.

        Raises
        ------
        ParameterError
            If n < 1, or an intervention names the target or an unknown feature.
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
        held = check_do(do, n, self._columns)
        check_environment(env, self._columns, self._blueprint.model)
        if random_state is None:
            sequence = child(self._root, SAMPLES, self._n_samples_drawn)
            self._n_samples_drawn += 1
        else:
            sequence = child(seed_sequence(random_state), SAMPLES)
        X, y = self._draw_rows(n, held, env, sequence)
        if as_frame:
            X, y = _as_frame(X, y, self.feature_names_, self.target_name_)
        return (X, y) if return_X_y else Sample(X, y)

    def _draw_rows(
        self,
        n: int,
        held: dict[str, float | Array],
        env: Environment | None,
        sequence: np.random.SeedSequence,
    ) -> tuple[Array, Array]:
        node_of = self._columns.node_of
        on_nodes = {node_of[name]: value for name, value in held.items() if name in node_of}
        intervene = block_intervention(on_nodes, env, node_of)
        X, y = np.empty((n, self.n_features_)), np.empty(n)
        features, target = self._blueprint.features, self._blueprint.target
        for rows, nodes, distractors in draw_blocks(n, self._blueprint, intervene, sequence):
            wanted = rows.stop - rows.start
            X[rows] = self._columns.place(nodes[features], distractors)[:, :wanted].T
            y[rows] = nodes[target, :wanted]
        for name in held.keys() - node_of.keys():
            X[:, self.feature_names_.index(name)] = held[name]
        return X, y

    def environments(
        self,
        k: int,
        *,
        kind: str = "do",
        fraction: float = 0.25,
        strength: float = 2.0,
        random_state: RandomState = None,
    ) -> list[Environment]:
        """Draw environments: interventions on random features, never on the target or its noise.

        Parameters
        ----------
        k : int
            How many, at least 1.
        kind : {"do", "shift", "scale"}, default="do"
            ``do``: features become draws from N(±strength, 1.5²); ``shift``: their noise moves by
            ±strength of its standard deviations; ``scale``: their noise is multiplied by strength.
        fraction : float, default=0.25
            Share of the graph's features that each environment concerns, in (0, 1]; at least one feature. For
            ``shift`` and ``scale``, of those that have noise.
        strength : float, default=2.0
            How far to go, at least 0.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed. None draws further environments at each call, determined by the dataset's own seed.

        Returns
        -------
        list of Environment
            To be passed as ``sample(env=...)``.

        Raises
        ------
        ParameterError
            If a parameter is out of its range.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=9, n_distractors=1, random_state=0)
        >>> [len(env.features) for env in ds.environments(3, kind="shift")]
        [2, 2, 2]
        """
        k = check_integer("k", k, low=1)
        kind = check_choice("kind", kind, KINDS)
        fraction = check_real("fraction", fraction, low=0.0, high=1.0, open_low=True)
        strength = check_real("strength", strength, low=0.0)
        if random_state is None:
            sequence = child(self._root, ENVIRONMENTS, self._n_environments_drawn)
            self._n_environments_drawn += 1
        else:
            sequence = child(seed_sequence(random_state), ENVIRONMENTS)
        names = intervenable(kind, self._columns, self._blueprint.model)
        return [
            draw_environment(kind, names, fraction, strength, np.random.default_rng(child(sequence, index)))
            for index in range(k)
        ]


def _as_frame(X: Array, y: Array, names: list[str], target: str) -> tuple[pd.DataFrame, pd.Series]:
    import pandas as pd  # pandas takes a while to load, and arrays do not need it

    return pd.DataFrame(X, columns=pd.Index(names)), pd.Series(y, name=target)
