"""Arithmetic on the parameters of K models at once."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from flatcausal._members import member_norms, per_member

Weights: TypeAlias = list[Tensor] | tuple[Tensor, ...]


class Stack:
    """Parameters that move; with several members the first axis of each is theirs.

    Parameters
    ----------
    params : list of Tensor
        They are changed in place.
    mask : Tensor of bool, shape (P,), or None
        Columns of the one matrix that move, if not all do.
    n_members : int
        K.

    Attributes
    ----------
    start : list of Tensor
        Values of the parameters before anything moved.
    n_parameters : int
        Numbers of a member that move.
    """

    def __init__(self, params: Weights, mask: Tensor | None, n_members: int):
        self.params, self.mask, self.n_members = list(params), mask, n_members
        held = sum(p.numel() for p in params) // n_members
        self.n_parameters = held if mask is None else int(mask.sum())
        self.start = [p.detach().clone() for p in params]

    @torch.no_grad()
    def move_to(self, weights: Weights) -> None:
        """Give the copy other weights."""
        torch._foreach_copy_(self.params, list(weights))

    def moved(self, step: Weights, factor: float = 1.0) -> Weights:
        """The first weights plus a step."""
        return torch._foreach_add(self.start, list(step), alpha=factor)

    def restrict(self, tensors: Weights) -> Weights:
        """Zero what does not move."""
        if self.mask is None:
            return tensors
        return [torch.where(self.mask, t, 0.0) for t in tensors]

    def norms(self, tensors: Weights) -> Tensor:
        """Euclidean norm of each member's share, shape (K,)."""
        return member_norms(tensors, self.n_members)

    def times(self, factors: Tensor, tensors: Weights) -> Weights:
        """Each member's share times its factor; ``factors`` has shape (K,)."""
        return [per_member(factors, t, self.n_members) * t for t in tensors]

    def units(self, tensors: Weights) -> Weights:
        """Each member's share divided by its norm; 0 stays 0."""
        norms = self.norms(tensors)
        return self.times(1 / norms.clamp_min(torch.finfo(norms.dtype).tiny), tensors)

    def where(self, members: Tensor, yes: Weights, no: Weights) -> Weights:
        """Each member's share of ``yes`` or ``no``; ``members`` is boolean, shape (K,)."""
        pairs = zip(yes, no, strict=True)
        return [torch.where(per_member(members, a, self.n_members), a, b) for a, b in pairs]

    def flat(self, tensors: Weights) -> Tensor:
        """One row a member: shape (K, P), P counting all numbers of the parameters."""
        return torch.cat([t.reshape(self.n_members, -1) for t in tensors], dim=1)

    def unflat(self, matrix: Tensor) -> Weights:
        """What :meth:`flat` flattened."""
        sizes = [p.numel() // self.n_members for p in self.params]
        parts = matrix.to(self.params[0]).split(sizes, dim=1)
        return [part.reshape(p.shape) for part, p in zip(parts, self.params, strict=True)]
