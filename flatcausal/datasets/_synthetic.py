"""SyntheticDAGDataset: one frozen causal model to sample, intervene on and score against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._validation import check_boolean, check_choice, check_integer
from flatcausal.datasets._bayes import BayesScore
from flatcausal.datasets._blueprint import COLUMNS, Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._document import Documented
from flatcausal.datasets._gaussian_bn import read_gaussian_bn
from flatcausal.datasets._parameters import check_parameters
from flatcausal.datasets._presets import FIXED, check_preset
from flatcausal.datasets._published import draw_published
from flatcausal.datasets._roles import FeatureRoles
from flatcausal.datasets._sampling import Sampling
from flatcausal.datasets._truth import Truth


class SyntheticDAGDataset(Documented, Sampling, Truth, BayesScore):
    r"""A random structural causal model with a target, its true graph, and distractor columns.

    Everything is drawn at construction and then frozen: samples, interventions and environments
    come from one model. Each node is scaled to variance 1, of which its parents explain a share
    :math:`\rho_j`, drawn uniformly from ``r2_range``, whatever its depth:

    .. math::

        x_j = \sqrt{\rho_j}\, \frac{f_j(x_{pa(j)}) - E f_j}{\operatorname{sd} f_j} + \sqrt{1 - \rho_j}\, u_j

    so that variances do not betray the causal order (Reisach et al. 2021). R² does not rise along it as in
    raw models (Reisach et al. 2023), but falls: :meth:`sortability` tells how far. Every node has noise
    :math:`u_j` of its own. ``noise_mode`` changes how it enters, ``standardize`` how a node is scaled.

    Parameters
    ----------
    n_nodes : int, default=20
        Nodes of the graph, the target included. The graph decides where ``adjacency`` is given.
    n_distractors : int, default=10
        Columns that are independent of everything; there are n_nodes - 1 + n_distractors features.
    expected_degree : float, default=3.0
        Expected number of edges at a node, incoming and outgoing. Every law of ``graph`` meets it exactly,
        but for the graphs that the three minima below rule out.
    graph : {"er", "scale_free_in", "scale_free_out", "small_world", "layered", "bipartite"}, default="er"
        Law of the graph. All are drawn along an order of the nodes, so that no cycle can arise. Erdős–Rényi;
        preferential attachment whose hubs have many parents (``_in``) or many children (``_out``); a ring
        lattice with a tenth of its edges rewired, along a random order; about sqrt(n_nodes) equal layers
        with edges from any layer to any later one; two layers. A node of a bipartite graph has
        parents or children, never both: pass ``min_children=0`` or ``min_parents=0``.
    adjacency : networkx.DiGraph, array-like of shape (n_nodes, n_nodes) or list of pairs of str, default=None
        Your own graph, row -> column, or cause and effect; any non-zero entry is an edge, and mechanisms
        are drawn. Names of nodes become the feature names.
    mechanisms : sequence of str, default=("linear", "mlp")
        Families that each node's function is drawn from: ``"linear"``; ``"mlp"``, one hidden layer;
        ``"rff"``, a smooth draw from a Gaussian process; ``"polynomial"``, cubic and bounded; ``"tree"``,
        piecewise constant; ``"mixture"``, a sum of functions of one parent each, of any family so far;
        ``"post_nonlinear"``, a tanh, asinh or cube root of such a function plus noise. A draw is repeated
        until each parent moves at least 2 % of the variance that parents explain (a tenth of an equal share
        where there are very many parents); not on the raw scale of ``standardize=None`` and ``"posthoc"``.
    noise : {"normal", "laplace", "uniform", "t", "gumbel", "mixture"}, default="normal"
        Law of the noise u, always with mean 0 and variance 1; t has 5 degrees of freedom, the
        mixture two normals around ±0.9.
    noise_mode : {"additive", "multiplicative", "heteroscedastic", "functional"}, default="additive"
        What the noise does: f + u; f (1 + u); f + h u with a random h > 0 of the parents; f(parents, u), a
        function that mixes both. Signal and noise are weighted so that parents explain the share
        :math:`\rho_j = \operatorname{Var}(E[x_j | x_{pa(j)}])` in each.
    r2_range : tuple of (float, float), default=(0.3, 0.9)
        Range of the share of variance that parents explain, within (0, 1); for ``standardize="r2"``.
    standardize : {"r2", "internal", "uumc", "posthoc", None}, default="r2"
        ``"r2"``: variance 1 and the share above. ``"internal"``: f plus noise of variance 1, standardised
        before a node's children see it (iSCM, Ormaniec et al. 2025), by a mean and sd frozen at construction.
        ``"uumc"``: linear functions drawn uniformly with unit variances (Herman et al. 2025), exactly,
        without calibration. None: the raw model, f plus noise of variance 1. ``"posthoc"``: the same,
        standardised only when shown. In the last two, variances or R² betray the causal order; see
        :meth:`sortability`.
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
    n_calibration : int, default=None
        Rows from which means and sds are estimated, once, at construction. A node's sd is then off by about
        1 / sqrt(2 n_calibration). None: 20000 rows (0.5 %) up to 200 nodes, then 4000000 / n_nodes, at least
        5000 (1 %).
    n_hidden : int, default=0
        Hidden confounders to add to the graph: each causes two nodes, no two the same, and is never shown.
        The first has the target among its children. The three minima above count nothing hidden.
    categorical_fraction : float, default=0.0
        Share of the graph's features that are categories, in [0, 1]; at least one if it is not 0. Frozen
        thresholds cut such a node's latent value, of which ``r2_range`` then speaks, into categories of
        random shares, none below half of an equal share. Its children see the category and nothing else: in
        the equations a category counts as the mean latent value in it, brought back to the mean and variance
        of the latent value.
    categorical_types : sequence of {"binary", "ordinal", "nominal"}, default=all three
        Types to draw from; the last two have 3 to 6 categories, fewer where the latent value itself is
        discrete. Columns show codes 0, 1, ..., which a nominal column has in random order.
    task : {"regression", "classification"}, default="regression"
        For classification the target is 1 where its latent value exceeds a frozen threshold, else 0: probit
        for normal noise. Its children see the class and nothing else.
    prevalence : float, default=0.5
        Share of ones, in (0, 1), up to the error of calibration; for classification.
    label_noise : float, default=0.0
        Probability with which the target is turned around, whatever its causes say; less than prevalence and
        1 - prevalence. It is part of the target's equation, so that its children see the label as shown.
    random_state : int, SeedSequence, Generator, RandomState or None, default=None
        Seed of the model and of the samples that are drawn without a seed of their own.

    Attributes
    ----------
    graph_ : networkx.DiGraph
        The true graph on feature names and the target's name; distractors are not in it. Hidden nodes are,
        with the node attribute ``hidden=True``.
    adjacency_ : ndarray of int64, shape (n_features + 1, n_features + 1)
        The same graph in column order, row -> column, target last; distractors have empty rows and columns.
        Hidden nodes are left out, which leaves the directed part of the latent projection.
    feature_names_ : list of str
        Column names: ``x0``, ``x1``, ..., or the names of your graph.
    target_name_ : str
        ``y``, or the name in your graph.
    roles_ : FeatureRoles
        What each feature is to the target.
    n_features_ : int
        Number of columns.
    hidden_names_ : list of str
        Names of the hidden nodes in ``graph_``: ``h0``, ``h1``, ...
    categorical_features_ : ndarray of bool, shape (n_features,)
        Which columns are categories, shadows of categories included; an estimator's ``categorical_features``.
    task_ : str
        ``"regression"`` or ``"classification"``.

    Raises
    ------
    ParameterError, ParameterTypeError
        If a parameter has an impossible value or type.
    GraphError
        If adjacency is not a directed acyclic graph, or no graph satisfies the minima.

    References
    ----------
    Reisach, Seiler and Weichwald (2021), arXiv:2102.13647; Reisach et al. (2023), arXiv:2303.18211;
    Ormaniec et al. (2025), arXiv:2406.11601; Herman et al. (2025), arXiv:2503.17037.

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
        adjacency: nx.DiGraph | ArrayLike | Sequence[tuple[str, str]] | None = None,
        mechanisms: str | Sequence[str] = ("linear", "mlp"),
        noise: str = "normal",
        noise_mode: str = "additive",
        r2_range: tuple[float, float] = (0.3, 0.9),
        standardize: str | None = "r2",
        target: str | int = "auto",
        min_parents: int = 1,
        min_children: int = 1,
        min_spouses: int = 0,
        distractors: str = "shadow",
        shuffle_columns: bool = True,
        n_calibration: int | None = None,
        n_hidden: int = 0,
        categorical_fraction: float = 0.0,
        categorical_types: str | Sequence[str] = ("binary", "ordinal", "nominal"),
        task: str = "regression",
        prevalence: float = 0.5,
        label_noise: float = 0.0,
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
            noise_mode=noise_mode,
            r2_range=r2_range,
            standardize=standardize,
            target=target,
            min_parents=min_parents,
            min_children=min_children,
            min_spouses=min_spouses,
            distractors=distractors,
            n_calibration=n_calibration,
            n_hidden=n_hidden,
            categorical_fraction=categorical_fraction,
            categorical_types=categorical_types,
            task=task,
            prevalence=prevalence,
            label_noise=label_noise,
        )
        shuffle = check_boolean("shuffle_columns", shuffle_columns)
        root = seed_sequence(random_state)
        self._assemble(law.draw(root), root, shuffle=shuffle)

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

    @classmethod
    def from_gaussian_bn(
        cls,
        path: str | Path,
        target: str,
        *,
        n_distractors: int = 10,
        distractors: str = "shadow",
        shuffle_columns: bool = True,
        random_state: RandomState = None,
    ) -> Self:
        r"""Read a linear Gaussian Bayesian network, such as one fitted to real data.

        Nodes are :math:`x_j = b_j + \sum_i w_{ij} x_i + \sqrt{v_j}\, u_j` with the numbers of the file and
        normal u, on the file's own scale: nothing is standardised, so that variances may betray the causal
        order; see :meth:`sortability`.

        Parameters
        ----------
        path : str or path
            A JSON file in the form in which pgmpy ships its networks: ``{"nodes": [name, ...], "arcs":
            [[from, to], ...], "cpds": {name: {"parents": [parent, ...], "coefficients": {"(Intercept)": [b],
            parent: [w], ...}, "variance": [v]}}}``.
        target : str
            The node to predict.
        n_distractors : int, default=10
            Columns to add that are independent of everything.
        distractors : {"shadow", "published"}, default="shadow"
            Which ones, as for the class.
        shuffle_columns : bool, default=True
            Shuffle the columns.
        random_state : int, SeedSequence, Generator, RandomState or None, default=None
            Seed of the order of columns, the distractors and the samples.

        Returns
        -------
        SyntheticDAGDataset
            With the names of the file.

        Raises
        ------
        OSError
            If the file cannot be read.
        DataError
            If it is no such network, a number is not finite or a variance not above 0.
        GraphError
            If the network has a cycle, or coefficients, arcs and nodes do not agree.
        ParameterError
            If the target is no node, or another parameter is impossible.

        Examples
        --------
        >>> import json, pathlib, tempfile
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> network = {
        ...     "nodes": ["dose", "response"],
        ...     "arcs": [["dose", "response"]],
        ...     "cpds": {
        ...         "dose": {"parents": [], "coefficients": {"(Intercept)": [2.0]}, "variance": [1.0]},
        ...         "response": {
        ...             "parents": ["dose"],
        ...             "coefficients": {"(Intercept)": [1.0], "dose": [0.5]},
        ...             "variance": [0.25],
        ...         },
        ...     },
        ... }
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "network.json")
        ...     _ = path.write_text(json.dumps(network))
        ...     ds = SyntheticDAGDataset.from_gaussian_bn(path, "response", n_distractors=0, random_state=0)
        >>> ds.feature_names_, float(ds.effects("total", scale="raw")[0])
        (['dose'], 0.5)
        """
        n_distractors = check_integer("n_distractors", n_distractors, low=0)
        check_choice("distractors", distractors, ["shadow", "published"])
        shuffle = check_boolean("shuffle_columns", shuffle_columns)
        root = seed_sequence(random_state)
        dataset = cls.__new__(cls)
        blueprint = read_gaussian_bn(path, target, distractors, n_distractors, root)
        dataset._assemble(blueprint, root, shuffle=shuffle)
        return dataset

    def _assemble(self, blueprint: Blueprint, root: np.random.SeedSequence, *, shuffle: bool) -> None:
        """Place and name the columns of a model that was just drawn."""
        rng = np.random.default_rng(child(root, COLUMNS)) if shuffle else None
        self._lay_out(blueprint, Columns.of(blueprint, rng), root)

    def _lay_out(self, blueprint: Blueprint, columns: Columns, root: np.random.SeedSequence) -> None:
        """Set everything that can be seen, from what is frozen."""
        self._blueprint, self._columns, self._root = blueprint, columns, root
        self._n_samples_drawn = self._n_environments_drawn = 0
        self.feature_names_ = list(self._columns.feature_names)
        self.n_features_ = len(self.feature_names_)
        self.target_name_ = self._columns.target_name
        self.graph_ = self._columns.graph(blueprint)
        self.adjacency_ = self._columns.adjacency(self.graph_)
        self.hidden_names_ = [name for name, hidden in self.graph_.nodes(data="hidden") if hidden]
        self.roles_ = FeatureRoles.from_graph(
            self.graph_, self.target_name_, self.feature_names_, hidden=self.hidden_names_
        )
        self.categorical_features_ = np.array(
            [name in self._columns.categories for name in self.feature_names_], dtype=bool
        )
        self.task_ = blueprint.task

    def __repr__(self) -> str:
        hidden = f" ({len(self.hidden_names_)} hidden)" if self.hidden_names_ else ""
        return (
            f"<SyntheticDAGDataset: {len(self.graph_)} nodes{hidden}, {self.graph_.number_of_edges()} edges, "
            f"{len(self._blueprint.distractors)} distractors, target {self.target_name_!r}>"
        )
