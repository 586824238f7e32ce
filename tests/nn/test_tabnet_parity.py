"""The population network against pytorch_tabnet's, with the same weights."""

import pytest
import torch

from flatcausal.nn import TabNet
from tests.reference.pytorch_tabnet_weights import (
    copy_weights,
    encoder,
    reference_network,
    running_statistics,
)

SHAPES = [
    {"n_features": 7},
    {"n_features": 5, "n_outputs": 2, "n_d": 4, "n_a": 6, "n_steps": 1},
    {"n_features": 6, "n_d": 3, "n_a": 2, "n_steps": 4, "n_shared": 0, "n_independent": 2, "gamma": 1.0},
    {"n_features": 6, "n_shared": 2, "n_independent": 0, "gamma": 2.0},
    {"n_features": 3, "n_shared": 1, "n_independent": 1},
    {"n_features": 4, "embeddings": {3: (5, 3), 1: (2, 1)}},
    {"n_features": 2, "embeddings": {0: (40, 2), 1: (3, 4)}, "n_steps": 2, "gamma": 1.0},
    {"n_features": 7, "n_d": 4, "n_a": 6, "mask_type": "entmax"},
    {"n_features": 4, "embeddings": {3: (5, 3), 1: (2, 1)}, "n_steps": 2, "gamma": 1, "mask_type": "entmax"},
]
# Ghost batches of at most 32 rows: whole chunks, one chunk, and ragged last chunks (26 + 25; 6 x 29 + 26).
N_ROWS = [64, 24, 51, 200]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(autouse=True)
def exact_scale(monkeypatch, request):
    # The reference writes sqrt(0.5) in float32 whatever its dtype; in float64 it is to be exact.
    if request.node.callspec.params.get("dtype") == torch.float64:
        monkeypatch.setattr(torch, "FloatTensor", torch.DoubleTensor)


def pair(shape, n_members=3, dtype=torch.float32):
    network = TabNet(**shape, n_members=n_members, virtual_batch_size=32, bn_momentum=0.3).to(dtype)
    references = [reference_network(network, seed) for seed in range(n_members)]
    for k, reference in enumerate(references):
        copy_weights(reference, network, k)
    return network, references


def inputs(shape, n_rows, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n_rows, shape["n_features"], generator=generator)  # the reference reads float32
    for column, (n_categories, _) in shape.get("embeddings", {}).items():
        X[:, column] = torch.randint(n_categories, (n_rows,), generator=generator)
    return X.to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_rows", N_ROWS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_sparsity_and_statistics_equal_pytorch_tabnet(shape, n_rows, training, dtype):
    network, references = pair(shape, dtype=dtype)
    X = inputs(shape, n_rows, dtype)
    for model in [network, *references]:
        model.train(training)
    output, sparsity = network(X)
    for k, reference in enumerate(references):
        expected, expected_sparsity = reference(X)
        # Float32 rounds both sides by up to 1e-5 of the output's scale; float64 has no such excuse.
        close = {"atol": TOLERANCE[dtype] * expected.detach().abs().max().item(), "rtol": TOLERANCE[dtype]}
        torch.testing.assert_close(output[k], expected, **close)
        torch.testing.assert_close(sparsity[k], expected_sparsity, **close)
        torch.testing.assert_close(network.statistics[k], running_statistics(network, reference), **close)


@pytest.mark.parametrize("shape", SHAPES)
def test_explained_masks_equal_pytorch_tabnet(shape):
    network, references = pair(shape)
    X = inputs(shape, 20, seed=2)
    network.eval()
    explained = network.explain(X)
    torch.testing.assert_close(explained.sum(2), torch.ones(3, 20))
    for k, reference in enumerate(references):
        reference.eval()
        aggregated, masks = reference.forward_masks(X)
        # Summed back to the input columns.
        back = (encoder(reference).group_attention_matrix > 0).to(X).T
        aggregated, masks = aggregated @ back, [mask @ back for mask in masks.values()]
        total = aggregated.sum(1, keepdim=True)
        plain = torch.stack(masks).mean(0)
        expected = torch.where(total > 0, aggregated / total, plain)
        torch.testing.assert_close(explained[k], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64])
def test_gradients_equal_pytorch_tabnet(shape, training, dtype):
    network, references = pair(shape, dtype=dtype)
    X = inputs(shape, 13, dtype, seed=3)
    network.train(training)
    output, sparsity = network(X)
    (output.square().sum() + sparsity.sum()).backward()
    columns = network.layout.columns()
    for k, reference in enumerate(references):
        reference.train(training)
        expected, expected_sparsity = reference(X)
        (expected.square().sum() + expected_sparsity).backward()
        theirs = {"norm.0.weight": encoder(reference).initial_bn.weight}
        if "shared.0" in columns:
            theirs["shared.0"] = encoder(reference).initial_splitter.shared.glu_layers[0].fc.weight
        for i, column in enumerate(network.embeddings.sizes):
            theirs[f"embedding.{column}"] = reference.embedder.embeddings[i].weight
        for name, weight in theirs.items():
            ours = network.population.grad[k, columns[name]]
            torch.testing.assert_close(ours, weight.grad.reshape(-1), atol=1e-10, rtol=1e-10)
