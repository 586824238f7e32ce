"""Which number of pytorch_tabnet's network is which of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from flatcausal.nn import TabNet

_CONSTANT_GATE = -14.0  # before the sigmoid: the constant unit is too small to be seen in explanations


def pairs(network: TabNet, member: int, theirs: Any) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Each tensor of ours, a view; the one of theirs that holds it; and the place in there.

    Theirs computes more: the decision of the first and the attention of the last transformer, which nobody
    reads; and it may have decision units of which ours has none.
    """
    encoder = theirs.tabnet.encoder
    split = network.layout.split(network.population.detach())
    weights = {name: tensor[member] for name, tensor in split.items()}
    everything = slice(None)
    decision = torch.arange(network.n_d)
    attention = encoder.n_d + torch.arange(network.n_a)
    hidden, width = torch.cat([decision, attention]), encoder.n_d + encoder.n_a
    for i, column in enumerate(network.embeddings.sizes):
        yield weights[f"embedding.{column}"], theirs.embedder.embeddings[i].weight, everything
    yield weights["output"], theirs.tabnet.final_mapping.weight, (everything, decision)
    norms: list[tuple[nn.BatchNorm1d, Any]] = [(encoder.initial_bn, everything)]
    for t, transformer in enumerate([encoder.initial_splitter, *encoder.feat_transformers]):
        if t:
            attentive = encoder.att_transformers[t - 1]
            yield weights[f"attention.{t}"], attentive.fc.weight, everything
            norms.append((attentive.bn.bn, everything))
        layers = _gated_layers(transformer)
        for i, layer in enumerate(layers):
            is_last_own = i == len(layers) - 1 and network.n_independent > 0
            kept = {0: attention, network.n_steps: decision}.get(t, hidden) if is_last_own else hidden
            rows = torch.cat([kept, width + kept])
            if t == 0 or i >= network.n_shared:
                name = f"shared.{i}" if i < network.n_shared else f"transformer.{t}.{i - network.n_shared}"
                yield weights[name], layer.fc.weight, (rows[:, None], hidden) if i else rows
            norms.append((layer.bn.bn, rows))
    sizes = [weights[f"norm.{i}.weight"].numel() for i in range(len(norms))]
    means, variances = (part.split(sizes) for part in network.statistics[member].chunk(2))
    for i, (norm, rows) in enumerate(norms):
        yield weights[f"norm.{i}.weight"], norm.weight, rows
        yield weights[f"norm.{i}.bias"], norm.bias, rows
        yield means[i], norm.running_mean, rows  # pyright: ignore[reportReturnType]
        yield variances[i], norm.running_var, rows  # pyright: ignore[reportReturnType]


def _gated_layers(transformer: Any) -> list[Any]:
    blocks = [transformer.shared, transformer.specifics]  # one without layers is an identity
    return [layer for block in blocks for layer in getattr(block, "glu_layers", ())]


def carry_by_constant(theirs: Any, values: Tensor) -> None:
    """Make the last decision unit constant, and let the output read ``values`` from it.

    A gate that is nearly shut keeps the unit small, so that it does not count in explanations, and the
    gradients by its biases moderate, though its weight in the output is large. A normalisation of weight zero
    passes no gradient on.
    """
    encoder = theirs.tabnet.encoder
    unit, gate = encoder.n_d - 1, encoder.n_d - 1 + encoder.n_d + encoder.n_a
    n_layers = encoder.n_shared + encoder.n_independent
    for transformer in encoder.feat_transformers:
        layers = _gated_layers(transformer)
        for layer in layers:
            layer.bn.bn.weight[[unit, gate]] = 0.0
            layer.bn.bn.bias[gate] = _CONSTANT_GATE
        layers[-1].bn.bn.bias[unit] = 1.0
    size = torch.tensor(_CONSTANT_GATE, dtype=torch.float64).sigmoid() * (0.5**0.5 if n_layers > 1 else 1.0)
    theirs.tabnet.final_mapping.weight[:, unit] = (values / (encoder.n_steps * size)).float()
