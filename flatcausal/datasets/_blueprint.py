"""Everything that is drawn before the first row: model, target, distractors, names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatcausal._random import child
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.datasets._distractors import Distractors, draw_distractors
from flatcausal.datasets._draw import NOISE_MODES, STANDARDIZATIONS, ModelLaw, draw_model
from flatcausal.datasets._graph_laws import GRAPHS
from flatcausal.datasets._graphs import TargetRule, draw_graph
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._noise import NOISE
from flatcausal.datasets._scm import StructuralModel
from flatcausal.datasets._user_graphs import choose_target, ordered_graph
from flatcausal.exceptions import ParameterError, ParameterTypeError

# Named child streams of a dataset's random_state: what one draws does not move another.
GRAPH, MODEL, DISTRACTORS, COLUMNS, SAMPLES, ENVIRONMENTS, SORTABILITY = range(7)


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A frozen model with its target and distractors; ``names`` are the user's, if any."""

    model: StructuralModel
    target: int
    distractors: Distractors
    names: tuple[str, ...] | None = None

    @property
    def features(self) -> np.ndarray:
        """The nodes that are shown, in causal order."""
        return np.delete(np.arange(self.model.n_nodes), self.target)


@dataclass(frozen=True)
class BlueprintLaw:
    """Checked parameters from which a blueprint is drawn."""

    n_nodes: int
    n_distractors: int
    expected_degree: float
    graph: str
    adjacency: Any
    model: ModelLaw
    target: Any
    rule: TargetRule
    distractors: str

    def draw(self, root: np.random.SeedSequence) -> Blueprint:
        """Draw graph, target, mechanisms and distractors, each from its own stream."""
        rng = np.random.default_rng(child(root, GRAPH))
        names = None
        if self.adjacency is None:
            adjacency, target = draw_graph(self.graph, self.n_nodes, self.expected_degree, self.rule, rng)
        else:
            adjacency, labels, named = ordered_graph(self.adjacency)
            target = choose_target(self.target, adjacency, labels, self.rule, rng)
            names = tuple(labels) if named else None
        model = draw_model(adjacency, self.model, child(root, MODEL))
        nodes = np.delete(np.arange(len(adjacency)), target)
        stream = np.random.default_rng(child(root, DISTRACTORS))
        return Blueprint(
            model, target, draw_distractors(self.distractors, self.n_distractors, nodes, stream), names
        )


def check_parameters(
    *,
    n_nodes: object,
    n_distractors: object,
    expected_degree: object,
    graph: object,
    adjacency: object,
    mechanisms: object,
    noise: object,
    noise_mode: object,
    r2_range: object,
    standardize: object,
    target: object,
    min_parents: object,
    min_children: object,
    min_spouses: object,
    distractors: object,
    n_calibration: object,
) -> BlueprintLaw:
    """Judge every parameter of a dataset; nothing is drawn before all are sound."""
    law = check_choice("graph", graph, GRAPHS)
    size = check_integer("n_nodes", n_nodes, low=2)
    rule = TargetRule(
        check_integer("min_parents", min_parents, low=0),
        check_integer("min_children", min_children, low=0),
        check_integer("min_spouses", min_spouses, low=0),
    )
    degree = 0.0
    if adjacency is None:
        degree = _check_degree(expected_degree, law, size)
        _check_drawn_target(target, law, rule)
    return BlueprintLaw(
        n_nodes=size,
        n_distractors=check_integer("n_distractors", n_distractors, low=0),
        expected_degree=degree,
        graph=law,
        adjacency=adjacency,
        model=_check_model(mechanisms, noise, noise_mode, r2_range, standardize, n_calibration),
        target=target,
        rule=rule,
        distractors=check_choice("distractors", distractors, ["shadow", "published"]),
    )


def _check_degree(expected_degree: object, graph: str, n_nodes: int) -> float:
    degree = check_real("expected_degree", expected_degree, low=0.0, open_low=True)
    highest = GRAPHS[graph].max_degree(n_nodes)
    if degree > highest:
        bound = "n_nodes - 1" if highest == n_nodes - 1 else f"what graph={graph!r} allows"
        raise ParameterError(
            f"expected_degree must be at most {bound} = {highest:g}, got {degree:g}; "
            "lower it or draw more nodes."
        )
    return degree


def _check_drawn_target(target: object, graph: str, rule: TargetRule) -> None:
    if not isinstance(target, str) or target != "auto":
        raise ParameterError(
            f"target must be 'auto' for a random graph, got {target!r}; pass adjacency to name it."
        )
    if graph == "bipartite" and rule.min_parents and (rule.min_children or rule.min_spouses):
        raise ParameterError(
            f"no node of a bipartite graph has parents and children, but {rule} ask for both; "
            "pass min_parents=0, or min_children=0 and min_spouses=0."
        )


def _check_model(
    mechanisms: object,
    noise: object,
    noise_mode: object,
    r2_range: object,
    standardize: object,
    n_calibration: object,
) -> ModelLaw:
    if standardize is not None and (not isinstance(standardize, str) or standardize not in STANDARDIZATIONS):
        raise ParameterError(
            f"standardize must be one of {', '.join(map(repr, STANDARDIZATIONS))}, None, got {standardize!r}."
        )
    law = ModelLaw(
        mechanisms=_check_mechanisms(mechanisms),
        noise=check_choice("noise", noise, NOISE),
        noise_mode=check_choice("noise_mode", noise_mode, NOISE_MODES),
        standardize=standardize,
        r2_range=_check_r2_range(r2_range),
        n_calibration=None
        if n_calibration is None
        else check_integer("n_calibration", n_calibration, low=1000),
    )
    if standardize == "uumc" and (set(law.mechanisms) != {"linear"} or law.noise_mode != "additive"):
        raise ParameterError(
            "standardize='uumc' is for linear mechanisms with additive noise, got "
            f"mechanisms={law.mechanisms!r} and noise_mode={law.noise_mode!r}; "
            "pass mechanisms='linear', or standardize='r2'."
        )
    return law


def _check_mechanisms(mechanisms: object) -> tuple[str, ...]:
    if isinstance(mechanisms, str):
        mechanisms = (mechanisms,)
    if not isinstance(mechanisms, Iterable):
        raise ParameterTypeError(f"mechanisms must be a sequence of names, got {mechanisms!r}.")
    chosen = tuple(check_choice("mechanisms", mechanism, MECHANISMS) for mechanism in mechanisms)
    if not chosen:
        raise ParameterError(
            f"mechanisms must hold at least one of {', '.join(map(repr, MECHANISMS))}, got none."
        )
    return chosen


def _check_r2_range(r2_range: object) -> tuple[float, float]:
    if not isinstance(r2_range, (tuple, list)) or len(r2_range) != 2:
        raise ParameterTypeError(f"r2_range must be a pair (low, high), got {r2_range!r}.")
    low, high = (
        check_real("r2_range", end, low=0.0, high=1.0, open_low=True, open_high=True) for end in r2_range
    )
    if low > high:
        raise ParameterError(f"r2_range must rise from low to high, got {r2_range!r}.")
    return low, high
