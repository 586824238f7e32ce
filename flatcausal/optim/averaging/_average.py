"""What every average of weights has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from flatcausal.exceptions import ParameterError
from flatcausal.optim._target import Target, tensors_in


class Average:
    """Mean of K members' weights along their trajectories, which it reads and never writes.

    A recipe's ``build`` makes it. A member whose weights cease to be finite keeps the mean of those before.

    Parameters
    ----------
    params : sequence of Tensor
        The weights under training.
    n_members : int
        Independent models K: the first axis of each tensor if K > 1.

    Attributes
    ----------
    active : Tensor of bool, shape (K,)
        Members whose average goes on; set entries to False to end it.
    """

    _state: ClassVar[tuple[str, ...]] = ("active", "count", "mean")

    def __init__(self, params: Sequence[Tensor], n_members: int):
        self.params = list(params)
        self.n_members = n_members
        weights = self._weights()
        self.active = torch.ones(n_members, dtype=torch.bool, device=weights.device)
        self.count = torch.zeros(n_members, dtype=torch.int64, device=weights.device)
        self.mean = torch.zeros_like(weights)

    def after_step(self, validation_loss: Callable[[], Any] | None = None) -> None:
        """Take note of an optimizer step.

        Parameters
        ----------
        validation_loss : callable, optional
            Gives the loss of the present weights on held-out rows, of each member (K,); SWAD alone calls it,
            and only where it evaluates.
        """

    def after_epoch(self) -> None:
        """Take note that an epoch is over, after its last step."""

    @property
    def exists(self) -> Tensor:
        """Members that have an average, bool of shape (K,)."""
        return self.count > 0

    def matrix(self) -> Tensor:
        """The average, one row a member, shape (K, P); where there is none yet, the present weights."""
        return torch.where(self.exists[:, None], self._mean(), self._weights())

    @torch.no_grad()
    def copy_to(self, module_or_params: Any) -> None:
        """Write the average into tensors: the model's under training if you like, or those of a copy.

        Parameters
        ----------
        module_or_params : nn.Module, or iterable of Tensor or of parameter groups
            In the order and the shapes of those that it averages.

        Raises
        ------
        ParameterError
            If shapes differ.
        """
        targets = tensors_in(Target.of(module_or_params, self.n_members).params)
        ours, theirs = ([tuple(t.shape) for t in tensors] for tensors in (self.params, targets))
        if ours != theirs:
            raise ParameterError(
                f"module_or_params must hold tensors of the shapes {ours}, got {theirs}: pass a copy of the "
                f"model."
            )
        sizes = [tensor.numel() // self.n_members for tensor in targets]
        for target, share in zip(targets, self.matrix().split(sizes, dim=1), strict=True):
            target.copy_(share.reshape(target.shape))

    def state_dict(self) -> dict[str, Any]:
        """All that the next step needs; tensors have the members on their first axis."""
        state = {name: getattr(self, name) for name in self._state}
        return {name: v.clone() if isinstance(v, Tensor) else v for name, v in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        for name in self._state:
            value = state[name]
            is_tensor = isinstance(value, Tensor)
            setattr(self, name, value.to(self.active.device, copy=True) if is_tensor else value)

    def _mean(self) -> Tensor:
        """Rows (K, P) of members that have an average; others' are of no use."""
        return self.mean

    def _weights(self) -> Tensor:
        """The present weights, one row a member; in half precision a mean would soon stand still."""
        rows = [tensor.detach().reshape(self.n_members, -1) for tensor in self.params]
        matrix = rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
        return matrix.to(torch.promote_types(matrix.dtype, torch.float32))

    def _finite_weights(self) -> Tensor:
        """The present weights; a member whose are not finite takes no further part."""
        weights = self._weights()
        # weights.isfinite().all(1), twenty times as fast
        self.active = self.active & weights.abs().amax(1).isfinite()
        return weights

    def _include(self, rate: Callable[[Tensor], Tensor] = torch.reciprocal) -> None:
        """Move towards the present weights by ``rate`` of their count: an equal share of all by default."""
        weights = self._finite_weights()
        self.count = self.count + self.active
        self.mean = moved(self.mean, weights, rate(self.count.to(weights.dtype)), self.active)


def moved(mean: Tensor, weights: Tensor, rate: Tensor, members: Tensor) -> Tensor:
    """Some members' rows of ``mean`` moved towards ``weights`` by a share each; 1 is there, bit for bit."""
    return torch.where(members[:, None], mean.lerp(weights, rate[:, None].to(mean.dtype)), mean)
