"""Environments: the same model under lasting interventions on some of its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatcausal._validation import check_choice, check_real
from flatcausal.exceptions import ParameterError, ParameterTypeError

KINDS = ("do", "shift", "scale")

# Intervened features stay random, so that an environment is a distribution and not a point.
_DO_SPREAD = 1.5


@dataclass(frozen=True)
class Environment:
    """One lasting intervention, to be passed as ``sample(env=...)``.

    Parameters
    ----------
    kind : {"do", "shift", "scale"}
        What happens to each feature: ``do`` replaces it by draws from N(value, spread²), cut off from its
        parents; ``shift`` adds the value to its noise; ``scale`` multiplies its noise by the value.
    features : tuple of str
        The features concerned.
    values : tuple of float
        One number for each of them.
    spread : float, default=1.5
        Standard deviation of ``do`` draws.

    Examples
    --------
    >>> from flatcausal.datasets import Environment, SyntheticDAGDataset
    >>> ds = SyntheticDAGDataset(n_nodes=5, n_distractors=1, random_state=0)
    >>> feature = next(name for name in ds.feature_names_ if name in ds.graph_)
    >>> env = Environment("do", (feature,), (4.0,), spread=0.0)
    >>> float(ds.sample(3, env=env, as_frame=True).X[feature].max())
    4.0
    """

    kind: str
    features: tuple[str, ...]
    values: tuple[float, ...]
    spread: float = _DO_SPREAD

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_real("spread", self.spread, low=0.0)
        for name, entry in (("features", self.features), ("values", self.values)):
            if not isinstance(entry, tuple):
                raise ParameterTypeError(f"{name} must be a tuple, got {entry!r}.")
        if len(self.features) != len(self.values):
            raise ParameterError(
                f"values must hold one number for each of {len(self.features)} features, "
                f"got {len(self.values)}."
            )
        low = 0.0 if self.kind == "scale" else None
        for value in self.values:
            check_real("values", value, low=low)


def draw_environment(
    kind: str, names: list[str], fraction: float, strength: float, rng: np.random.Generator
) -> Environment:
    """Intervene on a random ``fraction`` of ``names``, at least one."""
    chosen = rng.choice(names, size=max(1, round(fraction * len(names))), replace=False)
    signs = np.ones(len(chosen)) if kind == "scale" else rng.choice([-1.0, 1.0], len(chosen))
    return Environment(kind, tuple(map(str, chosen)), tuple(float(sign * strength) for sign in signs))
