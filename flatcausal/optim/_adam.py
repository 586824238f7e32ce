"""Adam, by torch's fused kernel, which is made to treat each member alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatcausal._validation import check_real
from flatcausal.exceptions import ParameterError
from flatcausal.optim._recipe import Recipe
from flatcausal.optim._target import Target


class FusedByMember(Optimizer):
    """A fused kernel of torch, applied to each member of tensors that stack them on their first axis.

    On a whole tensor the kernel rounds elsewhere at the edges of vectors and of threads' shares than within:
    a member's last bit would depend on its neighbours.
    """

    kernel: ClassVar[Callable[..., None]]

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
        type(self).kernel(
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


class MemberAdam(FusedByMember, torch.optim.Adam):
    """torch's Adam, its fused kernel applied to each member apart."""

    kernel = staticmethod(torch._fused_adam_)


class Adam(Recipe):
    r"""Adam with weight decay as an L2 penalty, one gradient per step.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2,
              \qquad w \leftarrow w - \eta\, \hat m / (\sqrt{\hat v} + \epsilon)

    where hats divide by :math:`1 - \beta^t`, the share of the averages that is not their start at zero.

    Parameters
    ----------
    betas : tuple of float, default=(0.9, 0.999)
        Decay rates of the first and second moment.
    eps : float, default=1e-8
        Added to the root of the second moment, greater than 0.

    References
    ----------
    D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.
    """

    _whole: ClassVar[Any] = torch.optim.Adam
    _by_member: ClassVar[Any] = MemberAdam

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8):
        self.betas = betas
        self.eps = eps

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given."""
        return 0.02

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise ParameterError(f"betas must be two numbers in [0, 1), got {self.betas!r}.")
        first, second = (check_real("betas", b, low=0.0, high=1.0, open_high=True) for b in self.betas)
        hyper = {"lr": lr, "betas": (first, second), "weight_decay": weight_decay}
        hyper["eps"] = check_real("eps", self.eps, low=0.0, open_low=True)
        if not _can_fuse(target.params):
            return self._whole(target.params, **hyper)
        return (self._whole if target.n_members == 1 else self._by_member)(target.params, **hyper, fused=True)


def _can_fuse(params: list[Any]) -> bool:
    return all(
        isinstance(p, Tensor) and p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params
    )
