"""The gradient of a population by hand: that of ``forward`` and ``backward``, in fewer operations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flatcausal.nn._normalization import EPSILON, INITIAL_NORM_MOMENTUM, Chunks, unbiased
from flatcausal.nn._pass import Pass, sum_of
from flatcausal.nn._weights import Weights, add_outer, member_groups, observer_of, product

if TYPE_CHECKING:
    from flatcausal.nn._tabnet import TabNet

MemberLosses = Callable[[Tensor, Tensor, slice], Tensor]
_GROUP_ELEMENTS = 2**19  # of a group's widest activation; larger groups fall out of the cache
_HELD_ELEMENTS = 2**20  # of a member's widest activation; what a larger batch leaves would fill the memory


@torch.no_grad()
def backpropagate(network: TabNet, X: Tensor, member_losses: MemberLosses) -> Tensor:
    """Add the gradient of the members' summed losses to ``network.population.grad``: one training pass.

    It equals ``network(X)`` in training mode and ``backward()`` on the sum, up to rounding, running
    statistics included.

    Parameters
    ----------
    network : TabNet
        Networks to differentiate.
    X : Tensor of shape (n, n_features) or (K, n, n_features)
        The same rows for every member, or each member's own. Features-first memory, such as that of
        ``gathered.transpose(1, 2)`` with ``gathered`` of shape (K, n_features, n), saves a copy.
    member_losses : callable
        ``member_losses(output, sparsity, members)`` with what ``forward`` gives for the members of the slice
        ``members``: their losses, shape (k,), by operations that torch can differentiate.

    Returns
    -------
    Tensor of shape (K,)
        The losses, detached.

    Examples
    --------
    >>> import torch
    >>> from flatcausal.nn import TabNet
    >>> network = TabNet(5, n_members=3)
    >>> X, y = torch.randn(32, 5), torch.randn(32, 1)
    >>> def member_losses(output, sparsity, members):
    ...     return (output - y).square().mean((1, 2)) - 1e-3 * sparsity
    >>> losses = backpropagate(network, X, member_losses)
    >>> tuple(losses.shape), tuple(network.population.grad.shape)
    ((3,), (3, 5384))
    """
    _keep_freed_memory()
    observer = observer_of(network)
    losses, gradients, moments = [], [], []
    for members in _groups(network, X.shape[-2]):
        group = _Group(network, X, members, observed=observer is not None)
        of_group, d_output, d_sparsity = _differentiate(member_losses, *group.forward(), members)
        losses.append(of_group)
        gradients.append(group.backward(d_output, d_sparsity))
        moments.append(group.second_moments())
    gradient = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
    if network.population.grad is None:
        network.population.grad = gradient
    else:
        network.population.grad.add_(gradient)
    if observer is not None:
        observer({name: torch.cat([m[name] for m in moments]) for name in moments[0]}, X.shape[-2])
    return losses[0] if len(losses) == 1 else torch.cat(losses)


@torch.no_grad()
def statistics_totals(network: TabNet, X: Tensor) -> Tensor:
    """Means, then unbiased variances, of all layers over ghost batches, summed over rows: shape (K, 2S)."""
    _keep_freed_memory()
    totals = []
    for members in _groups(network, X.shape[-2]):
        group = _Group(network, X, members)
        group.decide()
        totals.append(group.statistics_totals())
    return torch.cat(totals)


@cache
def _keep_freed_memory() -> None:
    """Have glibc keep what a pass frees for the next one.

    It hands freed memory back from twice the size of the largest block that was ever freed, and each page of
    the next pass is faulted in anew. A block of 31 MiB, never touched, raises that
    bound to 62 MiB; elsewhere it does nothing.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _groups(network: TabNet, n_rows: int) -> list[slice]:
    n_elements = network.n_members * n_rows * _width(network)
    return member_groups(network.n_members, math.ceil(n_elements / _GROUP_ELEMENTS))


def _width(network: TabNet) -> int:
    """Rows of the widest activation."""
    return max(network.embeddings.n_columns, 2 * (network.n_d + network.n_a))


def _differentiate(
    member_losses: MemberLosses, output: Tensor, sparsity: Tensor, members: slice
) -> tuple[Tensor, Tensor, Tensor | None]:
    output.requires_grad_()
    sparsity.requires_grad_()
    with torch.enable_grad():
        losses = member_losses(output, sparsity, members)
    d_output, d_sparsity = torch.autograd.grad(
        losses, (output, sparsity), torch.ones_like(losses), allow_unused=True
    )
    return losses.detach(), torch.zeros_like(output) if d_output is None else d_output, d_sparsity


class _Group:
    """A pass of some members over a batch: its whole ghost batches, then its ragged tail.

    Ghost batches meet in the first norm and in the loss only. So a batch whose activations would fill the
    memory goes through in parts of whole ghost batches, forward once for the loss and once more with each
    part's way back: the same gradient, for a third more work.
    """

    def __init__(self, network: TabNet, X: Tensor, members: slice, *, observed: bool = False):
        self.network, self.members = network, members
        self.population = network.population.detach()[members]
        self.n_members, self.n_rows = len(self.population), X.shape[-2]
        self.weights = Weights(network, self.population)
        self.inputs = (
            (X if X.dim() == 2 else X[members]).expand(self.n_members, *X.shape[-2:]).transpose(1, 2)
        )
        self.x = self._normalized_inputs()
        self.gradients: dict[str, Tensor] = {}
        self.moments: dict[str, Tensor] | None = {} if observed else None
        self.chunks = Chunks.of(self.n_rows, network.virtual_batch_size)
        self.parts = self._parts()
        self.passes: list[Pass] = []
        self.statistics: list[tuple[Tensor, Tensor]] = []

    def _parts(self) -> list[tuple[slice, int]]:
        """Rows, and how many of them are a ghost batch."""
        edge, rows = self.chunks.n_full * self.chunks.rows, self.chunks.rows
        # By the rows alone: a member's sums must not depend on its neighbours.
        most = max(_HELD_ELEMENTS // _width(self.network) // rows, 1) * rows
        self.held = self.n_rows <= most
        whole = [(slice(start, min(start + most, edge)), rows) for start in range(0, edge, most)]
        tail = [(slice(edge, self.n_rows), self.chunks.tail)] if edge < self.n_rows else []
        return whole + tail

    def _pass(self, part: tuple[slice, int]) -> Pass:
        rows, size = part
        x = self.x[:, :, rows].contiguous()
        return Pass(self.network, self.weights, x, size, self.gradients, self.moments)

    def _normalized_inputs(self) -> Tensor:
        columns = self.network.embeddings.n_columns
        means = self.network.statistics[self.members, :columns]
        raw = self.network.embeddings(self.inputs, self.population, means)
        n = self.n_members * columns
        # Raw columns may lie far from zero: measured from their first row they keep their digits.
        origin = raw[..., :1]
        centred = torch.sub(raw, origin, out=raw.new_empty(raw.shape)).view(1, n, self.n_rows)
        hat, mean, inverse_std = torch.native_group_norm(centred, None, None, 1, n, self.n_rows, n, EPSILON)
        self.hat = hat.view(raw.shape)
        self.mean, self.inverse_std = (
            mean.view(self.n_members, -1) + origin[..., 0],
            inverse_std.view(self.n_members, -1),
        )
        self.scale, shift = self.weights.first
        return torch.addcmul(shift, self.hat, self.scale)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Output (k, n, n_outputs) and sparsity (k,) as ``TabNet.forward`` gives them."""
        self.decision, entropy = self.decide()
        if self.network.track_running_stats:
            self._track()
        output = product(self.weights.matrices["output"], self.decision).transpose(1, 2)
        return output, entropy / (self.n_rows * self.network.n_steps)

    def decide(self) -> tuple[Tensor, Tensor]:
        """Sums of the decisions (k, n_d, n) and of the masks' negative entropies (k,)."""
        decisions, entropies = [], []
        for part in self.parts:
            run = self._pass(part)
            decision, entropy = run.forward()
            decisions.append(decision)
            entropies.append(entropy)
            if self.held:
                self.passes.append(run)
            else:
                self.statistics.append(run.statistics())
        return _joined(decisions), sum_of(entropies)

    def backward(self, d_output: Tensor, d_sparsity: Tensor | None) -> Tensor:
        """Gradient of the members' rows of the population."""
        if d_sparsity is not None:
            d_sparsity = (d_sparsity / (self.n_rows * self.network.n_steps)).view(-1, 1, 1)
        d_output = d_output.transpose(1, 2)
        self.gradients["output"] = add_outer(None, self.decision, d_output)
        if self.moments is not None:
            self.moments["output"] = add_outer(None, self.decision, self.decision)
        slope = product(self.weights.transposed["output"], d_output)
        found = [
            run.backward(slope[:, :, rows], d_sparsity)
            for run, (rows, _) in zip(self._passes(), self.parts, strict=True)
        ]
        d_xs, norms = zip(*found, strict=True)
        d_x = _joined(d_xs)
        d_shift, d_scale = d_x.sum(2), (d_x * self.hat).sum(2)
        d_scales, d_shifts = sum_of(norms).chunk(2, dim=1)
        weights = [
            self.gradients[block.name].transpose(1, 2).flatten(1)
            for block in self.network.layout
            if block.kind == "weight"
        ]
        tables = [self._embeddings_backward(d_x, d_scale, d_shift)] if self.network.embeddings.sizes else []
        parts = [*tables, *weights, d_scale, d_scales, d_shift, d_shifts]
        return torch.cat(parts, dim=1).mul_(self.weights.scales)

    def _passes(self) -> Iterator[Pass]:
        """All parts' passes, each ready for its way back."""
        if self.held:
            yield from self.passes
            return
        for part in self.parts:
            run = self._pass(part)
            run.forward()
            yield run

    def second_moments(self) -> dict[str, Tensor]:
        """What an ``InputObserver`` takes, of the group; after :meth:`backward`, which sees each row once."""
        if not self.moments:
            return {}
        scales = self.network.layout.split(self.weights.scales.unsqueeze(0), "weight")
        return {name: total * scales[name][0, 0, 0].square() for name, total in self.moments.items()}

    def _embeddings_backward(self, d_x: Tensor, d_scale: Tensor, d_shift: Tensor) -> Tensor:
        embeddings, n = self.network.embeddings, self.n_rows
        at = embeddings.places
        slope, hat = d_x[:, at], self.hat[:, at]
        centred = slope - (d_shift[:, at, None] + hat * d_scale[:, at, None]) / n
        return embeddings.backward(self.inputs, centred * (self.scale * self.inverse_std[..., None])[:, at])

    def _track(self) -> None:
        """Move the running statistics as ``BatchStatistics.decayed`` does."""
        network, count = self.network, self.chunks.count
        columns = network.embeddings.n_columns
        means, variances = network.statistics[self.members].chunk(2, dim=1)
        means[:, :columns].lerp_(self.mean, INITIAL_NORM_MOMENTUM)
        variances[:, :columns].lerp_(unbiased(self.inverse_std, self.n_rows), INITIAL_NORM_MOMENTUM)
        kept = 1 - network.bn_momentum
        shares = network.bn_momentum * kept ** torch.arange(
            count - 1, -1, -1, dtype=means.dtype, device=means.device
        )
        means[:, columns:].mul_(kept**count)
        variances[:, columns:].mul_(kept**count)
        found = self._statistics()
        of_parts = shares.split([mean.shape[2] for mean, _, _ in found])
        for (mean, inverse_std, rows), share in zip(found, of_parts, strict=True):
            means[:, columns:].add_((mean * share).sum(2))
            variances[:, columns:].add_((unbiased(inverse_std, rows) * share).sum(2))

    def statistics_totals(self) -> Tensor:
        """What the function of the same name gives, for the group."""
        found = self._statistics()
        means = sum_of(mean.sum(2) * rows for mean, _, rows in found)
        variances = sum_of(unbiased(inverse_std, rows).sum(2) * rows for _, inverse_std, rows in found)
        variance = unbiased(self.inverse_std, self.n_rows)
        return torch.cat([self.mean * self.n_rows, means, variance * self.n_rows, variances], dim=1)

    def _statistics(self) -> list[tuple[Tensor, Tensor, int]]:
        """Of each part the means and inverse standard deviations (k, S, chunks), and a chunk's rows."""
        found = [run.statistics() for run in self.passes] if self.held else self.statistics
        return [(*pair, size) for pair, (_, size) in zip(found, self.parts, strict=True)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows of all parts, on the last axis."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)
