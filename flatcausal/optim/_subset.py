"""Which numbers of a model an option of an optimizer concerns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim._target import Target

_KINDS = {
    "norm": ("norm",),
    "weights": ("weight", "embedding"),
    "no_norm": ("weight", "embedding", "bias"),
}


@dataclass(frozen=True)
class Subset:
    """The numbers that an option such as ``perturb="norm"`` names.

    Attributes
    ----------
    option : str
        The option, as its user wrote it.
    cure : str
        What to pass where it cannot be told which numbers these are.
    masks : dict or None
        For each tensor of the model whether it belongs, or which of its columns do; None: all numbers do.
    """

    option: str
    cure: str
    masks: dict[Tensor, Tensor | bool] | None

    @classmethod
    def choose(cls, target: Target, name: str, choice: str, choices: Iterable[str]) -> Subset:
        """Read option ``name``; ``choices`` are those that it may take."""
        option = f"{name}={check_choice(name, choice, choices)!r}"
        cure = f"{name}='all'"
        if choice == "all":
            return cls(option, cure, None)
        if not target.layers:
            raise cls(option, cure, {})._unknown()
        masks = target.masks(*_KINDS[choice])
        if not any(bool(torch.as_tensor(mask).any()) for mask in masks.values()):
            raise ParameterError(f"{option} names no number of this model; pass {cure}.")
        return cls(option, cure, masks)

    def mask(self, tensor: Tensor) -> Tensor | bool:
        """Whether ``tensor`` belongs, or which of its columns do."""
        if self.masks is None:
            return True
        if tensor not in self.masks:
            raise self._unknown()
        mask = self.masks[tensor]
        return mask.to(tensor.device) if isinstance(mask, Tensor) else mask

    def _unknown(self) -> ParameterTypeError:
        return ParameterTypeError(
            f"{self.option} needs a module: bare tensors do not tell which are weights, biases or "
            f"normalisation; pass the model itself to build, or {self.cure}."
        )
