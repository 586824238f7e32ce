"""The border of a data set: every parameter is judged before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.datasets._blueprint_law import BlueprintLaw
from flatcausal.datasets._categories import CATEGORICAL_TYPES, CategoryLaw, LabelLaw
from flatcausal.datasets._draw import NOISE_MODES, STANDARDIZATIONS, ModelLaw
from flatcausal.datasets._graph_laws import GRAPHS
from flatcausal.datasets._graphs import TargetRule
from flatcausal.datasets._hidden import HiddenLaw
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._noise import NOISE
from flatcausal.datasets._user_graphs import ordered_graph
from flatcausal.exceptions import ParameterError, ParameterTypeError


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
    n_hidden: object,
    categorical_fraction: object,
    categorical_types: object,
    task: object,
    prevalence: object,
    label_noise: object,
) -> BlueprintLaw:
    """Judge every parameter of a dataset; nothing is drawn before all are sound."""
    law = check_choice("graph", graph, GRAPHS)
    size = check_integer("n_nodes", n_nodes, low=2)
    rule = TargetRule(
        check_integer("min_parents", min_parents, low=0),
        check_integer("min_children", min_children, low=0),
        check_integer("min_spouses", min_spouses, low=0),
    )
    hidden = HiddenLaw(check_integer("n_hidden", n_hidden, low=0))
    degree, given = 0.0, None
    if adjacency is None:
        degree = _check_degree(expected_degree, law, size)
        _check_drawn_target(target, law, rule)
        hidden.check(size)
    else:
        given = ordered_graph(adjacency)
        hidden.check(len(given[0]))
    model = _check_model(mechanisms, noise, noise_mode, r2_range, standardize, n_calibration)
    categories = _check_categories(categorical_fraction, categorical_types)
    label = _check_label(task, prevalence, label_noise)
    if standardize == "uumc" and (categories.fraction or label):
        asked = f"categorical_fraction={categories.fraction:g} and task={task!r}"
        raise ParameterError(
            f"standardize='uumc' is for linear models of numbers, got {asked}; pass standardize='r2'."
        )
    return BlueprintLaw(
        n_nodes=size,
        n_distractors=check_integer("n_distractors", n_distractors, low=0),
        expected_degree=degree,
        graph=law,
        adjacency=given,
        model=model,
        target=target,
        rule=rule,
        distractors=check_choice("distractors", distractors, ["shadow", "published"]),
        hidden=hidden,
        categories=categories,
        label=label,
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
        mechanisms=_check_names("mechanisms", mechanisms, MECHANISMS),
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


def _check_categories(fraction: object, types: object) -> CategoryLaw:
    return CategoryLaw(
        check_real("categorical_fraction", fraction, low=0.0, high=1.0),
        _check_names("categorical_types", types, CATEGORICAL_TYPES),
    )


def _check_label(task: object, prevalence: object, label_noise: object) -> LabelLaw | None:
    task = check_choice("task", task, ["regression", "classification"])
    share = check_real("prevalence", prevalence, low=0.0, high=1.0, open_low=True, open_high=True)
    flipped = check_real("label_noise", label_noise, low=0.0, high=0.5, open_high=True)
    if task == "regression":
        for name, value, default in (("prevalence", share, 0.5), ("label_noise", flipped, 0.0)):
            if value != default:
                raise ParameterError(f"{name} is for task='classification', got {value:g}; leave it out.")
        return None
    if flipped >= min(share, 1.0 - share):
        raise ParameterError(
            f"label_noise must be less than prevalence and 1 - prevalence, got {flipped:g} with "
            f"prevalence={share:g}: noise alone would give more of the rarer class."
        )
    return LabelLaw(share, flipped)


def _check_names(argument: str, names: object, known: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Iterable):
        raise ParameterTypeError(f"{argument} must be a sequence of names, got {names!r}.")
    chosen = tuple(check_choice(argument, name, known) for name in names)
    if not chosen:
        raise ParameterError(f"{argument} must hold at least one of {', '.join(map(repr, known))}, got none.")
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
