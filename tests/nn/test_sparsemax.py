import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_tabnet.sparsemax import sparsemax as reference_sparsemax

from flatcausal.nn import sparsemax

floats = st.floats(-50, 50, width=32)


@given(st.lists(floats, min_size=1, max_size=30))
def test_lies_on_the_simplex_and_keeps_the_order(logits):
    z = torch.tensor(logits, dtype=torch.float64)
    p = sparsemax(z, dim=0)
    assert (p >= 0).all()
    assert p.sum().item() == pytest.approx(1)
    assert (p[z.argsort()].diff() >= -1e-12).all()


@given(st.integers(1, 40), st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 10.0]))
def test_equals_the_sorting_reference(n_features, seed, scale):
    z = torch.randn(6, n_features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale
    torch.testing.assert_close(sparsemax(z, dim=1), reference_sparsemax(z.clone(), -1), atol=1e-12, rtol=0)


def test_leaves_its_input_alone():
    z = torch.tensor([1.0, 2.0])
    sparsemax(z, dim=0)
    assert z.tolist() == [1.0, 2.0]


def test_is_differentiable_twice():
    z = torch.randn(
        2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )

    def curved(z):
        return sparsemax(z, dim=1) ** 2

    assert torch.autograd.gradcheck(curved, z)
    assert torch.autograd.gradgradcheck(curved, z)


def test_a_row_does_not_depend_on_how_many_rounds_its_neighbours_take():
    # The last logit lies on the threshold of the others, so that rounding decides whether it belongs to them.
    z = -torch.rand(3000, 3, generator=torch.Generator().manual_seed(0)) / 2
    z -= z.amax(1, keepdim=True)
    z = torch.cat([z, (z.sum(1, keepdim=True) - 1) / 3], dim=1)
    slow = torch.tensor([[0.0, -0.5, -0.8, -0.95]])
    together = sparsemax(torch.cat([z, slow]), dim=1)[:-1]
    apart = torch.cat([sparsemax(row, dim=1) for row in z.split(1)])
    assert torch.equal(together, apart)


def test_ends_where_rounding_could_swing_the_threshold_to_and_fro():
    # Without the guard an element leaves and joins the support for ever, by rounding in float32.
    logits = [-0.9754452705383301, 0.0, -0.49767303466796875, -0.791225790977478, -0.6804895401000977]
    z = torch.tensor([*logits, -0.5437957048416138])
    torch.testing.assert_close(sparsemax(z, dim=0), reference_sparsemax(z.clone(), -1), atol=1e-6, rtol=0)
