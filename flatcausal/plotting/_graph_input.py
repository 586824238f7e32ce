"""The border of the graph's display: graph, roles and importances belong together, or an error says how."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from flatcausal._validation import check_choice
from flatcausal.exceptions import (
    DataError,
    FeatureAlignmentError,
    GraphError,
    ParameterError,
    ParameterTypeError,
)
from flatcausal.plotting._marks import LOOKS

_OWN = ("target", "hidden", "node")  # given by the display, not by the roles


def check_graph(graph: Any, target: Hashable) -> None:
    """Refuse what is no directed acyclic graph with the target."""
    if not isinstance(graph, nx.DiGraph):
        raise ParameterTypeError(f"graph must be a networkx DiGraph, got {type(graph).__name__}.")
    if target not in graph:
        raise GraphError(f"the target {target!r} is no node of the graph; add an edge to or from it.")
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(repr(edge[0]) for edge in nx.find_cycle(graph))
        raise GraphError(f"the graph has the cycle {cycle}; remove one of its edges.")


def check_roles(roles: Any, target: Hashable) -> dict[Any, str] | None:
    """Return the role of each feature by name, or None."""
    if roles is None:
        return None
    roles = getattr(roles, "role", roles)
    if not isinstance(roles, Mapping):
        raise ParameterTypeError(
            f"roles must be FeatureRoles or map each feature to its role, got {type(roles).__name__}."
        )
    if target in roles:
        raise ParameterError(f"roles give the target {target!r} the role {roles[target]!r}; leave it out.")
    known = [role for role in LOOKS if role not in _OWN]
    return {name: check_choice(f"the role of {name!r}", role, known) for name, role in roles.items()}


def check_importances(importances: Any, features: list[Any]) -> dict[Any, float]:
    """Return the importance of each feature by name."""
    if isinstance(importances, pd.Series):
        importances = importances.to_dict()
    elif not isinstance(importances, Mapping):
        values = np.asarray(importances)
        if values.shape != (len(features),):
            raise FeatureAlignmentError(
                f"importances must have shape ({len(features)},), one for each feature, got {values.shape}."
            )
        importances = dict(zip(features, values.tolist(), strict=True))
    strange = sorted(map(str, set(importances) ^ set(features)))
    if strange:
        raise FeatureAlignmentError(
            f"importances and features do not share {strange[0]!r}; pass one importance for each feature."
        )
    for name, value in importances.items():
        if not (np.isfinite(value) and value >= 0):
            raise DataError(f"importances must be finite and at least 0, got {value} for {name!r}.")
    return {name: float(value) for name, value in importances.items()}
