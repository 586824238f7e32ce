"""Gradient descent as textbooks have it, on torch's own optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterError
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target


class SGD(Recipe):
    r"""Stochastic gradient descent, one gradient per step.

    .. math:: b \leftarrow \mu b + g, \qquad w \leftarrow w - \eta\, b

    with :math:`g + \mu b` in place of :math:`b` under Nesterov's rule.

    Parameters
    ----------
    momentum : float, default=0.0
        Factor :math:`\mu` in [0, 1).
    nesterov : bool, default=False
        Look ahead along the momentum; needs ``momentum > 0``, and is ignored without.

    Examples
    --------
    >>> import torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = SGD().build([w], lr=0.1)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> w
    tensor([0.8000], requires_grad=True)
    """

    def __init__(self, momentum: float = 0.0, nesterov: bool = False):
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.1

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        momentum = check_real("momentum", self.momentum, low=0.0, high=1.0, open_high=True)
        return torch.optim.SGD(
            target.params,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=self.nesterov and momentum > 0,
        )


class GD(SGD):
    """Gradient descent on the whole training set, one step per pass over the data.

    The update is that of :class:`SGD`; the estimators see ``full_batch`` and feed all rows at once.
    In plain PyTorch the closure must do so.
    """

    full_batch = True


class Momentum(SGD):
    """:class:`SGD` with heavy-ball momentum 0.9 by default (Polyak, 1964)."""

    def __init__(self, momentum: float = 0.9, nesterov: bool = False):
        super().__init__(momentum, nesterov)


class Adam(Recipe):
    """Adam (Kingma & Ba, 2015) with weight decay as an L2 penalty, one gradient per step.

    Parameters
    ----------
    betas : tuple of float, default=(0.9, 0.999)
        Decay rates of the first and second moment.
    eps : float, default=1e-8
        Added to the root of the second moment.
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.betas = betas
        self.eps = eps

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.02

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        if len(self.betas) != 2:
            raise ParameterError(f"betas must be two numbers, got {self.betas!r}.")
        first, second = (check_real("betas", b, low=0.0, high=1.0, open_high=True) for b in self.betas)
        hyper = {"lr": lr, "betas": (first, second), "weight_decay": weight_decay}
        hyper["eps"] = check_real("eps", self.eps, low=0.0)
        if not _can_fuse(target.params):
            return torch.optim.Adam(target.params, **hyper)
        return (torch.optim.Adam if target.n_members == 1 else MemberAdam)(target.params, **hyper, fused=True)


def _can_fuse(params: list[Any]) -> bool:
    return all(
        isinstance(p, Tensor) and p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params
    )


class MemberAdam(torch.optim.Adam):
    """torch's Adam, its fused kernel applied to each member of tensors that stack them on their first axis.

    On a whole tensor the kernel rounds elsewhere at the edges of vectors and of threads' shares than within:
    a member's last bit would depend on its neighbours.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._step_members(param, param.grad, group)
        return loss

    def _step_members(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=param.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        state["step"] += 1
        first, second = group["betas"]
        stacked = (param, grad, state["exp_avg"], state["exp_avg_sq"])
        members, grads, means, squares = (list(tensor.unbind()) for tensor in stacked)
        torch._fused_adam_(
            members,
            grads,
            means,
            squares,
            [],
            [state["step"]] * len(members),
            lr=group["lr"],
            beta1=first,
            beta2=second,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
