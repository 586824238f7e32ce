"""Environments: the same model under lasting interventions on some of its features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flatcausal._validation import check_boolean, check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterError, ParameterTypeError

KINDS = ("do", "shift", "scale", "soft", "mechanism")

#: Sets of nodes that environments are drawn from; but for the first and last, those of ``roles_.mask``.
NODES = (
    "any",
    "parents",
    "ancestors",
    "markov_blanket",
    "children",
    "descendants",
    "spouses",
    "siblings",
    "irrelevant",
    "non_ancestors",
)

# Intervened features stay random, so that an environment is a distribution and not a point.
_DO_SPREAD = 1.5


@dataclass(frozen=True)
class Environment:
    """One lasting intervention, to be passed as ``sample(env=...)``.

    Parameters
    ----------
    kind : {"do", "shift", "scale", "soft", "mechanism"}
        What happens to each feature: ``do`` replaces it by draws from N(value, spread²), cut off from its
        parents; ``shift`` adds the value to its noise; ``scale`` multiplies its noise by the value; ``soft``
        multiplies the signal of its parents by 1 + value; ``mechanism`` gives it another function of the same
        family, on the old one's scale, of which the value is the seed. What happens to a categorical
        feature, ``do`` draws included, happens to its latent value, before it is cut.
    features : tuple of str
        The features concerned.
    values : tuple of float
        One number for each of them.
    spread : float, default=1.5
        Standard deviation of ``do`` draws.
    allow_target : bool, default=False
        Whether features may name the target, whose own equation then changes.

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
    allow_target: bool = False

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        check_real("spread", self.spread, low=0.0)
        check_boolean("allow_target", self.allow_target)
        for name, entry in (("features", self.features), ("values", self.values)):
            if not isinstance(entry, tuple):
                raise ParameterTypeError(f"{name} must be a tuple, got {entry!r}.")
        for name in self.features:
            if not isinstance(name, str):
                raise ParameterTypeError(f"features must be names, got {name!r}; see feature_names_.")
            if self.features.count(name) > 1:
                raise ParameterError(f"features name {name!r} twice; name each feature once.")
        if len(self.features) != len(self.values):
            raise ParameterError(
                f"values must hold one number for each of {len(self.features)} features, "
                f"got {len(self.values)}."
            )
        for value in self.values:
            check_value("values", self.kind, value)


def check_value(name: str, kind: str, value: object) -> float:
    """Return what an intervention of this kind may be told; for ``mechanism`` it is a seed."""
    if kind == "mechanism":
        return check_integer(name, value, low=0)
    return check_real(name, value, low=0.0 if kind == "scale" else None)


@dataclass(frozen=True)
class EnvironmentLaw:
    """What environments of one kind are drawn from."""

    kind: str
    nodes: str
    fraction: float
    strength: float
    allow_target: bool

    @classmethod
    def of(
        cls, kind: object, nodes: object, fraction: object, strength: object, allow_target: object
    ) -> EnvironmentLaw:
        """Check the parameters and fill in what suits the kind."""
        kind = check_choice("kind", kind, KINDS)
        anew = kind == "mechanism"
        if anew and strength is not None:
            raise ParameterError(
                "strength must be None for kind='mechanism', whose functions are drawn anew, "
                f"got {strength!r}."
            )
        usual = 0.5 if kind == "soft" else 2.0
        return cls(
            kind,
            check_choice("nodes", ("children" if anew else "any") if nodes is None else nodes, NODES),
            (1.0 if anew else 0.25)
            if fraction is None
            else check_real("fraction", fraction, low=0.0, high=1.0, open_low=True),
            usual if strength is None else check_real("strength", strength, low=0.0),
            check_boolean("allow_target", allow_target),
        )

    def draw(self, names: list[str], rng: np.random.Generator) -> Environment:
        """Intervene on a random ``fraction`` of ``names``, at least one."""
        chosen = rng.choice(names, size=max(1, round(self.fraction * len(names))), replace=False)
        features = tuple(map(str, chosen))
        values: tuple[float, ...]
        if self.kind == "mechanism":
            values = tuple(int(seed) for seed in rng.integers(2**32, size=len(chosen)))
        elif self.kind == "scale":
            values = (self.strength,) * len(chosen)
        else:
            values = tuple(float(sign) * self.strength for sign in rng.choice([-1.0, 1.0], len(chosen)))
        return Environment(self.kind, features, values, allow_target=self.allow_target)
