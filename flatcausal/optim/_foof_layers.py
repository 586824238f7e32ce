"""The linear layers of a model, and the second moments of their inputs since the last step."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.optim._target import Target


@dataclass(frozen=True, eq=False)
class LinearBlock:
    """A layer's weights, with its bias as one more column: one least-squares problem for each member.

    Attributes
    ----------
    home : nn.Parameter
        The weight matrix, or the population matrix that holds it.
    name : str
        Name of the layer's state under its home.
    shape : tuple of int
        Members, outputs, inputs; without the bias.
    bias : nn.Parameter or None
        The bias.
    columns : slice or None
        Where the weights are in a population matrix.
    """

    home: nn.Parameter
    name: str
    shape: tuple[int, int, int]
    bias: nn.Parameter | None = None
    columns: slice | None = None

    @property
    def params(self) -> list[nn.Parameter]:
        """The tensors that it takes numbers from."""
        return [self.home] if self.bias is None else [self.home, self.bias]

    @property
    def widths(self) -> list[int]:
        """Inputs that meet the weights, and the constant one that meets the bias."""
        return [self.shape[2]] if self.bias is None else [self.shape[2], 1]

    def views(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Parts of ``params``, or of tensors shaped like them, as (K, outputs, width) each."""
        k, n_outputs, _ = self.shape
        first = tensors[0] if self.columns is None else tensors[0][:, self.columns]
        parts = [first, *tensors[1:]]
        return [
            part.detach().view(k, n_outputs, width) for part, width in zip(parts, self.widths, strict=True)
        ]

    def gradient(self) -> Tensor | None:
        """Gradient, shape (K, outputs, inputs), with that of the bias last; None if there is none."""
        gradients = [p.grad for p in self.params]
        if all(gradient is None for gradient in gradients):
            return None
        present = [
            torch.zeros_like(p) if g is None else g for p, g in zip(self.params, gradients, strict=True)
        ]
        views = self.views(present)
        return views[0] if len(views) == 1 else torch.cat(views, dim=2)


class InputMoments:
    r"""Second moments :math:`A^T A / n` of layers' inputs, from the forward passes since the last step.

    Passes of one step are averaged by their rows; uses of a layer within a pass are summed, for so is its
    gradient. It is held by the hooks of a model and looks only while its optimizer lives, so that a copy
    of the model alone is left in peace.

    Parameters
    ----------
    n_layers : int
        Number of layers that are watched.
    """

    def __init__(self, n_layers: int):
        self.n_layers = n_layers
        self.looking = True
        self.passes = 0
        self._owner: Callable[[], Any] = _nobody
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_owner": _nobody}

    def belong_to(self, optimizer: Any) -> None:
        """Look as long as ``optimizer`` lives."""
        self._owner = weakref.ref(optimizer)

    @property
    def wanted(self) -> bool:
        """Whether to look at the present pass."""
        return self.looking and self._owner() is not None

    def forget(self) -> None:
        """Begin anew."""
        self.passes = 0
        self.totals: list[Tensor | None] = [None] * self.n_layers
        self.uses, self.rows = [0] * self.n_layers, [0] * self.n_layers

    def add(self, layer: int, total: Tensor, n_rows: int, *, uses: int = 1) -> None:
        """Count ``total`` of ``n_rows`` rows; ``uses=0`` says that it is already that of a whole pass."""
        sum_so_far = self.totals[layer]
        self.totals[layer] = total if sum_so_far is None else sum_so_far + total
        self.uses[layer] += uses
        self.rows[layer] += n_rows

    def take(self) -> list[Tensor | None]:
        """Each layer's second moments, shape (K, d, d), None if it was not used; then begin anew."""
        found: list[Tensor | None] = []
        for total, uses, rows in zip(self.totals, self.uses, self.rows, strict=True):
            # Where the model's own forward is not what is called, all uses are of one pass.
            uses_per_pass = uses / max(self.passes, 1) if uses else 1
            found.append(None if total is None else total * (uses_per_pass / rows))
        self.forget()
        return found


def _nobody() -> None:
    return None


class _CountPass:
    """Forward pre-hook of the model."""

    def __init__(self, moments: InputMoments):
        self.moments = moments

    def __call__(self, model: nn.Module, args: Any) -> None:
        if model.training and torch.is_grad_enabled() and self.moments.wanted:
            self.moments.passes += 1


class _WatchInput:
    """Forward hook of a linear layer."""

    def __init__(self, moments: InputMoments, index: int):
        self.moments, self.index = moments, index

    def __call__(self, layer: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        if not (layer.training and torch.is_grad_enabled() and self.moments.wanted):
            return
        x = (args[0] if args else kwargs["input"]).detach()
        x = x.reshape(-1, x.shape[-1])
        if not len(x):
            return
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            if layer.bias is not None:
                x = nn.functional.pad(x, (0, 1), value=1.0)
            self.moments.add(self.index, (x.T @ x).unsqueeze(0), len(x))


class _WatchPopulation:
    """Input observer of a population network."""

    def __init__(self, moments: InputMoments, indices: Mapping[str, int]):
        self.moments, self.indices = moments, indices

    @property
    def wanted(self) -> bool:
        return self.moments.wanted

    def __call__(self, moments: Mapping[str, Tensor], n_rows: int) -> None:
        for name, total in moments.items():
            self.moments.add(self.indices[name], total, n_rows, uses=0)


def linear_blocks(target: Target) -> tuple[list[LinearBlock], InputMoments, list[Any]]:
    """Find the linear layers of a model and watch their inputs.

    Returns
    -------
    blocks : list of LinearBlock
    moments : InputMoments
        Of the blocks, in their order.
    handles : list
        What to remove to stop watching.
    """
    found: list[tuple[nn.Module, list[LinearBlock]]] = []
    places = Counter(p for layer in target.layers for p in layer._parameters.values() if p is not None)
    for layer in target.layers:
        if _is_population(layer):
            found.append((layer, _population_blocks(layer)))
        elif target.n_members == 1 and _is_linear(layer, places):
            bias: Any = layer.bias
            weight: Any = layer.weight
            found.append((layer, [LinearBlock(weight, "weight", (1, *weight.shape), bias)]))
    blocks = [block for _, own in found for block in own]
    moments = InputMoments(len(blocks))
    handles: list[Any] = [target.layers[0].register_forward_pre_hook(_CountPass(moments))] if blocks else []
    index = 0
    for layer, own in found:
        if _is_population(layer):
            network: Any = layer
            network.input_observer = _WatchPopulation(
                moments, {block.name: index + i for i, block in enumerate(own)}
            )
        else:
            handles.append(layer.register_forward_hook(_WatchInput(moments, index), with_kwargs=True))
        index += len(own)
    return blocks, moments, handles


def _is_population(layer: nn.Module) -> bool:
    return all(hasattr(layer, name) for name in ("population", "layout", "input_observer"))


def _population_blocks(network: Any) -> list[LinearBlock]:
    columns, k = network.layout.columns(), len(network.population)
    return [
        LinearBlock(network.population, block.name, (k, *block.shape), columns=columns[block.name])
        for block in network.layout
        if block.kind == "weight"
    ]


def _is_linear(layer: nn.Module, places: Counter) -> bool:
    """Whether a layer multiplies its input by weights that are its own, free, and used nowhere else."""
    if type(layer).forward is not nn.Linear.forward:
        return False
    if isinstance(layer, nn.modules.linear.NonDynamicallyQuantizableLinear):  # attention goes around forward
        return False
    own = [layer._parameters.get("weight"), *([] if layer.bias is None else [layer._parameters.get("bias")])]
    return all(p is not None and p.requires_grad and places[p] == 1 for p in own)
