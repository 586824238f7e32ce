"""Local random search: the best of some random directions, if it goes down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from flatcausal._members import per_member
from flatcausal._validation import check_boolean, check_integer
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._acceptance import judge_of, objective
from flatcausal.optim._draws import random_states, rewind
from flatcausal.optim._noise import DrawsNoise
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target, frozen_statistics


class RandomSearch(Recipe):
    r"""Local random search, ``n_dirs + 1`` forward passes and no gradient per step.

    .. math:: w \leftarrow w + \eta\, \zeta_{j^*} \ \text{ if } L(w + \eta\, \zeta_{j^*}) < L(w), \qquad
              j^* = \operatorname*{argmin}_j L(w + \eta\, \zeta_j), \quad \zeta_j \sim \mathcal N(0, I)

    on one mini-batch, whose loss never rises. What a direction gains falls with the square root of the number
    of weights: a lower bound for what gradients must give.

    Parameters
    ----------
    n_dirs : int, default=10
        Directions tried.
    normalized : bool, default=False
        Draw directions of length 1 instead, over all weights of a member.

    Notes
    -----
    ``lr`` is the step :math:`\eta`. The loss takes in half of ``weight_decay`` times the squared norm of the
    weights. A closure with a method ``losses()``, as the estimators of this package pass, is asked for losses
    without gradients; any other closure is called ``n_dirs + 1`` times, and what gradients it computes are
    wasted and not counted. A study refuses the method: there is no equal number of gradients.

    References
    ----------
    L. A. Rastrigin, "The convergence of the random search method in the extremal control of a many parameter
    system", Automation and Remote Control 1963, takes one direction at a time.

    Examples
    --------
    >>> from flatcausal.optim import RandomSearch
    >>> RandomSearch(n_dirs=20).gradients_per_step
    0
    """

    needs_closure = True

    def __init__(self, n_dirs: int = 10, normalized: bool = False):
        self.n_dirs = n_dirs
        self.normalized = normalized

    @property
    def default_lr(self) -> float:
        """Step where none is given."""
        return 0.01

    @property
    def gradients_per_step(self) -> int:
        """None."""
        return 0

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        noise = "sphere" if check_boolean("normalized", self.normalized) else "gaussian"
        n_dirs = check_integer("n_dirs", self.n_dirs, low=1)
        return RandomSearchOptimizer(target, seeds, n_dirs, noise, {"lr": lr, "weight_decay": weight_decay})


class RandomSearchOptimizer(DrawsNoise, Optimizer):
    """The torch optimizer that :class:`RandomSearch` builds.

    Parameters
    ----------
    target : Target
        What is trained.
    seeds : SeedSequence
        Source of the directions; a generator for each member.
    n_dirs : int
        Directions tried.
    noise : str
        Law of a direction.
    defaults : dict
        Hyper-parameters of a parameter group.
    """

    def __init__(self, target: Target, seeds, n_dirs: int, noise: str, defaults: dict[str, Any]):
        super().__init__(target.params, defaults)
        self.n_dirs = n_dirs
        self._take_noise(target, noise, seeds)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "n_dirs": self.n_dirs}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss before it.

        Running statistics move in the first pass only; the weights of the last completed step come back
        when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError("random search needs step(closure): it compares losses itself.")
        judge, n_members = judge_of(closure), self.target.n_members
        moving = [(p, g["lr"]) for g in self.param_groups for p in g["params"] if p.requires_grad]
        if not moving:
            return judge()
        params, lengths = [p for p, _ in moving], [lr for _, lr in moving]
        starts = [p.clone() for p in params]
        best = [p.clone() for p in params]
        draws = random_states() if self.target.has_dropout else None
        try:
            loss = judge()
            least = objective(loss, self.param_groups, n_members)
            with frozen_statistics(self.target.normalizations):
                for _ in range(self.n_dirs):
                    trials = self.noise.like(params)
                    torch._foreach_mul_(trials, lengths)
                    torch._foreach_add_(trials, starts)
                    torch._foreach_copy_(params, trials)
                    if draws is not None:  # losses are compared under the same dropout masks
                        rewind(draws)
                    values = objective(judge(), self.param_groups, n_members)
                    better = values < least
                    least = torch.where(better, values, least)
                    for kept, trial in zip(best, trials, strict=True):
                        kept.copy_(torch.where(per_member(better, kept, n_members), trial, kept))
        except BaseException:
            torch._foreach_copy_(params, starts)
            raise
        torch._foreach_copy_(params, best)
        return loss
