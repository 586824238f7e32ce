"""Batch normalisation of all members at once: by ghost batches in training, by running statistics after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-5
INITIAL_NORM_MOMENTUM = 0.01  # fixed in TabNet, whatever bn_momentum


class Chunks(NamedTuple):
    """How a batch is cut into ghost batches: ``n_full`` of ``rows`` rows, then ``tail`` rows."""

    n_full: int
    rows: int
    tail: int

    @classmethod
    def of(cls, n_rows: int, virtual_batch_size: int) -> Chunks:
        """Cut as ``Tensor.chunk`` does; a tail of one row, which has no variance, joins its neighbour."""
        rows = math.ceil(n_rows / math.ceil(n_rows / virtual_batch_size))
        n_full, tail = divmod(n_rows, rows)
        if tail == 1 and n_full:
            n_full, tail = n_full - 1, rows + 1
        return cls(n_full, rows, tail)

    @property
    def sizes(self) -> list[int]:
        """Rows of each chunk."""
        return [self.rows] * self.n_full + [self.tail] * bool(self.tail)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return self.n_full + bool(self.tail)


class BatchStatistics:
    """Normalise each layer by the statistics of the batch at hand, and remember them.

    The first layer takes the whole batch, every later one its ghost batches, as TabNet does.

    Parameters
    ----------
    weights, biases : sequence of Tensor
        One of shape (K, F) for each layer.
    n_rows : int
        Rows of the batch.
    virtual_batch_size : int
        Most rows of a ghost batch.
    """

    def __init__(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor], n_rows: int, virtual_batch_size: int
    ):
        self.weights, self.biases = weights, biases
        self.whole, self.ghost = Chunks.of(n_rows, n_rows), Chunks.of(n_rows, virtual_batch_size)
        self._means: list[Tensor] = []
        self._inverse_stds: list[Tensor] = []

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        """Normalise activations of shape (K, F, n); layers must come in order."""
        n_full, rows, tail = self.whole if layer == 0 else self.ghost
        parts = []
        if n_full:
            parts.append(self._normalize(layer, x[..., : n_full * rows], n_full, rows))
        if tail:  # a ragged last chunk is normalised on its own
            parts.append(self._normalize(layer, x[..., n_full * rows :], 1, tail))
        outputs, means, inverse_stds = zip(*parts, strict=True)
        self._means.append(_joined(means))
        self._inverse_stds.append(_joined(inverse_stds))
        return _joined(outputs)

    def _normalize(self, layer: int, x: Tensor, n_chunks: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        # One call for all members, features and chunks: each of them is a channel of the view
        # (1, K * F * chunks, rows). The simple form is a loop over members and chunks.
        channels = (x.shape[0], x.shape[1], n_chunks)
        weight = self.weights[layer][:, :, None].expand(channels).reshape(-1)
        bias = self.biases[layer][:, :, None].expand(channels).reshape(-1)
        y, mean, inverse_std = torch.native_batch_norm(
            x.reshape(1, -1, rows), weight, bias, None, None, True, 0.0, EPSILON
        )
        return y.view(x.shape), mean.detach().view(channels), inverse_std.detach().view(channels)

    def decayed(self, running: Tensor, momentum_ghost: float) -> Tensor:
        """Running statistics (K, 2S) after this batch, as if its chunks had updated them in turn."""
        kept = [(1 - INITIAL_NORM_MOMENTUM), (1 - momentum_ghost) ** self.ghost.count]
        sizes = [self._means[0].shape[1], sum(m.shape[1] for m in self._means[1:])]
        keep = torch.cat([running.new_full((s,), k) for s, k in zip(sizes, kept, strict=True)]).repeat(2)
        powers = torch.arange(self.ghost.count - 1, -1, -1, dtype=running.dtype, device=running.device)
        ghost_shares = momentum_ghost * (1 - momentum_ghost) ** powers
        return running * keep + self._weighted(running.new_full((1,), INITIAL_NORM_MOMENTUM), ghost_shares)

    def _weighted(self, whole: Tensor, ghost: Tensor) -> Tensor:
        """Means, then unbiased variances, of all layers, summed over chunks with the given weights."""
        like = whole
        means, inverse_stds = torch.cat(self._means[1:], dim=1), torch.cat(self._inverse_stds[1:], dim=1)
        return torch.cat(
            [
                (self._means[0] * whole).sum(2),
                (means * ghost).sum(2),
                (unbiased(self._inverse_stds[0], like.new_tensor(self.whole.sizes)) * whole).sum(2),
                (unbiased(inverse_stds, like.new_tensor(self.ghost.sizes)) * ghost).sum(2),
            ],
            dim=1,
        )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)


def unbiased(inverse_std: Tensor, size: int | Tensor) -> Tensor:
    """Unbiased variances from the inverse standard deviations of ``size`` rows that a normalisation saves."""
    return (inverse_std.reciprocal().square_() - EPSILON).clamp_min_(0).mul_(size / (size - 1))


class RunningStatistics:
    """Normalise each layer by running statistics: one scale and one shift for each feature.

    Parameters
    ----------
    weights, biases : sequence of Tensor
        One of shape (K, F) for each layer.
    running : Tensor of shape (K, 2S)
        Running means of all layers, then running variances.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], running: Tensor):
        sizes = [w.shape[1] for w in weights]
        mean, variance = running.chunk(2, dim=1)
        scale = torch.cat(list(weights), dim=1) * torch.rsqrt(variance + EPSILON)
        shift = torch.cat(list(biases), dim=1) - mean * scale
        self.scales = scale.unsqueeze(2).split(sizes, dim=1)
        self.shifts = shift.unsqueeze(2).split(sizes, dim=1)
        self.first = mean[:, : sizes[0], None], biases[0].unsqueeze(2)

    def __call__(self, layer: int, x: Tensor) -> Tensor:
        """Normalise activations of shape (K, F, n)."""
        if layer == 0:  # raw columns may lie far from zero against their spread: the mean goes first
            mean, bias = self.first
            return torch.addcmul(bias, x - mean, self.scales[0])
        return torch.addcmul(self.shifts[layer], x, self.scales[layer])
