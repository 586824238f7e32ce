"""The population network against pytorch_tabnet's, with the same weights."""

import pytest
import torch

from flatcausal.nn import TabNet
from tests.reference.pytorch_tabnet_weights import copy_weights, reference_network, running_statistics

SHAPES = [
    {"n_features": 7},
    {"n_features": 5, "n_outputs": 2, "n_d": 4, "n_a": 6, "n_steps": 1},
    {"n_features": 6, "n_d": 3, "n_a": 2, "n_steps": 4, "n_shared": 0, "n_independent": 2, "gamma": 1.0},
    {"n_features": 6, "n_shared": 2, "n_independent": 0, "gamma": 2.0},
    {"n_features": 3, "n_shared": 1, "n_independent": 1},
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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_rows", N_ROWS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_outputs_and_sparsity_and_statistics_equal_pytorch_tabnet(shape, n_rows, training, dtype):
    network, references = pair(shape, dtype=dtype)
    X = torch.randn(n_rows, shape["n_features"], dtype=dtype, generator=torch.Generator().manual_seed(1))
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
    X = torch.randn(20, shape["n_features"], generator=torch.Generator().manual_seed(2))
    network.eval()
    explained = network.explain(X)
    torch.testing.assert_close(explained.sum(2), torch.ones(3, 20))
    for k, reference in enumerate(references):
        reference.eval()
        aggregated, masks = reference.forward_masks(X)
        total = aggregated.sum(1, keepdim=True)
        plain = torch.stack([*masks.values()]).mean(0)
        expected = torch.where(total > 0, aggregated / total, plain)
        torch.testing.assert_close(explained[k], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64])
def test_gradients_equal_pytorch_tabnet(training, dtype):
    network, references = pair({"n_features": 5}, dtype=dtype)
    X = torch.randn(13, 5, dtype=dtype, generator=torch.Generator().manual_seed(3))
    network.train(training)
    output, sparsity = network(X)
    (output.square().sum() + sparsity.sum()).backward()
    columns = network.layout.columns()
    for k, reference in enumerate(references):
        reference.train(training)
        expected, expected_sparsity = reference(X)
        (expected.square().sum() + expected_sparsity).backward()
        ours = network.population.grad[k, columns["shared.1"]]
        theirs = reference.encoder.initial_splitter.shared.glu_layers[1].fc.weight.grad.reshape(-1)
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
        ours = network.population.grad[k, columns["norm.0.weight"]]
        torch.testing.assert_close(ours, reference.encoder.initial_bn.weight.grad, atol=1e-10, rtol=1e-10)
