"""Predictions and masks of trained members by running statistics: rows do not meet, so they come in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flatcausal.nn._normalization import EPSILON
from flatcausal.nn._pass import sum_of
from flatcausal.nn._weights import Weights, member_groups

if TYPE_CHECKING:
    from flatcausal.nn._tabnet import TabNet

_TILE_ELEMENTS = 2**16  # of a member's widest activation in a tile
_TILE_MEMBERS = 16


class Evaluation:
    """Some members of a network with their norms folded into the linear layers before them."""

    def __init__(self, network: TabNet, members: slice):
        self.network, self.members = network, members
        self.population = network.population.detach()[members]
        self.means = network.statistics[members, : network.embeddings.n_columns]
        weights = Weights(network, self.population)
        scales, shifts = weights.affine(1)
        mean, variance = network.statistics[members].chunk(2, dim=1)
        inverse_std = torch.rsqrt(variance + EPSILON)
        self.output, self.layers = weights.matrices["output"], []
        folded = []
        parts = zip(
            scales, shifts, mean.split(weights.sizes, 1), inverse_std.split(weights.sizes, 1), strict=True
        )
        for scale, shift, centre, gain in parts:
            scale = scale.view(gain.shape) * gain
            folded.append((scale.unsqueeze(2), (shift.view(gain.shape) - centre * scale).unsqueeze(2)))
        # Raw columns may lie far from zero against their spread: their mean goes first.
        self.inputs = (mean[:, : weights.sizes[0], None], folded[0][0], shifts[0].view(len(mean), -1, 1))

        def linear(name: str, norm: int) -> tuple[Tensor, Tensor]:
            return weights.matrices[name] * folded[norm][0], folded[norm][1]

        self.transformers = [
            [(*linear(layer.weight, layer.norm), layer.residual) for layer in layers]
            for layers in network._transformers
        ]
        self.attentions = [
            linear(f"attention.{t}", norm) for t, norm in enumerate(network._attention_norms, start=1)
        ]

    def steps(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Mask (K, n_features, n) and decision (K, n_d, n), up to one factor, of each step."""
        network, prior = self.network, None
        x = network.embeddings(x, self.population, self.means)
        centre, gain, shift = self.inputs
        x = torch.addcmul(shift, x - centre, gain)
        hidden = self._transform(0, x)
        for t, (weight, shift) in enumerate(self.attentions, start=1):
            logits = torch.baddbmm(shift, weight, hidden[:, -network.n_a :])
            mask = network.projection.in_place(logits if prior is None else logits.mul_(prior))[0]
            hidden = self._transform(t, network.embeddings.spread(mask) * x)
            yield mask, hidden[:, : network.n_d].relu()
            if t < network.n_steps:
                left = torch.rsub(mask, network.gamma)
                prior = left if prior is None else prior.mul_(left)

    def _transform(self, t: int, below: Tensor) -> Tensor:
        for i, (weight, shift, residual) in enumerate(self.transformers[t]):
            gated = torch.nn.functional.glu(torch.baddbmm(shift, weight, below), dim=1)
            below = gated if i == 0 else gated.add_(below[:, residual])
        return below


def tiles(network: TabNet, X: Tensor) -> Iterator[tuple[Evaluation, slice, Tensor]]:
    """Members, rows, and their inputs (k, n_features, rows) padded to whole tiles."""
    width = max(network.embeddings.n_columns, 2 * (network.n_d + network.n_a))
    size = max(_TILE_ELEMENTS // width // 16 * 16, 16)
    for members in member_groups(network.n_members, round(network.n_members / _TILE_MEMBERS)):
        evaluation = Evaluation(network, members)
        count = len(evaluation.population)
        own = X if X.dim() == 2 else X[members]
        for start in range(0, X.shape[-2], size):
            rows = slice(start, min(start + size, X.shape[-2]))
            x = own[..., rows, :].transpose(-1, -2)
            # A whole number of cache lines: members' matrices then take the same kernels wherever they stand.
            x = torch.nn.functional.pad(x, (0, -x.shape[-1] % 16))
            yield evaluation, rows, x.expand(count, *x.shape[-2:])


@torch.no_grad()
def predictions(network: TabNet, X: Tensor) -> Tensor:
    """Outputs of shape (K, n, n_outputs)."""
    output = X.new_empty(network.n_members, network.n_outputs, X.shape[-2])
    for evaluation, rows, x in tiles(network, X):
        decision = sum_of(decision for _, decision in evaluation.steps(x))
        n_rows = rows.stop - rows.start
        output[evaluation.members, :, rows] = torch.bmm(evaluation.output, decision)[..., :n_rows]
    return output.transpose(1, 2)


@torch.no_grad()
def masks(network: TabNet, X: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Members, rows and their masks (k, n_features, rows) over all steps, tile by tile."""
    for evaluation, rows, x in tiles(network, X):
        parts = []
        for mask, decision in evaluation.steps(x):
            added = decision.sum(1, keepdim=True)
            parts.append((mask * added, mask, added))
        weighted, plain, total = (sum_of(part) for part in zip(*parts, strict=True))
        explained = torch.where(total > 0, weighted.div_(total), plain.div_(network.n_steps))
        yield evaluation.members, rows, explained[..., : rows.stop - rows.start]
