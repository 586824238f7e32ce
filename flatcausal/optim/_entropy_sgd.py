"""Entropy-SGD: descend a local entropy whose gradient short Langevin walks estimate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_generators, member_normal
from flatcausal._validation import check_integer, check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target, frozen_statistics


class EntropySGD(Recipe):
    r"""Entropy-SGD, Algorithm 1 of Chaudhari et al. (2017); ``L`` gradients per step.

    An inner walk starts at the weights :math:`x` with :math:`x' = \mu = x` and repeats ``L`` times, each
    time on a fresh mini-batch :math:`\Xi`,

    .. math:: x' \leftarrow x' - \eta' [\nabla f_\Xi(x') - \gamma_t (x - x')] + \sqrt{\eta'}\,
              \varepsilon\, \mathcal N(0, I), \qquad \mu \leftarrow (1 - \alpha) \mu + \alpha x'

    and the step is :math:`x \leftarrow x - \eta (x - \mu)` with :math:`\gamma_t = \gamma_0 (1 + \gamma_1)^t`.
    As in the released code, the outer step leaves out the paper's factor :math:`\gamma`: ``lr`` in (0, 1]
    is how far the weights relax towards :math:`\mu`.

    Parameters
    ----------
    L : int, default=5
        Inner steps. With 0 the recipe builds plain SGD with the same momentum.
    inner_lr : float, default=0.1
        Inner learning rate :math:`\eta'`; schedules act on ``lr`` alone.
    gamma0, gamma1 : float, default=0.03, 1e-3
        Scope and its growth per step.
    gamma_max : float, optional
        Largest scope; :math:`1 / \eta'` if None. From :math:`2 / \eta'` on the walk would diverge.
    noise : float, default=1e-4
        Standard deviation :math:`\varepsilon` of the Langevin noise.
    alpha : float, default=0.75
        Weight of the newest point in the average.
    momentum : float, default=0.9
        Momentum of the inner walk, on :math:`\nabla f` alone; it starts anew with each step.
    nesterov : bool, default=True
        Look ahead along that momentum.

    Notes
    -----
    Stock skorch and a plain closure repeat one mini-batch in the inner walk; the estimators of this
    package pass ``batches_per_step`` fresh ones.
    """

    needs_closure = True

    def __init__(
        self,
        L: int = 5,
        inner_lr: float = 0.1,
        gamma0: float = 0.03,
        gamma1: float = 1e-3,
        gamma_max: float | None = None,
        noise: float = 1e-4,
        alpha: float = 0.75,
        momentum: float = 0.9,
        nesterov: bool = True,
    ):
        self.L = L
        self.inner_lr = inner_lr
        self.gamma0 = gamma0
        self.gamma1 = gamma1
        self.gamma_max = gamma_max
        self.noise = noise
        self.alpha = alpha
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given: jump to the average."""
        return 1.0

    @property
    def gradients_per_step(self) -> int:
        """One for each inner step."""
        return max(check_integer("L", self.L, low=0), 1)

    @property
    def batches_per_step(self) -> int:
        """One for each inner step."""
        return self.gradients_per_step

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        momentum = check_real("momentum", self.momentum, low=0.0, high=1.0, open_high=True)
        if check_integer("L", self.L, low=0) == 0:
            nesterov = self.nesterov and momentum > 0
            return torch.optim.SGD(
                target.params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
            )
        inner_lr = check_real("inner_lr", self.inner_lr, low=0.0, open_low=True)
        gamma_max = 1 / inner_lr if self.gamma_max is None else self.gamma_max
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "inner_lr": inner_lr,
            "scope_max": check_real("gamma_max", gamma_max, low=0.0),
            "noise": check_real("noise", self.noise, low=0.0),
            "momentum": momentum,
            "nesterov": self.nesterov,
            "scope": check_real("gamma0", self.gamma0, low=0.0),
            "scope_growth": check_real("gamma1", self.gamma1, low=0.0),
            "alpha": check_real("alpha", self.alpha, low=0.0, high=1.0),
        }
        return EntropySGDOptimizer(target, self.L, defaults, seeds)


class EntropySGDOptimizer(Optimizer):
    """The torch optimizer that :class:`EntropySGD` builds.

    Parameters
    ----------
    target : Target
        What is trained.
    L : int
        Inner steps, at least 1.
    defaults : dict
        Hyper-parameters of a parameter group.
    seeds : SeedSequence
        Source of the Langevin noise; a generator for each member.
    """

    def __init__(self, target: Target, L: int, defaults: dict[str, Any], seeds):
        super().__init__(target.params, {**defaults, "n_steps_taken": 0})
        self.target = target
        self.L = L
        self.generators = member_generators(seeds, target.n_members)

    def state_dict(self) -> dict[str, Any]:
        """Groups, and where the noise generators stand."""
        return {**super().state_dict(), "generators": [g.get_state() for g in self.generators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "generators"})
        for generator, state in zip(self.generators, state_dict["generators"], strict=True):
            generator.set_state(state)

    def __getstate__(self) -> dict[str, Any]:
        own = {"target": self.target, "L": self.L, "generators": self.generators}
        return {**super().__getstate__(), **own}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss at the weights before it.

        The closure runs ``L`` times. Running statistics move in the first pass only; the weights of the
        last completed step come back when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError("Entropy-SGD needs step(closure): it computes its gradients itself.")
        closure = torch.enable_grad()(closure)
        params = [p for group in self.param_groups for p in group["params"]]
        anchors = [p.clone() for p in params]
        try:
            loss = closure()
            walks = [_Walk(group) for group in self.param_groups]
            self._walk(walks)
            with frozen_statistics(self.target.normalizations):
                for _ in range(self.L - 1):
                    closure()
                    self._walk(walks)
        except BaseException:
            torch._foreach_copy_(params, anchors)
            raise
        for walk in walks:
            walk.finish()
        return loss

    def _walk(self, walks: list[_Walk]) -> None:
        for walk in walks:
            walk.advance(self.generators)


class _Walk:
    """The inner walk of one parameter group within one step; tensors without a gradient take no part."""

    def __init__(self, group: dict[str, Any]):
        self.group = group
        self.params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
        self.anchors = [p.clone() for p in self.params]
        self.means = [p.clone() for p in self.params]
        self.buffers: list[Tensor] | None = None
        grown = group["scope"] * (1 + group["scope_growth"]) ** group["n_steps_taken"]
        self.scope = min(grown, group["scope_max"])

    def advance(self, generators: list[torch.Generator]) -> None:
        """One inner step along the gradients at hand."""
        group, params = self.group, self.params
        if not params:
            return
        slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        if group["weight_decay"]:
            slopes = list(torch._foreach_add(slopes, params, alpha=group["weight_decay"]))
        if group["momentum"]:
            if self.buffers is None:
                self.buffers = [slope.clone() for slope in slopes]
            else:
                torch._foreach_mul_(self.buffers, group["momentum"])
                torch._foreach_add_(self.buffers, slopes)
            if group["nesterov"]:
                slopes = list(torch._foreach_add(slopes, self.buffers, alpha=group["momentum"]))
            else:
                slopes = self.buffers
        pull = torch._foreach_sub(self.anchors, params)
        torch._foreach_add_(params, slopes, alpha=-group["inner_lr"])
        torch._foreach_add_(params, pull, alpha=group["inner_lr"] * self.scope)
        if group["noise"]:
            noises = [member_normal(p, generators) for p in params]
            torch._foreach_add_(params, noises, alpha=group["inner_lr"] ** 0.5 * group["noise"])
        torch._foreach_lerp_(self.means, params, group["alpha"])

    def finish(self) -> None:
        """Relax from the anchors towards the means."""
        if self.params:
            torch._foreach_lerp_(self.anchors, self.means, float(self.group["lr"]))
            torch._foreach_copy_(self.params, self.anchors)
        self.group["n_steps_taken"] += 1
