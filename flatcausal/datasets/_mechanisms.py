"""How parents act on a node: a function of one of the families, and for some a link after the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from flatcausal.datasets._fourier import FourierFeatures
from flatcausal.datasets._functions import MLP, Linear, Polynomial, Tree

Array = NDArray[np.float64]


class Mechanism(Protocol):
    """A picklable function of the parents' values."""

    def __call__(self, parents: Array, /) -> Array:
        """Map values of shape (n_parents, n) to (n,)."""
        ...


_FUNCTIONS: dict[str, Callable[[int, np.random.Generator], Mechanism]] = {
    "linear": Linear.draw,
    "mlp": MLP.draw,
    "rff": FourierFeatures.draw,
    "polynomial": Polynomial.draw,
    "tree": Tree.draw,
}


@dataclass(frozen=True, eq=False)
class Mixture:
    """f(x) = sum_k w_k g_k(x_k): each parent acts by a function of its own, of any family.

    The terms have unit variance under a standard normal parent; weights are in ±[0.5, 1.5].
    """

    weights: Array
    terms: tuple[Mechanism, ...]

    @classmethod
    def draw(cls, n_parents: int, rng: np.random.Generator) -> Mixture:
        """Draw the terms and their weights."""
        terms = tuple(_any_function(1, rng) for _ in range(n_parents))
        weights = rng.choice([-1.0, 1.0], n_parents) * rng.uniform(0.5, 1.5, n_parents)
        return cls(weights / [float(term(_NORMAL_GRID).std()) or 1.0 for term in terms], terms)

    def __call__(self, parents: Array, /) -> Array:
        """Evaluate the function."""
        values = np.zeros(parents.shape[1])
        for weight, term, parent in zip(self.weights, self.terms, parents, strict=True):
            values += weight * term(parent[None])
        return values


@dataclass(frozen=True)
class Link:
    """A monotone function of signal and noise together: tanh(a t) / a, asinh(a t) / a or cbrt(t)."""

    name: str
    slope: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Link:
        """Draw the function and its a ~ U(0.5, 2)."""
        return cls(str(rng.choice(list(_LINKS))), float(rng.uniform(0.5, 2.0)))

    def __call__(self, values: Array, /) -> Array:
        """Evaluate the function."""
        return _LINKS[self.name](values, self.slope)


_LINKS: dict[str, Callable[[Array, float], Array]] = {
    "tanh": lambda t, a: np.tanh(a * t) / a,
    "asinh": lambda t, a: np.arcsinh(a * t) / a,
    "cbrt": lambda t, a: np.cbrt(t),
}

MECHANISMS = (*_FUNCTIONS, "mixture", "post_nonlinear")


def draw_mechanism(
    families: tuple[str, ...], n_inputs: int, rng: np.random.Generator
) -> tuple[Mechanism, Link | None]:
    """Draw one of the families and from it a function; the post-nonlinear family adds a link."""
    family = str(rng.choice(families))
    if family == "mixture":
        return Mixture.draw(n_inputs, rng), None
    if family == "post_nonlinear":
        return _any_function(n_inputs, rng), Link.draw(rng)
    return _FUNCTIONS[family](n_inputs, rng), None


def _any_function(n_inputs: int, rng: np.random.Generator) -> Mechanism:
    return _FUNCTIONS[str(rng.choice(list(_FUNCTIONS)))](n_inputs, rng)


# Equally likely values of a standard normal, to bring functions to a common scale without drawing.
_NORMAL_GRID: Array = ndtri((np.arange(256) + 0.5) / 256)[None]
