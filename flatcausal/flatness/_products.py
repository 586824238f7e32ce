"""Products of the loss's second derivatives with a vector, for all members in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from flatcausal.flatness._problem import Problem
from flatcausal.flatness._result import FlatnessResult, Found, record
from flatcausal.flatness._rows import cut


class Products:
    r"""``products(v)`` is :math:`H v` for each member: H is the Hessian of its loss at the first weights.

    By differentiating twice: the sum of the members' losses has each member's own gradient, and the sum of
    :math:`\langle g_k, v_k \rangle` each member's own product. Numbers that do not move have neither.

    The copy must not be moved while products are taken.

    Attributes
    ----------
    alive : Tensor of bool, shape (K,)
        Members whose loss and gradient are finite; the others' products are 0.
    count : int
        Passes over the rows so far.
    """

    def __init__(self, problem: Problem):
        problem.require_second_derivatives()
        self.problem, self.count = problem, 0
        losses, gradients = problem.base
        self.alive = (losses + problem.norms(gradients)).isfinite()
        problem.move_to(problem.start)
        self._kept: list[Sequence[Tensor | None]] = []

    def __call__(self, vectors: Tensor) -> Tensor:
        """Of vectors of shape (K, P), one row a member."""
        directions = self.problem.unflat(vectors)
        total = torch.zeros_like(vectors)
        for i, gradients in enumerate(self._gradients()):
            found = self._second(gradients, directions)
            self._check(found, i)
            total += found
        self.count += 1
        return torch.where(self.alive[:, None], total, 0.0)

    def _gradients(self) -> Iterator[Sequence[Tensor | None]]:
        """Of each batch, with their graph; None where nothing depends on a parameter.

        Where all graphs may be held at once they are kept: the products after the first save a pass.
        """
        if self._kept:
            self.problem.count("products")
            yield from self._kept
            return
        problem, kept = self.problem, []
        for part in problem.batch_losses("products"):
            found = torch.autograd.grad(part.sum(), problem.params, create_graph=True, allow_unused=True)
            if problem.holds_all:
                kept.append(found)
            yield found
        self._kept = kept

    def _second(self, gradients: Sequence[Tensor | None], directions: Sequence[Tensor]) -> Tensor:
        problem = self.problem
        pairs = [
            (g, v) for g, v in zip(gradients, directions, strict=True) if g is not None and g.requires_grad
        ]
        if not pairs:  # a loss linear in the weights
            return problem.flat([torch.zeros_like(p) for p in problem.params])
        found = torch.autograd.grad(
            [g for g, _ in pairs],
            problem.params,
            [v for _, v in pairs],
            retain_graph=self.problem.holds_all,
            allow_unused=True,
        )
        filled = [torch.zeros_like(p) if h is None else h for p, h in zip(problem.params, found, strict=True)]
        return problem.flat(problem.restrict(filled))

    def _check(self, found: Tensor, batch: int) -> None:
        bad = self.alive & ~found.isfinite().all(1)
        if bad.any():
            problem = self.problem
            rows = cut(problem.rows.start, problem.rows.stop, problem.batch_size)[batch]
            raise FloatingPointError(
                f"The second derivatives of member {int(bad.nonzero()[0, 0])} are not finite in batch "
                f"{batch} (rows {rows.start} to {rows.stop - 1} of those measured): look for an operation "
                f"without them, such as a square root at 0."
            )

    def record(self, measure: str, found: Found, **settings: Any) -> FlatnessResult:
        """What :func:`record` gives, NaN for members that are not alive, and all products counted."""
        error, residual, converged = found.standard_error, found.residual, found.converged
        whole = dataclasses.replace(
            found,
            value=self._or_nan(found.value),
            standard_error=None if error is None else self._or_nan(error),
            residual=None if residual is None else self._or_nan(residual),
            converged=None if converged is None else converged & self.alive,
        )
        result = record(self.problem, measure, whole, **settings)
        return dataclasses.replace(result, n_products=self.count)

    def _or_nan(self, tensor: Tensor) -> Tensor:
        alive = self.alive.reshape(-1, *[1] * (tensor.dim() - 1))
        return torch.where(alive, tensor, torch.nan)
