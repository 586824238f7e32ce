"""The generator of a published study of optimizers and causes, as a seeded and frozen model.

Replicates ``DataGenerator`` of github.com/marcoBmota8/DLCausalOptimization, second data set ("V2"),
with these deviations: one seed; functions drawn once, so that further samples and interventions come
from the same model; the target is not listed among the irrelevant features; neutral column names; the
adjacency in column order; a target with a single ancestor does not crash the growth of branches.

What it cannot show, and why. Only roots are random: every other node, the target included, is a
deterministic function of them. The target is a sink, without children or spouses: a model has no effect
of the target to mistake for a cause, and nearly all ancestors are parents. Parents enter with equal weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from flatcausal._random import child
from flatcausal.datasets._assignments import LocationScale
from flatcausal.datasets._blueprint import DISTRACTORS, GRAPH, MODEL, Blueprint
from flatcausal.datasets._distractors import Published
from flatcausal.datasets._graph_laws import Adjacency
from flatcausal.datasets._mechanisms import Mechanism
from flatcausal.datasets._scm import StructuralModel
from flatcausal.exceptions import GraphError

Array = NDArray[np.float64]

MIN_NODES = 4

_N_ROOTS = 2
_ROOT_NOISE = math.sqrt(1.0 + 0.005**2)
_BALANCE = (0.2, 0.7)
_BALANCE_ROWS = 20_000
_MAX_DRAWS = 1000
_WIDTH = 10


def draw_published(n_nodes: int, n_distractors: int, root: np.random.SeedSequence) -> Blueprint:
    """Draw the published graph, functions and distractors."""
    adjacency, target = _draw_ordered_graph(n_nodes, np.random.default_rng(child(root, GRAPH)))
    model = _draw_model(adjacency, target, np.random.default_rng(child(root, MODEL)))
    distractors = Published.of(n_distractors, np.random.default_rng(child(root, DISTRACTORS)))
    return Blueprint(model, target, distractors)


# ---- the graph


def _draw_ordered_graph(n_nodes: int, rng: np.random.Generator) -> tuple[Adjacency, int]:
    """Draw until the graph has no cycle, then renumber the nodes in a causal order."""
    for _ in range(_MAX_DRAWS):
        adjacency, sink = published_graph(n_nodes, rng)
        graph = nx.from_numpy_array(adjacency, create_using=nx.DiGraph)
        if nx.is_directed_acyclic_graph(graph):
            order = list(nx.topological_sort(graph))
            return adjacency[np.ix_(order, order)], order.index(sink)
    raise GraphError(f"none of {_MAX_DRAWS} published graphs with n_nodes={n_nodes} is free of cycles.")


def published_graph(n_nodes: int, rng: np.random.Generator) -> tuple[Adjacency, int]:
    """One draw of the published graph, which may hold a cycle, and its sink, the target."""
    adjacency = np.zeros((n_nodes, n_nodes), dtype=bool)
    nodes = np.arange(n_nodes)
    roots = rng.choice(n_nodes, _N_ROOTS, replace=False)
    others = np.setdiff1d(nodes, roots)
    for root in roots:
        adjacency[root, rng.choice(others, rng.integers(1, n_nodes // 2), replace=False)] = True
    for node in others:
        if not adjacency[:, node].any():
            # The published loop compares with the last root, where it means the node itself.
            adjacency[node, _some(nodes[nodes > roots[-1]], rng)] = True
    sink = int(rng.choice(nodes[~adjacency.any(axis=1)]))
    adjacency[adjacency.any(axis=1) & ~adjacency.any(axis=0), sink] = True
    _grow_branches(adjacency, sink, rng)
    return adjacency, sink


def _grow_branches(adjacency: Adjacency, sink: int, rng: np.random.Generator) -> None:
    """Give some of the sink's ancestors further children, which are no ancestors."""
    nodes = np.arange(len(adjacency))
    ancestors = _ancestors(adjacency, sink)
    outside = np.setdiff1d(nodes, [*ancestors, sink])
    for ancestor in rng.choice(ancestors, rng.integers(1, max(2, len(ancestors))), replace=False):
        adjacency[ancestor, _some(outside[outside > ancestor], rng)] = True


def _some(nodes: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Between one and all but one of the nodes; the only one, or none, where there are no more."""
    return nodes if len(nodes) < 2 else rng.choice(nodes, rng.integers(1, len(nodes)), replace=False)


def _ancestors(adjacency: Adjacency, node: int) -> list[int]:
    graph = nx.from_numpy_array(adjacency, create_using=nx.DiGraph)
    return sorted(nx.ancestors(graph, node))


# ---- the functions


@dataclass(frozen=True)
class Elementwise:
    """f(x) = sum_k g(x_k): all parents count alike."""

    name: str

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return _ELEMENTWISE[self.name](parents).sum(axis=0)


@dataclass(frozen=True, eq=False)
class UntrainedNet:
    """One hidden layer of 10 units with torch's initial weights, all U(±1 / sqrt(fan-in))."""

    activation: str
    hidden: Array
    bias: Array
    output: Array
    offset: float

    @classmethod
    def draw(cls, activation: str, n_parents: int, rng: np.random.Generator) -> UntrainedNet:
        """Draw the weights."""
        first, second = n_parents**-0.5, _WIDTH**-0.5
        return cls(
            activation,
            hidden=rng.uniform(-first, first, (_WIDTH, n_parents)),
            bias=rng.uniform(-first, first, (_WIDTH, 1)),
            output=rng.uniform(-second, second, _WIDTH),
            offset=float(rng.uniform(-second, second)),
        )

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return self.output @ _ELEMENTWISE[self.activation](self.hidden @ parents + self.bias) + self.offset


@dataclass(frozen=True, eq=False)
class Positive:
    """1 where another mechanism is positive, else 0: sigmoid(f) > 0.5, as published."""

    inner: Mechanism

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        return (self.inner(parents) > 0).astype(np.float64)


_ELEMENTWISE: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "cube": lambda x: x * x * x,
    "tanh": np.tanh,
}

FUNCTIONS = (*_ELEMENTWISE, "mlp_tanh", "mlp_leaky_relu")


def draw_function(n_parents: int, rng: np.random.Generator) -> Mechanism:
    """Draw one of the published functions."""
    name = str(rng.choice(FUNCTIONS))
    if name.startswith("mlp_"):
        return UntrainedNet.draw(name.removeprefix("mlp_"), n_parents, rng)
    return Elementwise(name)


def _draw_assignment(parents: NDArray[np.intp], rng: np.random.Generator) -> LocationScale:
    if not parents.size:
        return LocationScale((), None, noise_scale=_ROOT_NOISE)
    return LocationScale(tuple(map(int, parents)), draw_function(len(parents), rng), noise_scale=0.0)


def _draw_model(adjacency: Adjacency, target: int, rng: np.random.Generator) -> StructuralModel:
    """Draw all functions; those above the target anew until its classes are balanced.

    The published code redraws every function. Those that the target does not depend on do not
    bear on its balance, so keeping them leaves the law of the model unchanged.
    """
    parents = [np.flatnonzero(column) for column in adjacency.T]
    assignments = [_draw_assignment(nodes, rng) for nodes in parents]
    above = [*_ancestors(adjacency, target), target]
    for _ in range(_MAX_DRAWS):
        for node in above:
            assignments[node] = _draw_assignment(parents[node], rng)
        drawn = assignments[target].mechanism
        assert drawn is not None  # every root that has children points to the sink
        assignments[target] = LocationScale(
            tuple(map(int, parents[target])), Positive(drawn), noise_scale=0.0
        )
        if _BALANCE[0] <= _positive_share(assignments, above, rng) <= _BALANCE[1]:
            return StructuralModel(tuple(assignments), "normal")
    raise GraphError(
        f"none of {_MAX_DRAWS} draws of the functions gave the target a share of ones in {_BALANCE}; "
        "use another random_state."
    )


def _positive_share(assignments: list[LocationScale], above: list[int], rng: np.random.Generator) -> float:
    values = np.zeros((len(assignments), _BALANCE_ROWS))
    for node in above:
        assignment = assignments[node]
        noise = rng.standard_normal(_BALANCE_ROWS) if not assignment.parents else np.zeros(_BALANCE_ROWS)
        values[node] = assignment(values[list(assignment.parents)], noise)
    return float(values[above[-1]].mean())
