"""The border of ``sample``: interventions are checked before a row is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flatcausal.datasets._assignments import Assignment
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._environments import Environment, check_value
from flatcausal.datasets._redraw import is_redrawable
from flatcausal.datasets._scm import StructuralModel
from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError

Array = NDArray[np.float64]

# What a node must have, by the kind of intervention, and how to say so.
_NEEDS: dict[str, tuple[str, Callable[[Assignment], bool]]] = {
    "do": ("a place in the graph", lambda assignment: True),
    "shift": ("noise of its own", lambda assignment: assignment.has_noise),
    "scale": ("noise of its own", lambda assignment: assignment.has_noise),
    "soft": ("causes", lambda assignment: bool(assignment.parents)),
    "mechanism": ("a function to draw anew", is_redrawable),
}


@dataclass(frozen=True)
class Request:
    """Checked interventions on named columns; ``env`` yields to the others where both name one."""

    do: Mapping[str, float | Array]
    shift: Mapping[str, float]
    scale: Mapping[str, float]
    soft: Mapping[str, float]
    env: Environment | None


@dataclass(frozen=True)
class Border:
    """Knows which interventions a model allows."""

    columns: Columns
    model: StructuralModel
    target: int

    @property
    def node_of(self) -> dict[str, int]:
        """The node behind each name, the target's included."""
        return {**self.columns.node_of, self.columns.target_name: self.target}

    def can(self, kind: str, name: str) -> bool:
        """Whether an intervention of this kind can move what the name stands for."""
        node = self.node_of.get(name)
        return node is not None and _NEEDS[kind][1](self.model.assignments[node])

    def request(
        self,
        n: int,
        *,
        do: Mapping[str, ArrayLike] | None,
        shift: Mapping[str, float] | None,
        scale: Mapping[str, float] | None,
        soft: Mapping[str, float] | None,
        env: Environment | None,
        allow_target: bool,
    ) -> Request:
        """Judge all interventions of one call."""
        held = {
            name: _check_held(name, value, n)
            for name, value in self._named("do", do, allow_target=allow_target).items()
        }
        for name in held.keys() & self.columns.categories.keys():
            _check_codes(name, held[name], self.columns.categories[name].n_categories)
        changes = {
            kind: self._changes(kind, mapping, held, allow_target=allow_target)
            for kind, mapping in (("shift", shift), ("scale", scale), ("soft", soft))
        }
        self._check_environment(env, allow_target=allow_target)
        return Request(held, **changes, env=env)

    def _named(
        self, argument: str, mapping: Mapping[str, ArrayLike] | None, *, allow_target: bool
    ) -> Mapping[str, ArrayLike]:
        if mapping is None:
            return {}
        if not isinstance(mapping, Mapping):
            raise ParameterTypeError(
                f"{argument} must be a dict from feature names to values, got {type(mapping).__name__}."
            )
        for name in mapping:
            self._check_name(argument, name, allow_target=allow_target)
        return mapping

    def _changes(
        self,
        kind: str,
        mapping: Mapping[str, float] | None,
        held: Mapping[str, object],
        *,
        allow_target: bool,
    ) -> dict[str, float]:
        changes = {}
        for name, value in self._named(kind, mapping, allow_target=allow_target).items():
            self._check_can(kind, name, kind)
            if name in held:
                raise ParameterError(
                    f"{kind} names {name!r}, which do holds at a value; leave it out of one of them."
                )
            changes[name] = check_value(f"{kind}[{name!r}]", kind, value)
        return changes

    def _check_environment(self, env: Environment | None, *, allow_target: bool) -> None:
        if env is None:
            return
        if not isinstance(env, Environment):
            raise ParameterTypeError(
                f"env must be an Environment, as environments() returns, got {type(env).__name__}."
            )
        for name in env.features:
            self._check_name("env", name, allow_target=allow_target or env.allow_target)
            self._check_can("env", name, env.kind)

    def _check_name(self, argument: str, name: str, *, allow_target: bool) -> None:
        if name == self.columns.target_name:
            if allow_target:
                return
            raise ParameterError(
                f"{argument} names the target {name!r}; intervene on features, or pass allow_target=True."
            )
        if name not in self.columns.feature_names:
            raise ParameterError(
                f"{argument} names {name!r}, which is none of the {len(self.columns.feature_names)} "
                "features; see feature_names_."
            )

    def _check_can(self, argument: str, name: str, kind: str) -> None:
        if not self.can(kind, name):
            lacks = _NEEDS[kind if name in self.node_of else "do"][0]
            raise ParameterError(
                f"{argument} cannot {_VERBS[kind]} {name!r}, which lacks {lacks}; name another feature."
            )


_VERBS = {"do": "do", "shift": "shift", "scale": "scale", "soft": "soften", "mechanism": "redraw"}


def _check_held(name: str, value: ArrayLike, n: int) -> float | Array:
    try:
        held = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterTypeError(
            f"do[{name!r}] must be a number or an array of numbers, got {value!r}."
        ) from error
    if held.shape not in ((), (n,)):
        raise DataError(f"do[{name!r}] must be a number or have shape ({n},), got shape {held.shape}.")
    if not np.isfinite(held).all():
        raise DataError(f"do[{name!r}] must be finite, got {held[~np.isfinite(held)][0]}; pass numbers.")
    return float(held) if held.ndim == 0 else held


def _check_codes(name: str, held: float | Array, n_categories: int) -> None:
    codes = np.atleast_1d(held)
    unknown = codes[~np.isin(codes, np.arange(n_categories))]
    if unknown.size:
        raise DataError(
            f"do[{name!r}] must be a category, one of 0 to {n_categories - 1}, got {unknown[0]:g}."
        )
