"""Surrogate-gap guided sharpness-aware minimisation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_norms, per_member
from flatcausal._validation import check_real
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sam import SAM
from flatcausal.optim._sharpness_aware import SharpnessAware, SharpnessAwareOptimizer
from flatcausal.optim._target import Target


class GSAM(SharpnessAware):
    r"""GSAM: as :class:`SAM`, and closing the gap to the loss uphill; two gradients per step.

    .. math:: g_\perp = g - \frac{\langle g, \tilde g \rangle}{\lVert \tilde g \rVert^2}\, \tilde g, \qquad
              \text{descend by } \tilde g - \alpha\, g_\perp

    with :math:`g` at the weights and :math:`\tilde g` uphill. To first order a step along :math:`g_\perp`
    leaves the loss uphill as it is and raises the one at the weights. With ``alpha=0`` it is SAM.

    Parameters
    ----------
    rho : float, default=0.05
        Length of the ascent at the full learning rate, the paper's :math:`\rho_{max}`.
    rho_min : float, optional
        Length at a learning rate of zero; in between the length is linear in the learning rate,
        :math:`\rho_t = \rho_{min} + (\rho_{max} - \rho_{min})\, \eta_t / \eta_{max}`. If None, the length
        is ``rho`` throughout.
    alpha : float, default=0.4
        Weight of the orthogonal part.
    base, m, perturb
        As in :class:`SAM`; each micro-batch is decomposed on its own, and all numbers have their part in the
        decomposition.

    Notes
    -----
    The full learning rate is a schedule's ``"initial_lr"``, without a schedule the one at the start.

    References
    ----------
    J. Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, Algorithm 1.

    Examples
    --------
    >>> from flatcausal.optim import GSAM, Momentum
    >>> GSAM(rho_min=0.01, base=Momentum())
    GSAM(base=Momentum(), rho_min=0.01)
    """

    def __init__(
        self,
        rho: float = 0.05,
        rho_min: float | None = None,
        alpha: float = 0.4,
        base: Recipe | str | None = None,
        m: int | None = None,
        perturb: str = "all",
    ):
        super().__init__(rho, base, m, perturb)
        self.rho_min = rho_min
        self.alpha = alpha

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """As of :class:`SAM`, which it is without ``alpha`` and ``rho_min``."""
        yield from SharpnessAware.limiting_cases(self._at(rho_min=None))
        yield self._at(alpha=0.0, rho_min=None), SAM(self.rho, self.base, self.m, self.perturb)

    def _over(self, base: Optimizer, target: Target, **ascent: Any) -> Optimizer:
        least = self.rho_min
        if least is not None:
            least = check_real("rho_min", least, low=0.0, high=ascent["rho"])
        alpha = check_real("alpha", self.alpha, low=0.0)
        return GSAMOptimizer(base, target, rho_min=least, alpha=alpha, **ascent)


class GSAMOptimizer(SharpnessAwareOptimizer):
    """The torch optimizer that :class:`GSAM` builds; parameter groups have a ``"full_lr"``.

    Parameters
    ----------
    base, target, **ascent
        As in ``SharpnessAwareOptimizer``.
    rho_min : float or None
        Length of the ascent at a learning rate of zero.
    alpha : float
        Weight of the orthogonal part.
    """

    def __init__(
        self, base: Optimizer, target: Target, *, rho_min: float | None, alpha: float, **ascent: Any
    ):
        super().__init__(base, target, **ascent)
        self.rho_min = rho_min
        self.alpha = alpha
        for group in self.param_groups:
            self._complete(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its learning rate is its full one."""
        super().add_param_group(param_group)
        self._complete(self.param_groups[-1])

    def _complete(self, group: dict[str, Any]) -> None:
        super()._complete(group)
        group.setdefault("full_lr", float(group["lr"]))

    def _radius(self, group: dict[str, Any]) -> float:
        most = group["rho"]
        full = float(group.get("initial_lr", group["full_lr"]))
        if self.rho_min is None or full == 0:
            return most
        return self.rho_min + (most - self.rho_min) * min(float(group["lr"]) / full, 1.0)

    def _keep(self, params: list[Tensor]) -> list[Tensor | None] | None:
        if self.alpha == 0:
            return None
        return [None if p.grad is None else p.grad.clone() for p in params]

    def _combine(self, params: list[Tensor], kept: list[Tensor | None] | None) -> None:
        pairs = [
            (first, p.grad)
            for first, p in zip(kept or [], params, strict=kept is not None)
            if first is not None and p.grad is not None
        ]
        if pairs:
            firsts, gradients = ([pair[i] for pair in pairs] for i in (0, 1))
            residuals = orthogonal_parts(firsts, gradients, self.target.n_members)
            torch._foreach_add_(gradients, residuals, alpha=-self.alpha)


def orthogonal_parts(firsts: Sequence[Tensor], gradients: Sequence[Tensor], n_members: int) -> list[Tensor]:
    """What of each member's ``firsts`` is orthogonal to its ``gradients``; 0 where either is not finite."""
    # Both have the same orthogonal part as their difference, which loses fewer digits and is 0 if they agree.
    gradients = list(gradients)
    parts = torch._foreach_sub(list(firsts), gradients)
    dots, lengths = _member_dots(parts, gradients, n_members), member_norms(gradients, n_members)
    along = torch.where(lengths > 0, dots / lengths / lengths, 0.0)
    torch._foreach_addcmul_(parts, gradients, [per_member(along, g, n_members) for g in gradients], value=-1)
    if math.isfinite(along.sum().item()):
        return list(parts)
    finite = along.isfinite()
    return [torch.where(per_member(finite, part, n_members), part, 0.0) for part in parts]


def _member_dots(ones: Sequence[Tensor], others: Sequence[Tensor], n_members: int) -> Tensor:
    """Inner product over each member's share of all tensors, shape (K,)."""
    products = torch._foreach_mul(list(ones), list(others))
    dots = [product.reshape(n_members, -1).sum(1) for product in products]
    return dots[0] if len(dots) == 1 else torch.stack(dots).sum(0)
