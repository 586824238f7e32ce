"""The methods: what each measures, and what it needs beside the rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from flatcausal.baselines._discovery import icp, pc_markov_blanket, pc_parents
from flatcausal.baselines._learners import impurity, permutation
from flatcausal.baselines._scores import correlation, lasso, oracle, random
from flatcausal.baselines._table import Table
from flatcausal.exceptions import ParameterError, ParameterTypeError


@dataclass(frozen=True)
class Method:
    """One row of the table below: scores of at least 0, shape (n_features,), from rows and a seed."""

    score: Callable[[Table, np.random.SeedSequence], NDArray[np.float64]]
    needs: str = ""  # an argument
    package: str = ""  # its name on PyPI, and its module
    module: str = ""
    classes: int | None = None  # as many at most; 0: numbers only


METHODS = {
    "random": Method(random),
    "correlation": Method(correlation),
    "lasso": Method(lasso),
    "forest_impurity": Method(impurity("forest")),
    "forest_permutation": Method(permutation("forest")),
    "boosting_permutation": Method(permutation("boosting")),
    "mlp_permutation": Method(permutation("mlp")),
    "pc_parents": Method(pc_parents, package="causal-learn", module="causallearn", classes=2),
    "pc_markov_blanket": Method(pc_markov_blanket, package="causal-learn", module="causallearn", classes=2),
    "icp": Method(icp, needs="environments", package="causalicp", module="causalicp", classes=0),
    "oracle_parents": Method(oracle("parents"), needs="roles"),
    "oracle_markov_blanket": Method(oracle("markov_blanket"), needs="roles"),
}


def check_methods(methods: Iterable[str] | None, table: Table) -> list[str]:
    """Return the names of methods that can be carried out; None is all that need no further package."""
    if methods is None:
        return [name for name, method in METHODS.items() if not method.package and table.has(method.needs)]
    if isinstance(methods, str):
        raise ParameterTypeError(f"methods must be a list of names, got the string {methods!r}.")
    names = list(methods)
    if not names:
        raise ParameterError("methods must name at least one method, got none.")
    for position, name in enumerate(names):
        if name not in METHODS:
            raise ParameterError(f"methods has no {name!r}; {_closest(str(name))}")
        if name in names[:position]:
            raise ParameterError(f"methods names {name!r} twice; name it once.")
        _check_possible(name, METHODS[name], table)
    return names


def _check_possible(name: str, method: Method, table: Table) -> None:
    if not table.has(method.needs):
        raise ParameterError(f"the method {name!r} needs {method.needs}, got None.")
    if method.classes is not None and table.n_classes > method.classes:
        takes = "a target of numbers" + (" or two classes" if method.classes else "")
        raise ParameterError(
            f"the method {name!r} takes {takes}, got {table.n_classes} classes; leave the method out."
        )
    if method.package and find_spec(method.module) is None:
        raise ImportError(
            f"the method {name!r} needs {method.package}: pip install {method.package}", name=method.module
        )


def _closest(word: str) -> str:
    match = difflib.get_close_matches(word, METHODS, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(map(repr, METHODS))}."
