"""The 1.5-entmax that is exact, needs no sort and can be differentiated twice."""

from __future__ import annotations

import torch
from torch import Tensor

from flatcausal.nn._columns import places_of, put, taken


def entmax15(logits: Tensor, dim: int) -> Tensor:
    r"""Map ``logits`` to the probability simplex along ``dim``, halfway between softmax and sparsemax.

    .. math:: \operatorname{entmax}_{1.5}(z) = \arg\max_{p \in \Delta} p^\top z
              + \tfrac43 \sum_i (p_i - p_i^{3/2}) = \max(z / 2 - \tau, 0)^2

    with :math:`\tau` such that the result sums to one (Peters, Niculae & Martins, 2019).

    Parameters
    ----------
    logits : Tensor
        Any shape, floating point.
    dim : int
        Axis that is projected.

    Returns
    -------
    Tensor
        Same shape; non-negative and summing to one along ``dim``. All its derivatives are finite.

    Examples
    --------
    >>> import torch
    >>> entmax15(torch.tensor([1.0, 0.0, -2.0]), dim=0)
    tensor([0.8307, 0.1693, 0.0000])
    """
    halved = (logits - logits.amax(dim, keepdim=True).detach()) / 2
    outside = _outside(halved.detach(), dim)
    # Plain operations on the fixed support: torch then differentiates them as often as asked. A root of the
    # result would do, but for its derivative at zero.
    size = (~outside).sum(dim, keepdim=True)
    centred = halved - halved.masked_fill(outside, 0).sum(dim, keepdim=True) / size
    room = 1 - centred.masked_fill(outside, 0).square().sum(dim, keepdim=True)
    return (centred + (room / size).sqrt()).masked_fill(outside, 0).square()


def _outside(halved: Tensor, dim: int) -> Tensor:
    """Whether an element lies at or below the threshold; the maximum is 0.

    Newton's iteration on ``norm(max(z - tau, 0)) = 1`` from below, which a norm's convexity in tau keeps
    there. The simple form sorts.
    """
    threshold = torch.full_like(halved.select(dim, 0).unsqueeze(dim), -1.0)
    while True:
        above = (halved - threshold).relu_()
        # A column within rounding of its root stands still, or the iteration might not end.
        rise = torch.threshold_(_rise(above, above.square(), dim), 2 * torch.finfo(above.dtype).eps, 0.0)
        if not (rise > 0).any():
            return above <= 0
        threshold = threshold + rise


def _rise(excess: Tensor, squares: Tensor, dim: int) -> Tensor:
    """Newton's step of a threshold at or below the root, from the excess over it."""
    return _step(excess, squares, dim).relu_()  # rounding must not let what is out of the support in again


def _step(excess: Tensor, squares: Tensor, dim: int) -> Tensor:
    square = squares.sum(dim, keepdim=True)
    return square.sub(square.sqrt()).div_(excess.sum(dim, keepdim=True))


def entmax15_(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 1.5-entmax along dim 1 of (K, p, n), in place: the simple form is :func:`entmax15`.

    Returns
    -------
    projection, response : Tensor of shape (K, p, n)
        The response is the projection's square root: how each element moves with its own logit, before
        the threshold answers.
    total : Tensor of shape (K, 1, n)
        Sum of the response.
    """
    halved = torch.add(logits.amax(1, keepdim=True).mul_(-0.5), logits, alpha=0.5, out=logits)
    # Newton's first step lands below the root from wherever it starts; this is near it as a rule.
    excess = halved.add(_START).relu_()
    squares = torch.mul(excess, excess)
    excess = halved.sub_(_step(excess, squares, 1).sub_(_START)).relu_()
    for _ in range(_ROUNDS):
        rise = _rise(excess, torch.mul(excess, excess, out=squares), 1)
        excess.sub_(rise).relu_()
    # A few columns among thousands have not come to rest by now.
    places = places_of(rise.gt(_resting(excess)), excess.shape[1])
    if len(places):
        put(excess, places, _finish(taken(excess, places)))
    return torch.mul(excess, excess, out=squares), excess, excess.sum(1, keepdim=True)


_START = 0.7
_ROUNDS = 3


def _resting(excess: Tensor) -> float:
    """The longest last step: what it leaves is its square times p / 2 at most, and then within rounding."""
    return (torch.finfo(excess.dtype).eps / excess.shape[1]) ** 0.5


def _finish(excess: Tensor) -> Tensor:
    moving = torch.ones_like(excess[:, :1], dtype=torch.bool)
    while moving.any():
        rise = _rise(excess, excess.square(), 1) * moving  # a column that came to rest stands still
        excess.sub_(rise).relu_()
        moving = rise > _resting(excess)
    return excess
