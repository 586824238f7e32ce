"""The direction in which the loss curves up most, as a start for an ascent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from flatcausal.exceptions import ParameterError
from flatcausal.flatness._eigenvalues import eigenpairs
from flatcausal.flatness._problem import Problem
from flatcausal.flatness._products import Products
from flatcausal.flatness._stack import Weights

PRODUCTS = 10  # the ascent does the rest


def most_curved(problem: Problem, scale: Weights) -> tuple[Weights, Tensor]:
    """Top eigenvectors u of C H C, the Hessian over steps d = C u, and who has one, shape (K,).

    A member without finite second derivatives has none; nobody has one, and a warning says so, if the loss
    cannot be differentiated twice.
    """
    try:
        products = _InUnits(problem, scale)
        pairs = eigenpairs(products, 1, ncv=PRODUCTS, max_products=PRODUCTS)
    except (_SecondDerivativeError, ParameterError) as error:
        warnings.warn(
            f"The loss cannot be differentiated twice ({error}): a random start takes the place of the one "
            "along its most curved direction.",
            stacklevel=2,
        )
        nobody = torch.zeros(problem.n_members, dtype=torch.bool, device=scale[0].device)
        return [torch.zeros_like(c) for c in scale], nobody
    return problem.unflat(pairs.vectors[:, 0]), products.alive


class _SecondDerivativeError(Exception):
    """An operation on the way to the loss has no second derivative."""


class _InUnits(Products):
    """Products of C H C."""

    def __init__(self, problem: Problem, scale: Weights):
        super().__init__(problem)
        self.scale = torch.where(self.alive[:, None], problem.flat(scale), 0.0)

    def __call__(self, vectors: Tensor) -> Tensor:
        return self.scale * super().__call__(self.scale * vectors)

    def _second(self, gradients: Sequence[Tensor | None], directions: Sequence[Tensor]) -> Tensor:
        try:
            return super()._second(gradients, directions)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise _SecondDerivativeError(error) from error

    def _check(self, found: Tensor, batch: int) -> None:
        """Go on without a member rather than stop all."""
        self.alive = self.alive & found.isfinite().all(1)
