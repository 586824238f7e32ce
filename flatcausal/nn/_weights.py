"""A population's weights made ready for the hand-written passes, and the matrix products with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flatcausal.nn._tabnet import TabNet


class InputObserver(Protocol):
    """Who wants to know the second moments of the inputs of a network's linear layers."""

    @property
    def wanted(self) -> bool:
        """Whether to go to the trouble now."""
        ...

    def __call__(self, moments: Mapping[str, Tensor], n_rows: int) -> None:
        """Take the moments of one training pass over ``n_rows`` rows.

        For each weight block of the layout a tensor (K, inputs, inputs): the sum of :math:`a a^T` over all
        rows, and over all uses of the layer, of its inputs :math:`a`.
        """
        ...


def observer_of(network: TabNet) -> InputObserver | None:
    """The network's observer, if there is one and it looks now."""
    observer = network.input_observer
    return observer if observer is not None and observer.wanted else None


class Weights:
    """The weights of some members with the residual scales folded in.

    TabNet adds each gated layer to what came before and multiplies the sum by the root of 1/2. Here sums are
    plain: ``scales`` of the weights and norms around them make up for it, so that no activation is scaled.

    Parameters
    ----------
    network : TabNet
        Whose weights.
    rows : Tensor of shape (k, P)
        The members' rows of the population, detached.
    """

    def __init__(self, network: TabNet, rows: Tensor):
        self.n_members, self.scales = len(rows), residual_scales(network, rows)
        scaled = rows * self.scales
        self.matrices = network.layout.split(scaled, "weight")
        self.transposed = {name: tensor.transpose(1, 2) for name, tensor in self.matrices.items()}
        self.sizes = network._norm_sizes
        self._norms = scaled[:, -2 * sum(self.sizes) :]
        # Weights and biases of the first norm, (k, columns, 1).
        self.first = [half[:, : self.sizes[0], None] for half in self._norms.chunk(2, dim=1)]

    def affine(self, n_chunks: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Weights, then biases of each norm, one for each member, feature and chunk."""
        expanded = self._norms.unsqueeze(2).expand(-1, -1, n_chunks)
        if self.n_members == 1:  # one copy for all layers
            parts = expanded.reshape(-1).split([size * n_chunks for size in self.sizes * 2])
        else:
            parts = [part.reshape(-1) for part in expanded.split(self.sizes * 2, dim=1)]
        return parts[: len(self.sizes)], parts[len(self.sizes) :]


def residual_scales(network: TabNet, like: Tensor) -> Tensor:
    """Factors of a member's parameters, shape (P,), kept on the network from one pass to the next.

    After layer i TabNet has h = (h + g) / sqrt(2); the plain s = s + 2^((i - 1) / 2) g is 2^(i / 2) h.
    """
    scales = network._scales
    if scales is None or scales.dtype != like.dtype or scales.device != like.device:
        columns = network.layout.columns()
        scales = torch.ones(network.layout.n_parameters, dtype=torch.float64)
        for layers in network._transformers:
            for i, layer in enumerate(layers[1:], start=1):
                scales[columns[layer.weight]] = 2 ** ((1 - i) / 2)
                for part in ("weight", "bias"):  # of the half that the gate multiplies
                    start = columns[f"norm.{layer.norm}.{part}"].start
                    scales[start : start + network._norm_sizes[layer.norm] // 2] = 2 ** ((i - 1) / 2)
        for name in ["output", *(f"attention.{t}" for t in range(1, network.n_steps + 1))]:
            scales[columns[name]] = 2 ** ((1 - len(network._transformers[0])) / 2)
        scales = network._scales = scales.to(like)
    return scales


def member_groups(n_members: int, n_groups: int) -> list[slice]:
    """Members in groups of nearly equal size; never one alone of several, for it takes another kernel."""
    n_groups = max(min(n_groups, n_members // 2), 1)
    edges = [n_members * i // n_groups for i in range(n_groups + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def product(weight: Tensor, x: Tensor) -> Tensor:
    """``torch.bmm`` of weights (k, outputs, inputs) and activations (k, inputs, n)."""
    padded = _padded(x)
    if padded is x:
        return torch.bmm(weight, x)
    return torch.bmm(weight, padded)[..., : x.shape[2]].contiguous()


def add_product(total: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """Add :func:`product` to ``total`` in place."""
    return total.baddbmm_(weight, x) if _padded(x) is x else total.add_(product(weight, x))


def add_outer(total: Tensor | None, below: Tensor, d_linear: Tensor) -> Tensor:
    """Add a linear layer's weight gradient, transposed (k, inputs, outputs), to ``total`` if there is one."""
    outputs = d_linear.shape[1]
    if below.shape[1] * outputs * below.element_size() % 16 and below.shape[0] > 1:
        d_linear = torch.nn.functional.pad(d_linear, (0, 0, 0, _missing(outputs, below)))
    below, d_linear = _padded(below), _padded(d_linear).transpose(1, 2)
    if total is None:
        return torch.bmm(below, d_linear)[..., :outputs]
    if d_linear.shape[2] == outputs:
        return total.baddbmm_(below, d_linear)
    return total.add_(torch.bmm(below, d_linear)[..., :outputs])


def _missing(size: int, like: Tensor) -> int:
    """How many elements fill up 16 bytes."""
    return -size % (16 // like.element_size())


def _padded(x: Tensor) -> Tensor:
    """Zeros after the last axis, so that each member's matrix starts at a multiple of 16 bytes.

    Elsewhere matmul kernels differ between small and large batches and with the place in a batch: a member's
    last bit would depend on its neighbours. One member has none.
    """
    missing = _missing(x.shape[2], x) if x.shape[0] > 1 else 0
    return torch.nn.functional.pad(x, (0, missing)) if missing else x
