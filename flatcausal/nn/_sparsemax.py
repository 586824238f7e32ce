"""Sparsemax that is exact, needs no sort and can be differentiated twice."""

from __future__ import annotations

import torch
from torch import Tensor


def sparsemax(logits: Tensor, dim: int) -> Tensor:
    r"""Project ``logits`` onto the probability simplex along ``dim``.

    .. math:: \operatorname{sparsemax}(z) = \arg\min_{p \in \Delta} \lVert p - z \rVert^2
              = \max(z - \tau, 0)

    with :math:`\tau` such that the result sums to one (Martins & Astudillo, 2016).

    Parameters
    ----------
    logits : Tensor
        Any shape, floating point.
    dim : int
        Axis that is projected.

    Returns
    -------
    Tensor
        Same shape; non-negative and summing to one along ``dim``.

    Examples
    --------
    >>> import torch
    >>> sparsemax(torch.tensor([0.5, 0.3, -1.0]), dim=0)
    tensor([0.6000, 0.4000, 0.0000])
    """
    shifted = logits - logits.amax(dim, keepdim=True).detach()
    support = _support(shifted.detach(), dim)
    # Plain operations on the fixed support: torch then differentiates them as often as asked.
    threshold = ((shifted * support).sum(dim, keepdim=True) - 1) / support.sum(dim, keepdim=True)
    return (shifted - threshold).relu()


def _support(shifted: Tensor, dim: int) -> Tensor:
    """Ones above the threshold, zeros elsewhere.

    Newton's iteration on ``sum(max(z - tau, 0)) = 1`` from below; the sum is convex and piecewise linear in
    tau, so it stops after finitely many rounds, two or three as a rule. The simple form sorts.
    """
    threshold = torch.full_like(shifted.select(dim, 0).unsqueeze(dim), -1.0)
    size = None
    while True:
        above = (shifted - threshold).relu_()
        total, support = above.sum(dim, keepdim=True), above.sign_()
        smaller = support.sum(dim, keepdim=True)
        if size is not None and torch.equal(smaller, size):  # supports are nested: as many are the same
            return support
        # Rounding must not let the threshold fall again, or the loop might not end; and a column that stands
        # still stays as it is, however many rounds the others need.
        still = torch.zeros_like(smaller, dtype=torch.bool) if size is None else smaller == size
        size = smaller
        threshold = torch.where(still, threshold, threshold.maximum(threshold + (total - 1) / size))
