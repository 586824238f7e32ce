"""What sharpness-aware optimizers have in common: a step uphill, and the descent of another optimizer."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_norms, per_member
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._draws import random_states, rewind
from flatcausal.optim._micro_batches import MeanGradient, MeanStatistics, split
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._sgd import SGD
from flatcausal.optim._subset import Subset
from flatcausal.optim._target import Target, own_attributes


class SharpnessAware(Recipe):
    """Hyper-parameters of an ascent and of the recipe that descends.

    A subclass implements ``_over(base, target, **ascent)``, which makes its torch optimizer.
    """

    needs_closure = True

    def __init__(self, rho: float, base: Recipe | str | None, m: int | None, perturb: str):
        self.rho = rho
        self.base = base
        self.m = m
        self.perturb = perturb

    @property
    def _descent(self) -> Recipe:
        from flatcausal.optim._registry import get, names  # which know this recipe

        base: Any = SGD() if self.base is None else self.base
        if isinstance(base, str):
            base = get(check_choice("base", base, names()))
        if not isinstance(base, Recipe):
            raise ParameterTypeError(
                f"base must be a recipe such as SGD() or Adam(), or a name, got {self.base!r}."
            )
        return base

    def set_params(self, **params: Any) -> SharpnessAware:
        """Set parameters; those of the default or a named base are reached by ``base__`` as well."""
        if any(key.startswith("base__") for key in params) and "base" not in params:
            self.base = self._descent
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
        """Twice those of the base; with ``m``, two passes over the batch all the same."""
        return 2 * self._descent.gradients_per_step

    @property
    def needs_layers(self) -> bool:
        """Whether ``perturb`` or the base asks what a tensor is."""
        return self.perturb != "all" or self._descent.needs_layers

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Without radius it is its base; with micro-batches as large as the batch it has none."""
        yield self._at(rho=0.0, m=None), self._descent
        yield self._at(m=sys.maxsize), self._at(m=None)

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        if self._descent.gradients_per_step != 1 or self._descent.needs_closure:
            raise ParameterTypeError(
                f"base must be a recipe that takes one gradient per step, at the weights as they are, "
                f"such as SGD() or Adam(); got {self.base!r}."
            )
        ascent = {
            "rho": check_real("rho", self.rho, low=0.0),
            "m": None if self.m is None else check_integer("m", self.m, low=1),
            "perturb": Subset.choose(target, "perturb", self.perturb, ("all", "norm", "weights", "no_norm")),
        }
        return self._over(self._descent._build(target, lr, weight_decay, seeds), target, **ascent)

    def _over(self, base: Optimizer, target: Target, **ascent: Any) -> Optimizer:
        raise NotImplementedError(f"{type(self).__name__} must define _over.")


class SharpnessAwareOptimizer(Optimizer):
    """Two passes over the batch, then a step of ``base``.

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
    m : int or None
        Rows of a micro-batch that climbs on its own; None: the whole batch.
    perturb : Subset
        Numbers that climb.
    """

    def __init__(self, base: Optimizer, target: Target, rho: float, m: int | None, perturb: Subset):
        for group in base.param_groups:
            group.setdefault("rho", rho)
        super().__init__(base.param_groups, {**base.defaults, "rho": rho})
        self.base = base
        self.target = target
        self.m = m
        self.perturb = perturb
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def _complete(self, group: dict[str, Any]) -> None:
        """Give a group what it needs beside the base's hyper-parameters."""
        group.setdefault("rho", self.defaults["rho"])

    def _check_known(self, tensors: Sequence[Tensor]) -> None:
        """Raise if an option names numbers by their kind, and that of ``tensors`` is unknown."""
        for tensor in tensors:
            self.perturb.mask(tensor)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base; it takes the common ``rho`` unless it names one."""
        if not hasattr(self, "base"):  # torch's constructor lists the base's groups
            return super().add_param_group(param_group)
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        self._check_known(params)
        self.base.add_param_group({"rho": self.defaults["rho"], **param_group, "params": params})

    @property
    def generators(self) -> list[torch.Generator]:
        """Those of a base with noise of its own; others can be put in their place."""
        return self.base.generators  # type: ignore[attr-defined]

    @generators.setter
    def generators(self, generators: Sequence[torch.Generator]) -> None:
        self.base.generators = generators  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """The base's, the state of its noise included."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the base's state, or that of a base alone; afterwards both still share it."""
        self.base.load_state_dict(state_dict)
        self._share()
        for group in self.param_groups:
            self._complete(group)

    def __getstate__(self) -> dict[str, Any]:
        return own_attributes(self)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss at the weights before it.

        Both passes are over the same rows. Running statistics move in the first pass only, and the weights
        are restored by copy, also when the closure raises.
        """
        if closure is None:
            name = type(self).__name__.removesuffix("Optimizer")
            raise ParameterTypeError(f"{name} needs step(closure): it computes two gradients itself.")
        self.target.forget_passes()
        parts = [closure] if self.m is None else split(closure, self.m)
        params = [p for group in self.param_groups for p in group["params"]]
        weights = [p.clone() for p in params]
        if len(parts) == 1:
            loss = self._look_uphill(parts[0], params, weights)
        else:
            loss = self._look_uphill_in_parts(parts, params, weights)
        self.base.step()
        return loss

    def _look_uphill(self, closure: Callable[[], Any], params: list[Tensor], weights: list[Tensor]) -> Any:
        """Leave the gradient to descend by in ``.grad``; returns the loss at ``weights``."""
        draws = random_states() if self.target.has_dropout else None
        with torch.enable_grad():
            loss = closure()
        kept = self._keep(params)
        try:
            self._ascend()
            if draws is not None:  # the same dropout masks in both passes
                rewind(draws)
            with self.target.unnoticed(), torch.enable_grad():
                closure()
        finally:
            torch._foreach_copy_(params, weights)
        self._combine(params, kept)
        return loss

    def _look_uphill_in_parts(self, parts: Sequence[Any], params: list[Tensor], weights: list[Tensor]) -> Any:
        """Mean of :meth:`_look_uphill` over micro-batches, by their rows."""
        n_rows = sum(part.n_rows for part in parts)
        statistics, gradient, loss = MeanStatistics(self.target.normalizations), MeanGradient(params), 0.0
        for part in parts:
            share = part.n_rows / n_rows
            loss = loss + share * self._look_uphill(part, params, weights)
            statistics.add(share)
            gradient.add(share)
        statistics.hand_over()
        gradient.hand_over()
        return loss

    def _keep(self, params: list[Tensor]) -> list[Tensor | None] | None:
        """What the second pass would overwrite and :meth:`_combine` needs."""
        return None

    def _combine(self, params: list[Tensor], kept: list[Tensor | None] | None) -> None:
        """Make the gradient to descend by of the second pass's."""

    def _radius(self, group: dict[str, Any]) -> float:
        """Length of the ascent."""
        return group["rho"]

    def _scaled(self, params: list[Tensor], gradients: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        r"""Return :math:`T g`, whose norm is made 1, and :math:`T^2 g`, the way up."""
        return gradients, gradients

    def _ascend(self) -> None:
        n_members = self.target.n_members
        params: list[Tensor] = []
        gradients: list[Tensor] = []
        radii: list[float] = []
        for group in self.param_groups:
            for p in group["params"]:
                mask = self.perturb.mask(p)
                if p.grad is None or mask is False:
                    continue
                params.append(p)
                gradient = p.grad.float() if p.dtype.itemsize < 4 else p.grad  # half has no 1e-12
                gradients.append(gradient if mask is True else torch.where(mask, gradient, 0.0))
                radii.append(self._radius(group))
        if not params:
            return
        measured, upward = self._scaled(params, gradients)
        norms = member_norms(measured, n_members)
        inverse = (norms + 1e-12).reciprocal_()
        if not math.isfinite(norms.sum().item()):  # a member without a direction stays; 0 * inf would not
            finite = norms.isfinite()
            upward = [torch.where(per_member(finite, g, n_members), g, 0.0) for g in upward]
            inverse = torch.where(finite, inverse, 0.0)
        scales = [per_member(rho * inverse, p, n_members) for rho, p in zip(radii, params, strict=True)]
        torch._foreach_addcmul_(params, upward, scales)
