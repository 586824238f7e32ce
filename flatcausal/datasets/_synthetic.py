"""SyntheticDAGDataset: one frozen causal model to sample, intervene on and score against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.datasets._blueprint import COLUMNS, ENVIRONMENTS, SAMPLES, Blueprint, check_parameters
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import KINDS, Environment, draw_environment
from flatcausal.datasets._presets import FIXED, check_preset
from flatcausal.datasets._published import draw_published
from flatcausal.datasets._requests import check_do, check_environment, intervenable
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.datasets._stream import block_intervention, fill_blocks
from flatcausal.exceptions import ParameterTypeError
from flatcausal.metrics import TRUTHS, CausalScorer, aligned_importances, causal_recovery_report

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

_SCORER_METRICS = ("ap_lift", "auroc", "causal_mass")


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


class SyntheticDAGDataset:
    r"""A random structural causal model with a target, its true graph, and distractor columns.

    Everything is drawn at construction and then frozen: samples, interventions and environments
    come from one model. Each node is scaled to variance 1, of which its parents explain a share
    :math:`\rho_j`, drawn uniformly from ``r2_range``, whatever its depth:

    .. math::

        x_j = \sqrt{\rho_j}\, \frac{f_j(x_{pa(j)}) - E f_j}{\operatorname{sd} f_j} + \sqrt{1 - \rho_j}\, u_j

    so that neither variances nor R² betray the causal order (Reisach et al. 2021, 2023). Mean and
    sd are estimated once, on ``n_calibration`` rows. Every node has noise :math:`u_j` of its own.

    Parameters
    ----------
    n_nodes : int, default=20
        Nodes of the graph, the target included. The graph decides where ``adjacency`` is given.
    n_distractors : int, default=10
        Columns that are independent of everything; there are n_nodes - 1 + n_distractors features.
    expected_degree : float, default=3.0
        Expected number of edges at a node, incoming and outgoing.
    graph : {"er"}, default="er"
        Law of the graph: Erdős–Rényi, drawn along a random order of the nodes.
    adjacency : networkx.DiGraph or array-like of shape (n_nodes, n_nodes), default=None
        Your own graph, row -> column; any non-zero entry is an edge, and mechanisms are drawn.
        A DiGraph's node names become the feature names.
    mechanisms : sequence of {"linear", "mlp"}, default=("linear", "mlp")
        Families that each node's function is drawn from. A draw is repeated until each parent moves
        at least 2 % of the function's variance (a tenth of an equal share where there are very many parents).
    noise : {"normal", "laplace", "uniform"}, default="normal"
        Law of the noise, always with mean 0 and variance 1.
    r2_range : tuple of (float, float), default=(0.3, 0.9)
        Range of the share of variance that parents explain, within (0, 1).
    target : "auto" or node of ``adjacency``, default="auto"
        The node to predict; drawn among the nodes that satisfy the three minima, or named
        (by its index, if adjacency is a matrix), in which case they do not apply.
    min_parents, min_children, min_spouses : int, default=1, 1, 0
        What a drawn target must have. Graphs are redrawn until one holds such a node.
    distractors : {"shadow", "published"}, default="shadow"
        Row-permuted copies of nodes, which have the marginals of real features; or N(0, 1), U(0, 1),
        Poisson(1) and Bernoulli(0.5) columns. Copies are taken within blocks of 1024 rows of the stream, each
        from another row, so that they are independent within a row and a row does not depend on n.
    shuffle_columns : bool, default=True
        Shuffle the columns. Otherwise they stand in causal order, distractors last.
    n_calibration : int, default=20000
        Rows from which the scaling is estimated.
    random_state : int, SeedSequence, Generator, RandomState or None, default=None
        Seed of the model and of the samples that are drawn without a seed of their own.

    Attributes
    ----------
    graph_ : networkx.DiGraph
        The true graph on feature names and the target's name; distractors are not in it.
    adjacency_ : ndarray of int64, shape (n_features + 1, n_features + 1)
        The same graph in column order, row -> column, target last; distractors have empty rows and columns.
    feature_names_ : list of str
        Column names: ``x0``, ``x1``, ..., or the names of your graph.
    target_name_ : str
        ``y``, or the name in your graph.
    roles_ : FeatureRoles
        What each feature is to the target.
    n_features_ : int
        Number of columns.

    Raises
    ------
    ParameterError, ParameterTypeError
        If a parameter has an impossible value or type.
    GraphError
        If adjacency is not a directed acyclic graph, or no graph satisfies the minima.

    References
    ----------
    Reisach, Seiler and Weichwald (2021), arXiv:2102.13647; Reisach et al. (2023), arXiv:2303.18211.

    Examples
    --------
    >>> from flatcausal.datasets import SyntheticDAGDataset
    >>> ds = SyntheticDAGDataset(n_nodes=20, n_distractors=10, random_state=0)
    >>> X, y = ds.sample(2000, return_X_y=True)
    >>> X.shape, ds.n_features_
    ((2000, 29), 29)
    >>> int(ds.roles_.mask("distractors").sum())
    10
    """

    def __init__(
        self,
        n_nodes: int = 20,
        n_distractors: int = 10,
        *,
        expected_degree: float = 3.0,
        graph: str = "er",
        adjacency: nx.DiGraph | ArrayLike | None = None,
        mechanisms: tuple[str, ...] = ("linear", "mlp"),
        noise: str = "normal",
        r2_range: tuple[float, float] = (0.3, 0.9),
        target: str | int = "auto",
        min_parents: int = 1,
        min_children: int = 1,
        min_spouses: int = 0,
        distractors: str = "shadow",
        shuffle_columns: bool = True,
        n_calibration: int = 20_000,
        random_state: RandomState = None,
    ) -> None:
        law = check_parameters(
            n_nodes=n_nodes,
            n_distractors=n_distractors,
            expected_degree=expected_degree,
            graph=graph,
            adjacency=adjacency,
            mechanisms=mechanisms,
            noise=noise,
            r2_range=r2_range,
            target=target,
            min_parents=min_parents,
            min_children=min_children,
            min_spouses=min_spouses,
            distractors=distractors,
            n_calibration=n_calibration,
        )
        if not isinstance(shuffle_columns, (bool, np.bool_)):
            raise ParameterTypeError(f"shuffle_columns must be True or False, got {shuffle_columns!r}.")
        root = seed_sequence(random_state)
        self._assemble(law.draw(root), root, shuffle=bool(shuffle_columns))

    @classmethod
    def preset(cls, name: str, *, random_state: RandomState = None, **overrides: int) -> Self:
        """Build a data set by name.

        ``"dlcausal"`` replicates a published generator, faults included: only roots are random, the
        0/1 target is a deterministic sink, and distractors have other marginals than nodes. No effect of the
        target exists that a model could mistake for a cause, so it cannot show why accuracy and
        causes part ways. ``"dlcausal-fixed"`` keeps the sizes and mends this: noise on every node, random
        weights, a target with a parent, a child and a spouse, shadow distractors.

        Parameters
        ----------
        name : {"dlcausal", "dlcausal-fixed"}
            Which one.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed, as for the class.
        **overrides : int
            ``n_nodes`` (default 60) and ``n_distractors`` (default 40). Published: (6, 4), (60, 40)
            and (600, 400).

        Returns
        -------
        SyntheticDAGDataset
            The data set.

        Raises
        ------
        ParameterError
            If the name or a parameter is unknown.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset.preset("dlcausal", n_nodes=6, n_distractors=4, random_state=0)
        >>> ds.n_features_, sorted(set(ds.sample(50).y.tolist()))
        (9, [0.0, 1.0])
        """
        preset, sizes = check_preset(name, overrides)
        if preset == "dlcausal-fixed":
            return cls(**sizes, **FIXED, random_state=random_state)
        root = seed_sequence(random_state)
        dataset = cls.__new__(cls)
        dataset._assemble(draw_published(**sizes, root=root), root, shuffle=True)
        return dataset

    def _assemble(self, blueprint: Blueprint, root: np.random.SeedSequence, *, shuffle: bool) -> None:
        """Lay the columns out, name them, and read the roles off the graph."""
        self._blueprint, self._root = blueprint, root
        self._n_samples_drawn = self._n_environments_drawn = 0
        rng = np.random.default_rng(child(root, COLUMNS)) if shuffle else None
        self._columns = Columns.of(blueprint, rng)
        self.feature_names_ = list(self._columns.feature_names)
        self.n_features_ = len(self.feature_names_)
        self.target_name_ = self._columns.target_name
        self.graph_ = self._columns.graph(blueprint)
        self.adjacency_ = self._columns.adjacency(self.graph_)
        self.roles_ = FeatureRoles.from_graph(self.graph_, self.target_name_, self.feature_names_)

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
        nodes = np.empty((n, self._blueprint.model.n_nodes))
        distractors = np.empty((n, len(self._blueprint.distractors)))
        intervene = block_intervention(on_nodes, env, node_of)
        fill_blocks(nodes, distractors, self._blueprint, intervene, sequence)
        X = self._columns.place(nodes[:, self._blueprint.features], distractors)
        for name in held.keys() - node_of.keys():
            X[:, self.feature_names_.index(name)] = held[name]
        return X, nodes[:, self._blueprint.target].copy()

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

    def scorers(self) -> dict[str, str | CausalScorer]:
        """Scorers for a multi-metric search: ``"r2"`` and oracle scores against three truths.

        Returns
        -------
        dict
            ``"r2"`` and ``{metric}_{truth}`` for ``ap_lift``, ``auroc``, ``causal_mass`` and
            ``parents``, ``ancestors``, ``markov_blanket``. The latter need the true graph: pass
            ``refit="r2"``.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> list(SyntheticDAGDataset(n_nodes=5, random_state=0).scorers())[:3]
        ['r2', 'ap_lift_parents', 'auroc_parents']
        """
        oracle = {
            f"{metric}_{truth}": CausalScorer(self.roles_, metric, truth)
            for truth in TRUTHS
            for metric in _SCORER_METRICS
        }
        return {"r2": "r2", **oracle}

    def report(self, estimator: Any) -> dict[str, float]:
        """Score the importances of a fitted estimator against the three truths.

        Parameters
        ----------
        estimator : estimator or array-like of float, shape (n_features,)
            A fitted estimator or pipeline with ``causal_importances_`` or ``feature_importances_``, aligned
            by name if it was fitted on names; or importances in column order.

        Returns
        -------
        dict of str to float
            See :func:`flatcausal.metrics.causal_recovery_report`.

        Raises
        ------
        FeatureAlignmentError
            If the features differ.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, random_state=0)
        >>> ds.report(ds.roles_.mask("parents"))["ap_lift_parents"]
        1.0
        """
        if hasattr(estimator, "fit"):
            importances = aligned_importances(estimator, self.feature_names_)
        else:
            importances = estimator
        return causal_recovery_report(importances, self.roles_)

    def __repr__(self) -> str:
        return (
            f"<SyntheticDAGDataset: {len(self.graph_)} nodes, {self.graph_.number_of_edges()} edges, "
            f"{len(self._blueprint.distractors)} distractors, target {self.target_name_!r}>"
        )


def _as_frame(X: Array, y: Array, names: list[str], target: str) -> tuple[pd.DataFrame, pd.Series]:
    import pandas as pd  # pandas takes a while to load, and arrays do not need it

    return pd.DataFrame(X, columns=pd.Index(names)), pd.Series(y, name=target)
