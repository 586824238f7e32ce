"""Function twins of SyntheticDAGDataset, in the style of scikit-learn's ``make_*``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from flatcausal._random import RandomState
from flatcausal._validation import check_boolean, check_integer
from flatcausal.datasets._synthetic import SyntheticDAGDataset
from flatcausal.exceptions import ParameterError

if TYPE_CHECKING:
    import pandas as pd

_DESCR = """\
{n} rows of {p} features and the {kind} {target!r}, drawn from a random structural causal model.

Its graph has {nodes} nodes and {edges} edges; {distractors} features are no node of it. feature_info tells
what each feature is to the target. The model is in dataset: sample it again, intervene on it, or score
against it.
"""


def make_dag_regression(
    n_samples: int = 1000,
    n_nodes: int = 20,
    n_distractors: int = 10,
    *,
    return_X_y: bool = False,
    as_frame: bool = False,
    random_state: RandomState = None,
    **parameters: Any,
) -> Any:
    """Draw a regression problem whose causal graph is known.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows, at least 1.
    n_nodes : int, default=20
        Nodes of the graph, the target included.
    n_distractors : int, default=10
        Features that are independent of everything.
    return_X_y : bool, default=False
        Return the tuple ``(data, target)`` alone.
    as_frame : bool, default=False
        Return pandas objects with names, categorical features as categoricals.
    random_state : int, SeedSequence, Generator, RandomState or None, default=None
        Seed of the model and its rows.
    **parameters
        Further parameters of :class:`SyntheticDAGDataset`.

    Returns
    -------
    sklearn.utils.Bunch or tuple
        ``data`` of shape (n_samples, n_features), ``target`` of shape (n_samples,), ``feature_names``,
        ``frame`` (both in one, with as_frame), ``DESCR``, ``dataset``, the :class:`SyntheticDAGDataset`, and
        ``feature_info``, a DataFrame with a row for each feature: its ``role``; whether it is a ``parent``,
        ``ancestor`` or in the ``markov_blanket``; its ``type`` ("numeric", "binary", "ordinal" or "nominal")
        and ``n_categories``, 0 if numeric.

    Raises
    ------
    ParameterError, ParameterTypeError
        If a parameter is unknown or has an impossible value or type.
    GraphError
        As for :class:`SyntheticDAGDataset`.

    Examples
    --------
    >>> from flatcausal.datasets import make_dag_regression
    >>> problem = make_dag_regression(200, n_nodes=6, n_distractors=2, random_state=0)
    >>> problem.data.shape
    (200, 7)
    >>> int((problem.feature_info["role"] == "distractor").sum())
    2
    >>> X, y = make_dag_regression(200, n_nodes=6, return_X_y=True, random_state=0)
    """
    sizes = {"n_nodes": n_nodes, "n_distractors": n_distractors}
    return _make("regression", n_samples, return_X_y, as_frame, random_state, {**parameters, **sizes})


def make_dag_classification(
    n_samples: int = 1000,
    n_nodes: int = 20,
    n_distractors: int = 10,
    *,
    prevalence: float = 0.5,
    label_noise: float = 0.0,
    return_X_y: bool = False,
    as_frame: bool = False,
    random_state: RandomState = None,
    **parameters: Any,
) -> Any:
    """Draw a classification problem with two classes whose causal graph is known.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows, at least 1.
    n_nodes : int, default=20
        Nodes of the graph, the target included.
    n_distractors : int, default=10
        Features that are independent of everything.
    prevalence : float, default=0.5
        Share of ones, in (0, 1).
    label_noise : float, default=0.0
        Probability with which the class is turned around.
    return_X_y : bool, default=False
        Return the tuple ``(data, target)`` alone.
    as_frame : bool, default=False
        Return pandas objects with names, categorical features as categoricals.
    random_state : int, SeedSequence, Generator, RandomState or None, default=None
        Seed of the model and its rows.
    **parameters
        Further parameters of :class:`SyntheticDAGDataset`.

    Returns
    -------
    sklearn.utils.Bunch or tuple
        As for :func:`make_dag_regression`, with a target of 0 and 1.

    Raises
    ------
    ParameterError, ParameterTypeError
        If a parameter is unknown or has an impossible value or type.
    GraphError
        As for :class:`SyntheticDAGDataset`.

    Examples
    --------
    >>> from flatcausal.datasets import make_dag_classification
    >>> problem = make_dag_classification(500, prevalence=0.3, random_state=0)
    >>> sorted(set(problem.target.tolist()))
    [0, 1]
    >>> problem.dataset.bayes_score("accuracy") > 0.7
    True
    """
    sizes = {"n_nodes": n_nodes, "n_distractors": n_distractors}
    label = {"prevalence": prevalence, "label_noise": label_noise}
    return _make(
        "classification", n_samples, return_X_y, as_frame, random_state, {**parameters, **sizes, **label}
    )


def _make(
    task: str,
    n_samples: object,
    return_X_y: object,
    as_frame: object,
    random_state: RandomState,
    parameters: dict[str, Any],
) -> Any:
    n = check_integer("n_samples", n_samples, low=1)
    alone, framed = check_boolean("return_X_y", return_X_y), check_boolean("as_frame", as_frame)
    _check_known(parameters, task)
    dataset = SyntheticDAGDataset(task=task, random_state=random_state, **parameters)
    data, target = dataset.sample(n, return_X_y=True, as_frame=framed)
    if alone:
        return data, target
    from sklearn.utils import Bunch  # takes a while to load, and arrays alone do not need it

    return Bunch(
        data=data,
        target=target,
        feature_names=list(dataset.feature_names_),
        feature_info=_feature_info(dataset),
        frame=data.assign(**{dataset.target_name_: target}) if framed else None,
        dataset=dataset,
        DESCR=_describe(dataset, n),
    )


def _check_known(parameters: dict[str, Any], task: str) -> None:
    known = set(inspect.signature(SyntheticDAGDataset).parameters)
    for name in parameters:
        if name == "task":
            raise ParameterError(
                f"task is {task!r} here, got {parameters[name]!r}; call make_dag_regression or "
                "make_dag_classification."
            )
        if name not in known:
            raise ParameterError(
                f"{name!r} is no parameter of SyntheticDAGDataset, got {parameters[name]!r}; leave it out."
            )


def _feature_info(dataset: SyntheticDAGDataset) -> pd.DataFrame:
    import pandas as pd  # pandas takes a while to load, and arrays do not need it

    roles, categories = dataset.roles_, dataset._columns.categories
    names = dataset.feature_names_
    found = [categories.get(name) for name in names]
    return pd.DataFrame(
        {
            "role": pd.Series(roles.role),
            "parent": roles.mask("parents"),
            "ancestor": roles.mask("ancestors"),
            "markov_blanket": roles.mask("markov_blanket"),
            "type": ["numeric" if one is None else one.kind for one in found],
            "n_categories": [0 if one is None else one.n_categories for one in found],
        },
        index=pd.Index(names, name="feature"),
    )


def _describe(dataset: SyntheticDAGDataset, n: int) -> str:
    return _DESCR.format(
        n=n,
        p=dataset.n_features_,
        kind="class" if dataset.task_ == "classification" else "number",
        target=dataset.target_name_,
        nodes=len(dataset.graph_),
        edges=dataset.graph_.number_of_edges(),
        distractors=int(dataset.roles_.mask("distractors").sum()),
    )
