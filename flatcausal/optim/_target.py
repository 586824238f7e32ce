"""What an optimizer works on: tensors with K members each, and the layers whose statistics it looks after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from flatcausal._validation import check_integer
from flatcausal.exceptions import ParameterError, ParameterTypeError


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
        elif isinstance(module_or_params, (Tensor, str)) or not isinstance(module_or_params, Iterable):
            raise ParameterTypeError(
                f"module_or_params must be a model, or an iterable of tensors or of parameter groups, got "
                f"{type(module_or_params).__name__}."
            )
        else:
            params = list(module_or_params)
        if not params:
            raise ParameterError("module_or_params holds no parameters: pass a model with trainable tensors.")
        members = 1 if n_members is None else check_integer("n_members", n_members, low=1)
        _check_stacks(params, layers, members)
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
        """Whether the model has dropout layers, or others with a dropout within, as LSTM and attention."""
        return any(
            isinstance(layer, nn.modules.dropout._DropoutNd) or bool(getattr(layer, "dropout", False))
            for layer in self.layers
        )


def _check_stacks(params: list[Any], layers: Sequence[Any], n_members: int) -> None:
    """Raise unless each tensor stacks as many members as there are, for else they would meet unseen."""
    for layer in layers:
        k = len(layer.population) if hasattr(layer, "layout") and hasattr(layer, "population") else n_members
        if k != n_members:
            raise ParameterError(
                f"module_or_params holds {k} members in its {type(layer).__name__}, got "
                f"n_members={n_members}: pass n_members={k} to build."
            )
    for tensor in tensors_in(params) if n_members > 1 else []:
        if tensor.shape[:1] != (n_members,):
            raise ParameterError(
                f"n_members={n_members} needs tensors that stack as many models on their first axis, got one "
                f"of shape {tuple(tensor.shape)}."
            )


def tensors_in(params: list[Any]) -> list[Tensor]:
    """The tensors of ``params``, which may be in groups or named; an iterator of a group's becomes a list."""
    entries: list[Any] = []
    for entry in params:
        if not isinstance(entry, dict):
            entries.append(entry)
        elif isinstance(entry["params"], Tensor):
            entries.append(entry["params"])
        else:
            entry["params"] = list(entry["params"])  # as torch's optimizers do
            entries.extend(entry["params"])
    return [entry[1] if isinstance(entry, tuple) else entry for entry in entries]


def own_attributes(optimizer: Any) -> dict[str, Any]:
    """What a copy of an optimizer takes with it; a scheduler's ``step`` is bound to the original."""
    return {k: v for k, v in vars(optimizer).items() if not k.startswith("_") and k != "step"}


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
