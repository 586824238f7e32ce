"""Basin hopping: perturb, search locally, accept or come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import per_member
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import ParameterTypeError
from flatcausal.optim._acceptance import judge_of, objective
from flatcausal.optim._draws import drawing_as, random_states
from flatcausal.optim._noise_in_model import NiMSGD
from flatcausal.optim._noisy_sgd import NoisyRecipe, NoisySGD
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target, frozen_statistics


class BasinHopping(NoisyRecipe):
    r"""Basin hopping (Wales & Doye, 1997): one hop per step, of ``ls_steps`` gradients.

    .. math:: X = Y + \sigma \zeta \quad\text{or}\quad X = Y - \eta (\nabla L(Y) + \sigma \zeta), \qquad
              Y' = \mathrm{SGD}^{\,n}(X)

    with :math:`n` = ``ls_steps`` steps of SGD on fresh mini-batches. Each member moves to :math:`Y'` or goes
    back to :math:`Y`, where weights, momentum and BatchNorm's running statistics are as they were. With one
    step, noise in the model and ``accept="always"`` it is :class:`NiMSGD`.

    Parameters
    ----------
    perturb : {"model", "grad"}, default="model"
        Where the noise is put (Inan, Liu & Shehu, 2024); ``"grad"`` costs one gradient more.
    accept : {"always", "monotonic", "metropolis"}, default="always"
        Accept every hop; those with :math:`L(Y') < L(Y)`; or those with
        :math:`L(Y') - L(Y) < -T \log u`, :math:`u` uniform, which are all that go down and a share
        :math:`e^{-\Delta L / T}` of those that go up.
    ls_steps : int, default=10
        Length of the local search.
    sigma : float, default=1e-2
        Size of the noise; a parameter group may have a ``"sigma"`` of its own.
    noise : {"gaussian", "sphere", "ball"}, default="gaussian"
        Law of :math:`\zeta`, as in :class:`NiMSGD`.
    temperature : float, default=1e-2
        :math:`T` of the Metropolis rule: 0 is ``"monotonic"`` and infinity ``"always"``.
    momentum, nesterov
        Of the local search, as in :class:`SGD`.

    Notes
    -----
    Losses to accept by are those on the step's first mini-batch, with half the weight decay times the squared
    norm of the weights. A closure with a method ``losses()``, as the estimators of this package pass, is
    asked for them without gradients: two forward passes a hop, one if ``perturb="grad"``, none if every
    hop is accepted. Any other closure is called that many times beyond ``gradients_per_step``.

    References
    ----------
    D. J. Wales and J. P. K. Doye, "Global Optimization by Basin-Hopping", J. Phys. Chem. A 1997; for the two
    perturbations as of :class:`NiMSGD`.

    Examples
    --------
    >>> from flatcausal.optim import BasinHopping
    >>> BasinHopping(perturb="grad", accept="metropolis", ls_steps=20).gradients_per_step
    21
    """

    needs_closure = True

    def __init__(
        self,
        perturb: str = "model",
        accept: str = "always",
        ls_steps: int = 10,
        sigma: float = 1e-2,
        noise: str = "gaussian",
        temperature: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(sigma, noise, momentum, nesterov)
        self.perturb = perturb
        self.accept = accept
        self.ls_steps = ls_steps
        self.temperature = temperature

    @property
    def gradients_per_step(self) -> int:
        """One for each step of the local search, and one for the perturbation in the gradient."""
        return check_integer("ls_steps", self.ls_steps, low=1) + (self.perturb == "grad")

    @property
    def batches_per_step(self) -> int:
        """One for each gradient."""
        return self.gradients_per_step

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        n_steps = check_integer("ls_steps", self.ls_steps, low=1)
        perturb = check_choice("perturb", self.perturb, ("model", "grad"))
        temperatures = {"always": math.inf, "monotonic": 0.0, "metropolis": self.temperature}
        temperature = temperatures[check_choice("accept", self.accept, temperatures)]
        if temperature != math.inf:
            temperature = check_real("temperature", temperature, low=0.0)
        hyper = self._hyper(lr, weight_decay)
        return BasinHoppingOptimizer(target, seeds, perturb, n_steps, temperature, **hyper)

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """One accepted step is noise in the model; the Metropolis rule has the others as its limits."""
        in_model = NiMSGD(self.sigma, self.noise, self.momentum, self.nesterov)
        yield self._at(perturb="model", accept="always", ls_steps=1), in_model
        for temperature, accept in ((0.0, "monotonic"), (math.inf, "always")):
            yield self._at(accept="metropolis", temperature=temperature), self._at(accept=accept)


class BasinHoppingOptimizer(NoisySGD):
    """The torch optimizer that :class:`BasinHopping` builds.

    Parameters
    ----------
    target : Target
        What is trained.
    seeds : SeedSequence
        Source of the noise; a generator for each member.
    perturb : str
        Where the noise is put.
    ls_steps : int
        Length of the local search.
    temperature : float
        Of acceptance; 0 is monotonic, infinity accepts all.
    **hyper
        Parameters of ``NoisySGD``.
    """

    def __init__(self, target: Target, seeds, perturb: str, ls_steps: int, temperature: float, **hyper: Any):
        super().__init__(target, seeds, **hyper)
        self.perturb = perturb
        self.ls_steps = ls_steps
        self.temperature = temperature

    def __getstate__(self) -> dict[str, Any]:
        own = {"perturb": self.perturb, "ls_steps": self.ls_steps, "temperature": self.temperature}
        return {**super().__getstate__(), **own}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one hop; returns the loss before it, or after its noise if nothing else asks for that before.

        Running statistics move in the first pass only; weights, momentum and statistics of the last completed
        step come back when the closure raises.
        """
        if closure is None:
            raise ParameterTypeError("basin hopping needs step(closure): it searches along gradients itself.")
        start = _Snapshot(self)
        try:
            loss, accepted = self._hop(closure, judge_of(closure))
        except BaseException:
            start.restore(torch.ones(self.target.n_members, dtype=torch.bool))
            raise
        self._return_unused(start.weights)
        if accepted is not None:
            start.restore(~accepted)
        return loss

    def _hop(self, closure: Callable[[], Any], judge: Callable[[], Any]) -> tuple[Any, Tensor | None]:
        """Perturb and search; returns the first loss and which members accept, None if all do."""
        gradients = torch.enable_grad()(closure)
        selective = self.temperature != math.inf
        draws = random_states() if selective and self.target.has_dropout else None
        n_steps = self.ls_steps
        if self.perturb == "grad":
            loss, before = self._valued(gradients, selective)
            self._shake_gradients()
            self._descend()
        elif selective:
            loss, before = self._valued(judge, selective)
            self._shake_weights()
        else:
            self._shake_weights()
            loss, before = self._valued(gradients, selective)
            self._descend()
            n_steps -= 1
        with frozen_statistics(self.target.normalizations):
            for _ in range(n_steps):
                gradients()
                self._descend()
            if before is None:
                return loss, None
            with nullcontext() if draws is None else drawing_as(draws):  # the same dropout masks as before
                _, after = self._valued(judge, selective)
        return loss, after - before < self._threshold(before)  # neither NaN nor a tie goes down

    def _valued(self, evaluate: Callable[[], Any], selective: bool) -> tuple[Any, Any]:
        """A loss as it is given, and as what members are accepted by."""
        loss = evaluate()
        return loss, objective(loss, self.param_groups, self.target.n_members) if selective else None

    def _threshold(self, like: Tensor) -> Tensor:
        """Rise that a member accepts: T times an exponential number, half the square of a normal pair."""
        if self.temperature == 0:
            return torch.zeros_like(like)
        pair = self.noise.normal(2, self._params[0].dtype).to(like)
        return 0.5 * self.temperature * pair.square().sum(1)


class _Snapshot:
    """Weights, momentum and running statistics as they were."""

    def __init__(self, optimizer: NoisySGD):
        self.optimizer = optimizer
        self.params = optimizer._params
        self.weights = [p.clone() for p in self.params]
        self.momenta = [None if b is None else b.clone() for b in self._momenta()]
        self.buffers = self._member_buffers()
        self.statistics = [b.clone() for b in self.buffers]

    def _momenta(self) -> list[Tensor | None]:
        return [
            self.optimizer.state[p].get("momentum_buffer") if p in self.optimizer.state else None
            for p in self.params
        ]

    def _member_buffers(self) -> list[Tensor]:
        """Running statistics; of a population, those with a row for each member."""
        target = self.optimizer.target
        found = [b for layer in target.normalizations for b in layer.buffers(recurse=False)]
        k = target.n_members
        return found if k == 1 else [b for b in found if b.dim() and len(b) == k]

    def restore(self, members: Tensor) -> None:
        """Bring back those of ``members``, shape (K,)."""
        pairs = list(zip(self.params + self.buffers, self.weights + self.statistics, strict=True))
        for now, then in zip(self._momenta(), self.momenta, strict=True):
            if now is not None:  # a momentum that began since then is as none when zero
                pairs.append((now, torch.zeros_like(now) if then is None else then))
        for now, then in pairs:
            chosen = per_member(members.to(now.device), now, len(members))
            now.copy_(torch.where(chosen, then, now))
