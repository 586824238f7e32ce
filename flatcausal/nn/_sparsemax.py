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
    kept = torch.where(support, shifted, 0.0)
    threshold = (kept.sum(dim, keepdim=True) - 1) / support.sum(dim, keepdim=True)
    return torch.where(support, shifted - threshold, 0.0)


def _support(shifted: Tensor, dim: int) -> Tensor:
    """Entries above the threshold, by Michelot's iteration; two or three rounds as a rule."""
    support = shifted > -1
    while True:
        kept = torch.where(support, shifted, 0.0).sum(dim, keepdim=True)
        smaller = support & (shifted * support.sum(dim, keepdim=True) > kept - 1)
        if torch.equal(smaller, support):
            return support
        support = smaller
