"""Predictions and masks in tiles against ``forward`` and the plain formula."""

import pytest
import torch

import flatcausal.nn._evaluation as evaluation
from flatcausal.nn._normalization import BatchStatistics
from tests.nn.test_gradient import LARGE, LARGE_ENTMAX, network
from tests.nn.test_tabnet_parity import SHAPES, inputs


def trained(shape, seeds=(0, 1, 2), dtype=torch.float64):
    net = network(shape, seeds, dtype)
    net.reestimate_statistics([inputs(shape, 200, dtype, seed=9)])
    return net.eval()


def plainly_explained(net, X):
    """The simple form, by the steps that ``forward`` takes."""
    tensors = net.layout.split(net.population.detach())
    steps = net._decide(X, tensors, net._norm(tensors, X.shape[-2]))
    masks = torch.stack([mask for mask, _ in steps])
    added = torch.stack([decision.sum(1, keepdim=True) for _, decision in steps])
    shares = torch.where(added.sum(0) > 0, added / added.sum(0), 1 / net.n_steps)
    return (shares * masks).sum(0).transpose(1, 2)


@pytest.mark.parametrize("shape", [*SHAPES, LARGE, LARGE_ENTMAX])
@pytest.mark.parametrize("n_rows", [1, 50])
@pytest.mark.parametrize("tile", [16, 2**16])
def test_tiles_equal_forward(shape, n_rows, tile, monkeypatch):
    monkeypatch.setattr(evaluation, "_TILE_ELEMENTS", tile)
    monkeypatch.setattr(evaluation, "_TILE_MEMBERS", 2)
    net, X = trained(shape), inputs(shape, n_rows, torch.float64)
    exact = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(net.predict(X), net(X)[0], **exact)
    torch.testing.assert_close(net.explain(X), plainly_explained(net, X), **exact)
    torch.testing.assert_close(net.mean_masks(X), plainly_explained(net, X).mean(1), **exact)
    torch.testing.assert_close(net.explain(X).sum(2), torch.ones(3, n_rows, dtype=torch.float64), **exact)


def test_members_may_have_rows_of_their_own():
    shape = SHAPES[5]
    net = trained(shape)
    X = torch.stack([inputs(shape, 40, torch.float64, seed=seed) for seed in range(3)])
    torch.testing.assert_close(net.predict(X), net(X)[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net.explain(X), plainly_explained(net, X), rtol=1e-10, atol=1e-10)


def test_unseen_categories_take_the_running_mean():
    net, X = trained(SHAPES[5]), inputs(SHAPES[5], 40, torch.float64)
    X[::3, 3] = -1
    torch.testing.assert_close(net.predict(X), net(X)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [LARGE, LARGE_ENTMAX])
@pytest.mark.parametrize("n_rows", [1, 21, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_does_not_depend_on_its_neighbours(shape, n_rows, dtype):
    X = inputs(shape, n_rows, dtype)
    many, pair = trained(shape, range(35), dtype), trained(shape, (3, 30), dtype)
    for function in ("predict", "explain", "mean_masks"):
        assert torch.equal(getattr(many, function)(X)[[3, 30]], getattr(pair, function)(X))


@pytest.mark.parametrize("mask_type", ["sparsemax", "entmax"])
def test_masks_of_huge_logits_still_sum_to_one(mask_type):
    net = trained({**SHAPES[0], "mask_type": mask_type}, dtype=torch.float32)
    with torch.no_grad():
        for norm in net._attention_norms:
            net.population[:, net.layout.columns()[f"norm.{norm}.weight"]] *= 1e4
    torch.testing.assert_close(net.explain(inputs(SHAPES[0], 50)).sum(2), torch.ones(3, 50))


@pytest.mark.parametrize("n_rows", [64, 51])
def test_reestimated_statistics_are_row_weighted_means_over_the_ghost_batches(n_rows, monkeypatch):
    shape, X = SHAPES[5], inputs(SHAPES[5], n_rows, torch.float64)
    net = network(shape)
    seen = []
    normalize = BatchStatistics._normalize

    def spy(self, layer, x, n_chunks, rows):
        seen.append((layer, x.unflatten(2, (n_chunks, rows))))
        return normalize(self, layer, x, n_chunks, rows)

    monkeypatch.setattr(BatchStatistics, "_normalize", spy)
    with torch.no_grad():
        net(X)
    edges = torch.tensor([0, *net._norm_sizes]).cumsum(0).tolist()
    expected = torch.zeros_like(net.statistics)
    means, variances = expected.chunk(2, dim=1)
    for layer, x in seen:
        place, weight = slice(edges[layer], edges[layer + 1]), x.shape[3] / n_rows
        means[:, place] += x.mean(3).sum(2) * weight
        variances[:, place] += x.var(3).sum(2) * weight
    net.reestimate_statistics([X])
    torch.testing.assert_close(net.statistics, expected, rtol=1e-10, atol=1e-10)
