"""Sparsemax that is exact, needs no sort and can be differentiated twice."""

from __future__ import annotations

import torch
from torch import Tensor

from flatcausal.nn._columns import places_of, put, taken


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


def sparsemax_(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sparsemax along dim 1 of (K, p, n), in place: the simple form is :func:`sparsemax`.

    Returns
    -------
    projection, response : Tensor of shape (K, p, n)
        The response is the support as ones and zeros: how each element moves with its own logit, before
        the threshold answers.
    total : Tensor of shape (K, 1, n)
        Sum of the response, the number of elements of the support.
    """
    # The sum of any set of logits, less 1, over their number is at most the threshold, and Newton's iteration
    # climbs from there. Logits within 0.7 of the maximum are a better set as a rule than those within 1.
    excess = logits.sub_(logits.amax(1, keepdim=True).sub_(_START))
    support = excess.relu()
    total = support.sum(1, keepdim=True)
    size = support.sign_().sum(1, keepdim=True)
    excess.sub_(total.sub_(1).div_(size)).relu_()
    for _ in range(2 if logits.shape[1] < 32 else 3):
        rise, size = _rise(excess, support)
        excess.sub_(rise).relu_()
    rise, size = _rise(excess, support)
    # A few columns among thousands have not come to rest by now.
    moving = rise > 0
    places = places_of(moving, excess.shape[1])
    if len(places):
        columns, ones, sizes = _finish(taken(excess, places))
        put(excess, places, columns)
        put(support, places, ones)
        size[moving] = sizes.squeeze(1)
    return excess, support, size


_START = 0.7


def _rise(excess: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """How far the threshold must rise, and the size of the support, which is written to ``support``."""
    size = torch.sign(excess, out=support).sum(1, keepdim=True)
    rise = excess.sum(1, keepdim=True).sub_(1).div_(size)
    # A column within rounding of its threshold stands still, or the iteration might not end.
    return torch.threshold_(rise, 2 * torch.finfo(rise.dtype).eps, 0.0), size


def _finish(excess: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    support = torch.empty_like(excess)
    rise, size = _rise(excess, support)
    while (rise > 0).any():
        rise, size = _rise(excess.sub_(rise).relu_(), support)
    return excess, support, size
