"""Copies pytorch_tabnet's weights and running statistics into a row of a population."""

from __future__ import annotations

import torch
from pytorch_tabnet.tab_network import TabNet as ReferenceTabNet
from pytorch_tabnet.tab_network import TabNetNoEmbeddings

from flatcausal.nn import TabNet

Reference = TabNetNoEmbeddings | ReferenceTabNet


def reference_network(network: TabNet, seed: int) -> Reference:
    """A pytorch_tabnet network of the same shape, with all its numbers, normalisation included, random."""
    sizes = network.embeddings.sizes
    kind, own = TabNetNoEmbeddings, {}
    if sizes:
        kind, own = ReferenceTabNet, {"cat_idxs": list(sizes)}
        own["cat_dims"], own["cat_emb_dim"] = (list(column) for column in zip(*sizes.values(), strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reference = kind(
            network.n_features,
            network.n_outputs,
            **own,
            n_d=network.n_d,
            n_a=network.n_a,
            n_steps=network.n_steps,
            gamma=network.gamma,
            n_independent=network.n_independent,
            n_shared=network.n_shared,
            virtual_batch_size=network.virtual_batch_size,
            momentum=network.bn_momentum,
            mask_type=network.mask_type,
            group_attention_matrix=torch.eye(network.n_features),
        )
        for name, tensor in [*reference.named_parameters(), *reference.named_buffers()]:
            if "bn" in name and tensor.dtype.is_floating_point:
                low, high = (-0.3, 0.3) if name.endswith(("bias", "mean")) else (0.7, 1.3)
                tensor.data.uniform_(low, high)
    # Rounded to float32 by pytorch_tabnet whatever its dtype; a share is 1 / dimension.
    inner = encoder(reference)
    shares = inner.group_attention_matrix.to(network.population)
    inner.group_attention_matrix = (shares > 0) / (shares > 0).sum(1, keepdim=True).to(shares)
    return reference.to(network.population.dtype)


def encoder(reference: Reference) -> torch.nn.Module:
    """The part behind the embeddings."""
    return getattr(reference, "tabnet", reference).encoder


def _norms(network: TabNet, reference: Reference):
    """Our norm index, their BatchNorm, and which of its features we keep."""
    inner, (n_d, n_a) = encoder(reference), (network.n_d, network.n_a)
    transformers = [inner.initial_splitter, *inner.feat_transformers]
    attentions = [None, *inner.att_transformers]
    yield 0, inner.initial_bn, slice(None)
    for t, layers in enumerate(network._transformers):
        if t:
            yield network._attention_norms[t - 1], attentions[t].bn.bn, slice(None)
        blocks = [transformers[t].shared, transformers[t].specifics]
        glus = [glu for block in blocks if hasattr(block, "glu_layers") for glu in block.glu_layers]
        for layer, glu in zip(layers, glus, strict=True):
            columns = torch.arange(2 * (n_d + n_a)).view(2, -1)[:, layer.residual].flatten()
            yield layer.norm, glu.bn.bn, columns


def copy_weights(reference: Reference, network: TabNet, member: int = 0) -> None:
    """Write the reference's numbers into row ``member`` of the population and of the statistics."""
    inner, (n_d, n_a) = encoder(reference), (network.n_d, network.n_a)
    transformers = [inner.initial_splitter, *inner.feat_transformers]
    values = {"output": getattr(reference, "tabnet", reference).final_mapping.weight}
    for i, column in enumerate(network.embeddings.sizes):
        values[f"embedding.{column}"] = reference.embedder.embeddings[i].weight
    for t, layers in enumerate(network._transformers):
        if t:
            values[f"attention.{t}"] = inner.att_transformers[t - 1].fc.weight
        blocks = [transformers[t].shared, transformers[t].specifics]
        glus = [glu for block in blocks if hasattr(block, "glu_layers") for glu in block.glu_layers]
        for layer, glu in zip(layers, glus, strict=True):
            columns = torch.arange(2 * (n_d + n_a)).view(2, -1)[:, layer.residual].flatten()
            values[layer.weight] = glu.fc.weight[columns]
    starts = [0]
    for size in network._norm_sizes:
        starts.append(starts[-1] + size)
    for i, norm, columns in _norms(network, reference):
        values[f"norm.{i}.weight"], values[f"norm.{i}.bias"] = norm.weight[columns], norm.bias[columns]
        place = slice(starts[i], starts[i + 1])
        network.statistics[member, : starts[-1]][place] = norm.running_mean[columns]
        network.statistics[member, starts[-1] :][place] = norm.running_var[columns]
    with torch.no_grad():
        row = network.population[member]
        for name, columns in network.layout.columns().items():
            row[columns] = values[name].reshape(-1)


def running_statistics(network: TabNet, reference: Reference) -> torch.Tensor:
    """The reference's running statistics in our order, shape (2S,)."""
    means, variances = [], []
    for _, norm, columns in sorted(_norms(network, reference), key=lambda row: row[0]):
        means.append(norm.running_mean[columns])
        variances.append(norm.running_var[columns])
    return torch.cat(means + variances)
