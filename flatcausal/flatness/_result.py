"""What a measure gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatcausal.flatness._problem import Problem


@dataclass(frozen=True)
class FlatnessResult:
    """A measure of each member, and what it must be read with.

    Values compare only at like losses, under the same protocol and on the same rows: all of it is here.

    Attributes
    ----------
    measure : str
        Which measure.
    value : ndarray of shape (K,) or (K, k)
        Its value; NaN for a member whose loss is not finite.
    standard_error : ndarray of the same shape
        Of a mean over chance; 0 for a measure without.
    converged : ndarray of bool, shape (K,)
        Whether an iteration came to rest; True for a measure without.
    loss, gradient_norm, weight_norm : ndarray of shape (K,)
        At the weights themselves. Far from a minimum, or at unequal losses, values do not compare.
    n_losses, n_gradients, n_products : int
        Passes over the rows: losses, gradients (about three times the work) and Hessian-vector products.
    settings : dict
        What the measure was told.
    details : dict of ndarray
        What else it found, such as a curve.
    n_parameters : int
        Numbers of a member that move.
    n_rows : int
        Rows measured on.
    rows_hash : str
        Of the content of X and y in these rows.
    bn, dtype : str
        How batches were normalised, and the precision.
    seed : numpy.random.SeedSequence
        Pass it as ``random_state`` to draw the same directions.
    residual : ndarray or None
        Of a linear-algebra result.
    """

    measure: str
    value: np.ndarray
    standard_error: np.ndarray
    converged: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    weight_norm: np.ndarray
    n_losses: int
    n_gradients: int
    n_products: int
    n_parameters: int
    n_rows: int
    rows_hash: str
    bn: str
    dtype: str
    seed: np.random.SeedSequence
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    residual: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """What a measure finds, each of shape (K,) but for details; None is what a measure without chance has."""

    value: Tensor
    standard_error: Tensor | None = None
    converged: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    residual: Tensor | None = None


def record(problem: Problem, measure: str, found: Found, **settings: Any) -> FlatnessResult:
    """Put a measure of each member beside all that it must be read with."""
    losses, _ = problem.base
    value, error, converged = found.value, found.standard_error, found.converged
    sick = ~losses.isfinite().reshape(-1, *[1] * (value.dim() - 1))
    return FlatnessResult(
        measure=measure,
        value=_array(torch.where(sick, torch.nan, value)),
        standard_error=_array(torch.zeros_like(value) if error is None else error),
        converged=_array(torch.ones_like(losses, dtype=torch.bool) if converged is None else converged),
        n_products=problem.passes("products"),
        settings=settings,
        details={name: _array(tensor) for name, tensor in found.details.items()},
        residual=None if found.residual is None else _array(found.residual),
        **at_the_weights(problem),
        **circumstances(problem),
    )


def at_the_weights(problem: Problem) -> dict[str, np.ndarray]:
    """Loss, gradient norm and weight norm of each member."""
    losses, gradients = problem.base
    return {
        "loss": _array(losses),
        "gradient_norm": _array(problem.norms(gradients)),
        "weight_norm": _array(problem.norms(problem.restrict(problem.start))),
    }


def circumstances(problem: Problem) -> dict[str, Any]:
    """What every record tells of the problem."""
    return {
        "n_losses": problem.passes("losses"),
        "n_gradients": problem.passes("gradients"),
        "n_parameters": problem.n_parameters,
        "n_rows": problem.n_rows,
        "rows_hash": problem.source.rows_hash,
        "bn": problem.bn,
        "dtype": str(problem.params[0].dtype).removeprefix("torch."),
        "seed": problem.seeds,
    }


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
