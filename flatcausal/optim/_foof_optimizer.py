"""The torch optimizer that solves each linear layer's least-squares problem."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._members import member_norms, per_member
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim._foof_layers import LinearBlock, linear_blocks
from flatcausal.optim._noise import DrawsNoise
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target, own_attributes


class FOOFOptimizer(Optimizer):
    """The torch optimizer that ``FOOF`` builds.

    Parameters
    ----------
    target : Target
        What is trained.
    rest : Recipe
        What moves the numbers of no linear layer.
    seeds : SeedSequence
        For ``rest``.
    defaults : dict
        Hyper-parameters of the parameter group.
    """

    def __init__(self, target: Target, rest: Recipe, seeds, defaults: dict[str, Any]):
        self.blocks, self.moments, handles = linear_blocks(target)
        if not self.blocks:
            raise ParameterError(
                f"FOOF found no linear layer with weights of its own in {type(target.layers[0]).__name__}: "
                f"pass a model with nn.Linear layers, or another optimizer."
            )
        self.target = target
        target.observers.append(self.moments)
        super().__init__(target.params, defaults)
        self.stand_ins = self._stand_ins()
        self.rest = self._build_rest(rest, seeds)
        self._take_rest_state()
        self.moments.belong_to(self)
        for handle in handles:  # a model may outlive many optimizers
            weakref.finalize(self, handle.remove).atexit = False

    # ---- the rest

    def _stand_ins(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each population: the matrix, its columns without a layer, and a tensor in their place."""
        populations = dict.fromkeys(block.home for block in self.blocks if block.columns is not None)
        found = []
        for population in populations:
            free = torch.ones(population.shape[1], dtype=torch.bool)
            for block in self.blocks:
                if block.home is population:
                    free[block.columns] = False
            columns = free.nonzero().squeeze(1).to(population.device)
            found.append((population, columns, population.detach()[:, columns]))
        return found

    def _build_rest(self, rest: Recipe, seeds) -> Optimizer:
        own = {p for block in self.blocks for p in block.params}
        params = [part for _, _, part in self.stand_ins]
        params += [p for p in self.target.params if p not in own]
        target = Target(params or [{"params": []}], self.target.n_members, self.target.layers)
        group = self.param_groups[0]
        built = rest._build(target, group["lr"], group["weight_decay"], seeds)
        if isinstance(built, DrawsNoise):
            raise ParameterTypeError(f"rest must be a recipe without noise of its own, got {rest!r}.")
        return built

    def _rest_homes(self) -> list[tuple[Tensor, Tensor]]:
        """Each tensor that the rest moves, and the one under which its state is kept."""
        homes: dict[Any, Any] = {part: population for population, _, part in self.stand_ins}
        return [(p, homes.get(p, p)) for group in self.rest.param_groups for p in group["params"]]

    def _take_rest_state(self) -> None:
        for tensor, home in self._rest_homes():
            self.state[home]["rest"] = self.rest.state[tensor]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its tensors belong to no layer and go to ``rest``."""
        super().add_param_group(param_group)
        if hasattr(self, "rest"):
            params = self.param_groups[-1]["params"]
            self.rest.add_param_group({"params": params})
            self._take_rest_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave."""
        super().load_state_dict(state_dict)
        for tensor, home in self._rest_homes():
            self.rest.state[tensor] = self.state[home].setdefault("rest", {})

    def __getstate__(self) -> dict[str, Any]:
        return own_attributes(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.moments.belong_to(self)

    # ---- a step

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss.

        With a closure, passes before it do not count.
        """
        loss = None
        if closure is not None:
            self.moments.forget()
            with torch.enable_grad():
                loss = closure()
        self._factorise()
        self._descend()
        self._step_rest()
        return loss

    def _layer_state(self, block: LinearBlock) -> dict[str, Any]:
        return self.state[block.home].setdefault(block.name, {})

    def _factorise(self) -> None:
        """Average the second moments, and factorise them every ``T`` steps."""
        group, taken = self.param_groups[0], self.moments.take()
        seen = [(self._layer_state(b), m) for b, m in zip(self.blocks, taken, strict=True) if m is not None]
        if not seen:
            return
        for state, moment in seen:
            if "second_moment" not in state:
                state["second_moment"], state["n_averaged"] = torch.zeros_like(moment), 0
        averages, moments = [state["second_moment"] for state, _ in seen], [moment for _, moment in seen]
        torch._foreach_lerp_(averages, moments, 1 - group["ema"])
        for state, _ in seen:
            if state["n_averaged"] % group["T"] == 0:
                share = 1 - group["ema"] ** (state["n_averaged"] + 1)
                state["factor"] = damped_cholesky(state["second_moment"] / share, group["damping"])
            state["n_averaged"] += 1

    def _descend(self) -> None:
        group, n_members = self.param_groups[0], self.target.n_members
        found = [(block, g) for block in self.blocks if (g := block.gradient()) is not None]
        if not found:
            return
        states = [self._layer_state(block) for block, _ in found]
        gradients = self._with_momentum(states, [gradient for _, gradient in found])
        changes = [_solved(g, state) for g, state in zip(gradients, states, strict=True)]
        if group["norm_match"]:
            tiny = torch.finfo(changes[0].dtype).tiny
            ratios = member_norms(gradients, n_members) / member_norms(changes, n_members).clamp_min(tiny)
            changes = torch._foreach_mul(changes, [per_member(ratios, c, n_members) for c in changes])
        weights: list[Tensor] = []
        steps: list[Tensor] = []
        for (block, _), change in zip(found, changes, strict=True):
            parts = zip(block.params, block.views(block.params), change.split(block.widths, 2), strict=True)
            for p, view, part in parts:
                if p.grad is not None:
                    weights.append(view)
                    steps.append(part.to(view.dtype))
        if group["weight_decay"]:
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, steps, alpha=-group["lr"])

    def _with_momentum(self, states: list[dict[str, Any]], gradients: list[Tensor]) -> list[Tensor]:
        momentum = self.param_groups[0]["momentum"]
        if not momentum:
            return gradients
        for state, gradient in zip(states, gradients, strict=True):
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
        buffers = [state["momentum_buffer"] for state in states]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        return buffers

    def _step_rest(self) -> None:
        for population, columns, part in self.stand_ins:
            part.copy_(population[:, columns])
            part.grad = None if population.grad is None else population.grad[:, columns]
        for ours, theirs in zip(self.param_groups, self.rest.param_groups, strict=True):
            theirs["lr"], theirs["weight_decay"] = ours["lr"], ours["weight_decay"]
        self.rest.step()
        for population, columns, part in self.stand_ins:
            if part.grad is not None:
                population.index_copy_(1, columns, part)


def _solved(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """The gradient (K, o, d) times the inverse of the damped second moments."""
    if "factor" not in state:
        raise ParameterTypeError(
            "FOOF has a gradient of a linear layer whose input it never saw: compute it by a forward pass in "
            "training mode, of the module that was given to build."
        )
    factor = state["factor"]
    return torch.cholesky_solve(gradient.to(factor.dtype).transpose(1, 2), factor).transpose(1, 2)


def damped_cholesky(moment: Tensor, damping: float) -> Tensor:
    """Cholesky factor of ``moment + damping * I``, each (d, d).

    Where a finite matrix has none, its damping is raised in powers of ten, from the rounding error of its
    mean diagonal, until it has.
    """
    eye = torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
    factor, info = torch.linalg.cholesky_ex(moment + damping * eye)
    singular = (info > 0) & moment.isfinite().all((1, 2))
    extra = torch.finfo(moment.dtype).eps * moment.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
    while singular.any():
        raised, info = torch.linalg.cholesky_ex(moment + (damping + extra)[:, None, None] * eye)
        factor = torch.where((singular & (info == 0))[:, None, None], raised, factor)
        singular &= info > 0
        extra = 10 * extra
    return factor
