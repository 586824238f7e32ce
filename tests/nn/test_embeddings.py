"""Categorical columns: where their embeddings stand, and what an unseen category becomes."""

import pytest
import torch

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.nn import TabNet

SIZES = {0: (3, 2), 2: (4, 1)}


def network(n_members=2, **kwargs):
    generators = [torch.Generator().manual_seed(k) for k in range(n_members)]
    shape = {"n_d": 3, "n_a": 3, "n_steps": 2, "virtual_batch_size": 8, "embeddings": SIZES}
    return TabNet(4, n_members=n_members, generators=generators, **{**shape, **kwargs}).double()


def batch(n=21, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 4, dtype=torch.float64, generator=generator)
    X[:, 0] = torch.randint(3, (n,), generator=generator)
    X[:, 2] = torch.randint(4, (n,), generator=generator)
    return X


def embedded(net, X):
    """The simple form: what the first normalisation sees, by table look-up, shape (K, n, columns)."""
    tables = net.layout.split(net.population.detach())
    members = torch.arange(net.n_members)[:, None]
    X = X.expand(net.n_members, -1, -1)
    return torch.cat(
        [
            tables["embedding.0"][members, X[..., 0].long()],
            X[..., 1:2],
            tables["embedding.2"][members, X[..., 2].long()],
            X[..., 3:],
        ],
        dim=2,
    )


def test_tables_are_the_only_numbers_of_kind_embedding_and_standard_normal():
    net = TabNet(2, n_members=2, embeddings={1: (5000, 2)})
    tables = net.population[:, net.layout.mask("embedding")]
    assert tables.shape == (2, 10_000)
    assert tables.mean().item() == pytest.approx(0, abs=0.05)
    assert tables.std().item() == pytest.approx(1, abs=0.05)


def test_a_network_on_the_embedded_columns_gives_the_same_output_where_each_has_one_column():
    sizes = {0: (3, 1), 2: (4, 1)}
    net, X = network(embeddings=sizes), batch()
    plain = network(embeddings=None)
    with torch.no_grad():
        plain.population.copy_(net.population[:, ~net.layout.mask("embedding")])
    for ours, theirs in zip(net(X), plain(embedded(net, X)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_members_with_rows_of_their_own_look_into_their_own_tables():
    net = network()
    own = torch.stack([batch(seed=1), batch(seed=2)])
    together = net(own)[0]
    for k in range(2):
        torch.testing.assert_close(together[k], network()(own[k])[0][k])


@pytest.mark.parametrize("training", [True, False])
def test_an_unseen_category_takes_the_running_mean_of_its_column(training):
    net, X = network().train(training), batch()
    net.track_running_stats = False
    means = net.statistics[:, :5].normal_(generator=torch.Generator().manual_seed(3)).clone()
    net.population.data[:, net.layout.columns()["embedding.0"]].view(2, 3, 2)[:, 1] = means[:, :2]
    known, unseen = X.clone(), X.clone()
    unseen[known[:, 0] == 1, 0] = -1
    outputs = [net(known)[0], net(unseen)[0]]
    torch.testing.assert_close(*outputs)
    outputs[1].sum().backward()
    assert net.population.grad[:, net.layout.columns()["embedding.0"]].view(2, 3, 2)[:, 1].eq(0).all()


def test_masks_are_those_of_the_input_columns():
    net = network().eval()
    masks = net.explain(batch())
    assert masks.shape == (2, 21, 4)
    torch.testing.assert_close(masks.sum(2), torch.ones(2, 21, dtype=torch.float64))


def test_reestimated_statistics_are_those_of_the_embedded_columns():
    net, X = network(), batch(16)
    net.reestimate_statistics([X])
    torch.testing.assert_close(net.statistics[:, :5], embedded(net, X).mean(1))


def test_gradients_of_the_tables_can_be_differentiated_again():
    net, X = network(n_members=1, n_steps=1), batch(9)
    loss = net(X)[0].square().mean()
    (gradient,) = torch.autograd.grad(loss, net.population, create_graph=True)
    table = net.layout.mask("embedding")
    (curvature,) = torch.autograd.grad(gradient[:, table].square().sum(), net.population)
    assert curvature[:, table].abs().sum() > 0


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ({4: (3, 1)}, ParameterError, "column of embeddings.*got 4"),
        ({-1: (3, 1)}, ParameterError, "column of embeddings"),
        ({0: (0, 1)}, ParameterError, r"categories of embeddings\[0\].*got 0"),
        ({0: (3, 0)}, ParameterError, r"dimension of embeddings\[0\]"),
        ({0: 3}, ParameterError, r"embeddings\[0\] must be"),
        ({0: (2.5, 1)}, ParameterTypeError, "integer"),
        ([0], ParameterTypeError, "embeddings must map"),
    ],
)
def test_bad_embeddings_are_named(value, error, match):
    with pytest.raises(error, match=match):
        TabNet(4, embeddings=value)
