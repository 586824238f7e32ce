"""What an optimizer works on: tensors with K members each, and the layers whose statistics it looks after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal._validation import check_integer
from flatcausal.exceptions import ParameterError


@dataclass(frozen=True)
class Target:
    """Tensors to train, and what is known about the model around them.

    Attributes
    ----------
    params : list
        Tensors or parameter groups, as any torch optimizer takes them.
    n_members : int
        Independent models K: the first axis of each tensor if K > 1; one model over all tensors if K = 1.
    layers : tuple of nn.Module
        All layers of the model; empty if only tensors were given.
    observers : list
        Who looks at forward passes on behalf of an optimizer: objects with ``looking``, which is set, and
        ``forget()``.
    """

    params: list[Any]
    n_members: int
    layers: tuple[nn.Module, ...] = ()
    observers: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, module_or_params: Any, n_members: int | None) -> Target:
        """Read a module, an iterable of tensors or parameter groups."""
        layers: tuple[nn.Module, ...] = ()
        if isinstance(module_or_params, nn.Module):
            layers = tuple(module_or_params.modules())
            params: list[Any] = list(module_or_params.parameters())
        else:
            params = list(module_or_params)
        if not params:
            raise ParameterError("module_or_params holds no parameters: pass a model with trainable tensors.")
        members = 1 if n_members is None else check_integer("n_members", n_members, low=1)
        return cls(params, members, layers)

    @cached_property
    def normalizations(self) -> tuple[nn.Module, ...]:
        """Layers that normalise by the batch and keep running statistics; InstanceNorm is none."""
        instance_norm = nn.modules.instancenorm._InstanceNorm
        return tuple(
            layer
            for layer in self.layers
            if hasattr(layer, "track_running_stats") and not isinstance(layer, instance_norm)
        )

    def masks(self, *kinds: str) -> dict[Tensor, Tensor | bool]:
        """Where the numbers of ``kinds`` are: "weight", "bias", "norm" or, of a population, "embedding".

        Tensors of torch's normalisation layers and of their subclasses are "norm"; those of other layers are
        "bias" if a part of their name says so, else "weight". The columns of a population matrix (K, P) are
        what its layout says.

        Returns
        -------
        dict
            For each tensor of the layers whether it is of one of ``kinds``; for a population a boolean (P,).
        """
        found: dict[Tensor, Tensor | bool] = {}
        for layer in self.layers:
            layout: Any = getattr(layer, "layout", None)
            for name, param in layer.named_parameters(recurse=False):
                if name == "population" and layout is not None:
                    found[param] = layout.mask(*kinds)
                else:  # a tensor that layers share is what the first of them says
                    found.setdefault(param, _kind(layer, name) in kinds)
        return found

    def forget_passes(self) -> None:
        """Have observers begin anew."""
        for observer in self.observers:
            observer.forget()

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Let forward passes leave running statistics and observers alone."""
        try:
            for observer in self.observers:
                observer.looking = False
            with frozen_statistics(self.normalizations):
                yield
        finally:
            for observer in self.observers:
                observer.looking = True

    @cached_property
    def has_dropout(self) -> bool:
        """Whether the model has dropout layers."""
        return any(isinstance(layer, nn.modules.dropout._DropoutNd) for layer in self.layers)


_NORMALIZATIONS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


def _kind(layer: nn.Module, name: str) -> str:
    if isinstance(layer, _NORMALIZATIONS):
        return "norm"
    return "bias" if "bias" in name.split("_") else "weight"


@contextmanager
def frozen_statistics(layers: Sequence[Any]) -> Iterator[None]:
    """Leave the running statistics of ``layers`` alone while they go on normalising by the batch.

    Unlike a momentum of zero this also holds the batch counter and works where momentum is None.
    """
    flags = [layer.track_running_stats for layer in layers]
    try:
        for layer in layers:
            layer.track_running_stats = False
        yield
    finally:
        for layer, flag in zip(layers, flags, strict=True):
            layer.track_running_stats = flag


def random_states() -> list[torch.Tensor]:
    """Where torch's own generators stand: the CPU's, then those of GPUs in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]


def rewind(states: Sequence[torch.Tensor]) -> None:
    """Set torch's own generators back to ``states``."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(list(states[1:]))
