"""What turns a step's attention into its mask, by the names that pytorch-tabnet gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from flatcausal.nn._entmax import entmax15, entmax15_
from flatcausal.nn._sparsemax import sparsemax, sparsemax_


class Projection(NamedTuple):
    """A map to the probability simplex in two forms of equal value.

    Its derivative is ``diag(s) - s s^T / sum(s)`` with a response s of the projection p: the support for
    sparsemax, ``sqrt(p)`` for the 1.5-entmax (Peters, Niculae & Martins, 2019).
    """

    differentiable: Callable[[Tensor, int], Tensor]
    """Of logits along an axis."""
    in_place: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    """Of logits (K, p, n) along axis 1: the projection, its response and the response's sum."""


PROJECTIONS = {
    "sparsemax": Projection(sparsemax, sparsemax_),
    "entmax": Projection(entmax15, entmax15_),
}
