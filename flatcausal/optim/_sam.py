"""Sharpness-aware minimisation over any base optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_norms, per_member
from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._classical import SGD
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target, frozen_statistics, random_states, rewind


class SAM(Recipe):
    r"""Sharpness-aware minimisation: descend by the gradient found a step uphill; two gradients per step.

    .. math:: \epsilon = \rho\, g / \lVert g \rVert_2, \qquad g = \nabla L(w), \qquad
              \tilde g = \nabla L(w + \epsilon)

    The base optimizer then steps from :math:`w` with :math:`\tilde g`. The norm is over all tensors of a
    member. Weight decay belongs to the base and takes no part in the ascent (Foret et al., 2021).

    Parameters
    ----------
    rho : float, default=0.05
        Length of the ascent.
    base : Recipe, optional
        Optimizer that descends; ``SGD()`` if None.

    Examples
    --------
    >>> from flatcausal.optim import SAM, SGD
    >>> recipe = SAM(rho=0.1, base=SGD(momentum=0.9))
    >>> recipe.set_params(base__momentum=0.8).base
    SGD(momentum=0.8)
    >>> recipe.gradients_per_step
    2
    """

    def __init__(self, rho: float = 0.05, base: Recipe | None = None):
        self.rho = rho
        self.base = base

    @property
    def _descent(self) -> Recipe:
        if self.base is not None and not isinstance(self.base, Recipe):
            raise ParameterTypeError(f"base must be a recipe such as SGD() or Adam(), got {self.base!r}.")
        return SGD() if self.base is None else self.base

    def set_params(self, **params: Any) -> SAM:
        """Set parameters; those of the default base are reached by ``base__`` as well."""
        if self.base is None and any(key.startswith("base__") for key in params) and "base" not in params:
            self.base = SGD()
        return super().set_params(**params)

    @property
    def default_lr(self) -> float:
        """Learning rate of the base."""
        return self._descent.default_lr

    @property
    def full_batch(self) -> bool:
        """Whether the base descends on the whole training set."""
        return self._descent.full_batch

    @property
    def gradients_per_step(self) -> int:
        """Twice those of the base."""
        return 2 * self._descent.gradients_per_step

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        if self._descent.gradients_per_step != 1:
            raise ParameterTypeError(
                f"base must be a recipe that takes one gradient per step, such as SGD() or Adam(); "
                f"got {self.base!r}."
            )
        rho = check_real("rho", self.rho, low=0.0)
        return SAMOptimizer(self._descent._build(target, lr, weight_decay, seeds), target, rho)


class SAMOptimizer(Optimizer):
    """The torch optimizer that :class:`SAM` builds.

    It has no state of its own: parameter groups and state are the base's, so that schedulers, clipping
    hooks on ``base`` and ``state_dict`` see what the descent uses.

    Parameters
    ----------
    base : torch.optim.Optimizer
        Optimizer that descends.
    target : Target
        What is trained.
    rho : float
        Length of the ascent, for parameter groups without a ``"rho"`` of their own.
    """

    def __init__(self, base: Optimizer, target: Target, rho: float):
        for group in base.param_groups:
            group.setdefault("rho", rho)
        super().__init__(base.param_groups, {**base.defaults, "rho": rho})
        self.base = base
        self.target = target
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base; it takes the common ``rho`` unless it names one."""
        if not hasattr(self, "base"):  # torch's constructor lists the base's groups
            return super().add_param_group(param_group)
        self.base.add_param_group({"rho": self.defaults["rho"], **param_group})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the base's state; afterwards both still share it."""
        self.base.load_state_dict(state_dict)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base": self.base, "target": self.target}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss at the weights before it.

        The closure runs twice on the same batch. Running statistics move in the first pass only, and the
        weights are restored by copy, also when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError("SAM needs step(closure): it computes two gradients itself.")
        closure = torch.enable_grad()(closure)
        draws = random_states() if self.target.has_dropout else None
        loss = closure()
        params = [p for group in self.param_groups for p in group["params"]]
        weights = [p.clone() for p in params]
        try:
            self._ascend()
            if draws is not None:  # the same dropout masks in both passes
                rewind(draws)
            with frozen_statistics(self.target.normalizations):
                closure()
        finally:
            torch._foreach_copy_(params, weights)
        self.base.step()
        return loss

    def _ascend(self) -> None:
        n_members = self.target.n_members
        climbing = [
            (p, group["rho"]) for group in self.param_groups for p in group["params"] if p.grad is not None
        ]
        if not climbing:
            return
        params = [p for p, _ in climbing]
        gradients: list[Tensor] = [p.grad for p in params if p.grad is not None]
        norms = member_norms(gradients, n_members)
        finite = norms.isfinite()
        lengths = [rho / (norms + 1e-12) for _, rho in climbing]
        if not finite.all():  # a member without a direction stays; 0 * inf would not
            gradients = [torch.where(per_member(finite, g, n_members), g, 0.0) for g in gradients]
            lengths = [torch.where(finite, length, 0.0) for length in lengths]
        scales = [per_member(s, p, n_members) for s, p in zip(lengths, params, strict=True)]
        torch._foreach_add_(params, torch._foreach_mul(gradients, scales))
