"""A training pass of several members over ghost batches of one size, and its way back, by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from flatcausal.nn._normalization import EPSILON
from flatcausal.nn._weights import Weights, add_outer, add_product, product

if TYPE_CHECKING:
    from flatcausal.nn._tabnet import TabNet

LOG_OFFSET = 1e-15
_VECTORISED_FROM = 32  # rows of a ghost batch from which group norm's kernel beats batch norm's

_ops = torch.ops.aten


class _Gated(NamedTuple):
    """What a gated layer leaves for its way back."""

    below: Tensor
    affine: Tensor
    value: Tensor
    other: Tensor
    gate: Tensor


class _Step(NamedTuple):
    """What a step's attention leaves for its way back."""

    attention: Tensor
    logits: Tensor  # after the first step, whose projection is in place, alone
    prior: Tensor | None
    mask: Tensor
    response: Tensor
    total: Tensor
    log: Tensor
    hidden: Tensor


class Pass:
    """One pass; :meth:`forward`, then at most once :meth:`backward`.

    Parameters
    ----------
    network : TabNet
        What is computed.
    weights : Weights
        Of the members.
    x : Tensor of shape (K, n_columns, n)
        Normalised inputs.
    rows : int
        Rows of each ghost batch, a divisor of n.
    gradients : dict
        Where :meth:`backward` sums the gradient of each weight, transposed.
    moments : dict, optional
        Where it sums the second moments of each weight's inputs.
    """

    def __init__(
        self,
        network: TabNet,
        weights: Weights,
        x: Tensor,
        rows: int,
        gradients: dict[str, Tensor] | None = None,
        moments: dict[str, Tensor] | None = None,
    ):
        self.network, self.weights, self.x, self.rows = network, weights, x, rows
        self.gradients, self.moments = gradients, moments
        self.n_chunks = x.shape[2] // rows
        self.scales, self.shifts = weights.affine(self.n_chunks)
        n_layers = len(self.scales)
        self.norms: list[tuple[Tensor, ...]] = [()] * n_layers
        self.norm_gradients: list[Tensor] = [x] * (2 * n_layers)
        self.gated: dict[int, list[_Gated]] = {}
        self.steps: list[_Step] = []

    # ---- forward

    def forward(self) -> tuple[Tensor, Tensor]:
        """Sum of the steps' decisions, (K, n_d, n), and of all masks' negative entropies, (K,)."""
        network, matrices = self.network, self.weights.matrices
        hidden = self._transform(0, self.x)
        decisions, entropies, prior = [], [], None
        for t in range(1, network.n_steps + 1):
            attention = hidden[:, -network.n_a :]
            linear = product(matrices[f"attention.{t}"], attention)
            logits = self._normalize(network._attention_norms[t - 1], linear)
            mask, response, total = network.projection.in_place(logits if prior is None else logits * prior)
            log = (mask + LOG_OFFSET).log_()
            entropies.append((mask * log).sum((1, 2)))
            hidden = self._transform(t, network.embeddings.spread(mask) * self.x)
            decisions.append(hidden[:, : network.n_d].relu())
            self.steps.append(_Step(attention, logits, prior, mask, response, total, log, hidden))
            if t < network.n_steps:
                left = torch.rsub(mask, network.gamma)
                prior = left if prior is None else left.mul_(prior)
        return sum_of(decisions), sum_of(entropies)

    def _transform(self, t: int, below: Tensor) -> Tensor:
        tape = self.gated[t] = []
        for i, layer in enumerate(self.network._transformers[t]):
            affine = self._normalize(layer.norm, product(self.weights.matrices[layer.weight], below))
            value, other = affine.tensor_split(2, dim=1)
            gate = other.sigmoid()
            tape.append(_Gated(below, affine, value, other, gate))
            below = value * gate if i == 0 else torch.addcmul(below[:, layer.residual], value, gate)
        return below

    def _normalize(self, layer: int, u: Tensor) -> Tensor:
        # Each member, feature and chunk is a channel of the view (1, channels, rows), and a group of its own.
        scale, shift, rows = self.scales[layer], self.shifts[layer], self.rows
        flat = u.view(1, -1, rows)
        if rows < _VECTORISED_FROM:
            y, mean, inverse_std = torch.native_batch_norm(flat, scale, shift, None, None, True, 0.0, EPSILON)
        else:
            n = scale.shape[0]
            y, mean, inverse_std = torch.native_group_norm(flat, scale, shift, 1, n, rows, n, EPSILON)
        self.norms[layer] = flat, mean, inverse_std
        return y.view(u.shape)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Means and inverse standard deviations of all layers but the first, (K, S, chunks)."""
        shape = (self.weights.n_members, -1, self.n_chunks)
        means, inverse_stds = (
            torch.cat([norm[i].view(shape) for norm in self.norms[1:]], dim=1) for i in (1, 2)
        )
        return means, inverse_stds

    # ---- backward

    def backward(self, slope: Tensor, entropy_slope: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add up weight gradients.

        Parameters
        ----------
        slope : Tensor of shape (K, n_d, n)
            Gradient of the decision.
        entropy_slope : Tensor of shape (K, 1, 1), optional
            Gradient of the entropies.

        Returns
        -------
        Tensor of shape (K, n_columns, n)
            Gradient of x.
        Tensor of shape (K, 2S)
            Gradients of all norms' weights, then biases, but the first's.
        """
        network, x = self.network, self.x
        d_x = d_prior = d_attention = None
        for t in range(network.n_steps, 0, -1):
            step = self.steps[t - 1]
            d_decision = _ops.threshold_backward(slope, step.hidden[:, : network.n_d], 0)
            d_mask = self._transform_backward(t, _stacked(d_decision, d_attention, step.hidden.shape[1]))
            spread = network.embeddings.spread(step.mask)
            d_x = d_mask * spread if d_x is None else d_x.addcmul_(d_mask, spread)
            d_mask = network.embeddings.collect(d_mask.mul_(x))
            d_logits, d_prior = self._mask_backward(step, d_mask, d_prior, entropy_slope)
            d_linear = self._normalize_backward(network._attention_norms[t - 1], d_logits)
            name = f"attention.{t}"
            self._add_outer(name, step.attention, d_linear)
            d_attention = product(self.weights.transposed[name], d_linear)
        width = self.gated[0][-1].gate.shape[1]
        d_first = self._transform_backward(0, _stacked(None, d_attention, width))
        return d_first if d_x is None else d_x.add_(d_first), self._joined_norm_gradients()

    def _joined_norm_gradients(self) -> Tensor:
        n_layers, shape = len(self.scales), (self.weights.n_members, -1, self.n_chunks)
        norms = self.norm_gradients[1:n_layers] + self.norm_gradients[n_layers + 1 :]
        if self.weights.n_members == 1:
            return torch.cat(norms).view(shape).sum(2)
        return torch.cat([norm.view(shape) for norm in norms], dim=1).sum(2)

    def _mask_backward(
        self, step: _Step, d_mask: Tensor, d_next_prior: Tensor | None, entropy_slope: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """From a mask to its logits and its prior; d_mask and d_next_prior are used up."""
        prior = step.prior
        if entropy_slope is not None:
            # The derivative of m log m is log m + 1; the projection's way back removes the constant.
            d_mask.addcmul_(step.log, entropy_slope)
        if d_next_prior is not None:  # the next prior is prior * (gamma - mask)
            if prior is None:
                d_mask.sub_(d_next_prior)
            else:
                d_mask.addcmul_(d_next_prior, prior, value=-1)
                d_next_prior.mul_(torch.rsub(step.mask, self.network.gamma))
        # With the response s, that of sparsemax and of entmax alike: s * (d - sum(s * d) / sum(s)).
        d_mask.mul_(step.response)
        d_mask.addcmul_(step.response, d_mask.sum(1, keepdim=True).div_(step.total), value=-1)
        if prior is None:
            return d_mask, None
        d_prior = d_mask * step.logits if d_next_prior is None else d_next_prior.addcmul_(d_mask, step.logits)
        return d_mask.mul_(prior), d_prior

    def _transform_backward(self, t: int, d_above: Tensor) -> Tensor:
        """From a transformer's output to its input; d_above is used up."""
        layers = self.network._transformers[t]
        for i in range(len(layers) - 1, -1, -1):
            layer, tape = layers[i], self.gated[t][i]
            d_linear = self._normalize_backward(layer.norm, _gate_backward(tape, d_above))
            self._add_outer(layer.weight, tape.below, d_linear)
            weight = self.weights.transposed[layer.weight]
            if i and d_above.shape[1] == tape.below.shape[1]:
                add_product(d_above, weight, d_linear)
            else:
                d_below = product(weight, d_linear)
                if i:
                    d_below[:, layer.residual].add_(d_above)
                d_above = d_below
        return d_above

    def _normalize_backward(self, layer: int, slope: Tensor) -> Tensor:
        flat, mean, inverse_std = self.norms[layer]
        scale, rows = self.scales[layer], self.rows
        d_y, wanted = slope.view(flat.shape), [True, True, True]
        if rows < _VECTORISED_FROM:
            d_u, d_scale, d_shift = _ops.native_batch_norm_backward(
                d_y, flat, scale, None, None, mean, inverse_std, True, EPSILON, wanted
            )
        else:
            n = scale.shape[0]
            d_u, d_scale, d_shift = _ops.native_group_norm_backward(
                d_y, flat, mean, inverse_std, scale, 1, n, rows, n, wanted
            )
        self.norm_gradients[layer], self.norm_gradients[layer + len(self.scales)] = d_scale, d_shift
        return d_u.view(slope.shape)

    def _add_outer(self, name: str, below: Tensor, d_linear: Tensor) -> None:
        assert self.gradients is not None
        self.gradients[name] = add_outer(self.gradients.get(name), below, d_linear)
        if self.moments is not None:
            self.moments[name] = add_outer(self.moments.get(name), below, below)


def _gate_backward(tape: _Gated, d_output: Tensor) -> Tensor:
    """From ``value * sigmoid(gate)`` to both halves, written over them."""
    affine, value, other, gate = tape[1:]
    torch.addcmul(value, value, gate, value=-1, out=other)
    torch.mul(d_output, gate, out=value)
    other.mul_(value)
    return affine


def _stacked(decision: Tensor | None, attention: Tensor | None, width: int) -> Tensor:
    """Join the gradients of a hidden layer's parts; a part that nobody reads has none."""
    parts = [part for part in (decision, attention) if part is not None]
    missing = width - sum(part.shape[1] for part in parts)
    if missing:
        like = parts[0]
        unread = like.new_zeros(like.shape[0], missing, like.shape[2])
        parts.insert(0 if decision is None else 1, unread)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Sum in place over the first; the first may be the only one."""
    total, *others = tensors
    for tensor in others:
        total.add_(tensor)
    return total
