"""1.5-entmax, both forms, against its definition and against pytorch_tabnet's."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from pytorch_tabnet.sparsemax import entmax15 as reference_entmax15

import flatcausal.nn._entmax as entmax_module
from flatcausal.nn import entmax15, sparsemax
from flatcausal.nn._entmax import entmax15_
from tests.reference.entmax import entmax15 as twin

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
SCALES = [0.0, 1e-6, 0.1, 1.0, 10.0, 1e4]
BOTH = pytest.mark.parametrize("form", [lambda z: entmax15(z, 1), lambda z: entmax15_(z.clone())[0]])
# Its forward mode loads parts of torch that torch itself deprecates.
FUNCTORCH = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
rows = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30)


def drawn(*shape, seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, dtype=torch.float64, generator=generator) * scale).to(dtype)


def exact(z, dim=1):
    return torch.from_numpy(twin(z.numpy(), dim))


def near(p, expected, dtype):
    torch.testing.assert_close(p.double(), expected, atol=TOLERANCE[dtype], rtol=0)


def of_row(form, z):
    return form(z.view(1, -1, 1)).flatten()


# ---- values


@BOTH
@given(st.integers(1, 70), st.integers(0, 10_000), st.sampled_from(SCALES), st.sampled_from(list(TOLERANCE)))
def test_is_what_its_definition_says(form, n_features, seed, scale, dtype):
    z = drawn(2, n_features, 10, seed=seed, scale=scale, dtype=dtype) + 3
    near(form(z), exact(z), dtype)


@BOTH
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 3.0])
def test_many_features(form, dtype, scale):
    z = drawn(2, 400, 200, scale=scale, dtype=dtype)
    near(form(z), exact(z), dtype)


@BOTH
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([7.0], [1.0]),
        ([1e8, 0.0], [1.0, 0.0]),
        ([3e8, 3e8, 2e8], [0.5, 0.5, 0.0]),
        ([2.0, 2.0, 2.0, 2.0], [0.25] * 4),
        ([2.0, 0.0], [1.0, 0.0]),  # the second lies on the threshold
        ([2.0, 0.0, 0.0, -1.0], [1.0, 0.0, 0.0, 0.0]),
        ([0.4, 0.0], [0.64, 0.36]),  # 0.8 - 0.6 is half of 0.4
        ([0.0, -np.inf], [1.0, 0.0]),
    ],
)
def test_known_values(form, dtype, logits, expected):
    z = torch.tensor(logits, dtype=dtype)
    near(of_row(form, z), torch.tensor(expected, dtype=torch.float64), dtype)
    near(of_row(form, z), exact(z, 0), dtype)


@BOTH
@given(rows, st.randoms(use_true_random=False))
def test_lies_on_the_simplex_and_follows_permutations_and_shifts(form, logits, random):
    z = torch.tensor(logits, dtype=torch.float64)
    p = of_row(form, z)
    assert (p >= 0).all()
    assert p.sum().item() == pytest.approx(1)
    assert (p[z.argsort()].diff() >= -1e-12).all()
    order = random.sample(range(len(z)), len(z))
    torch.testing.assert_close(of_row(form, z[order]), p[order], atol=1e-12, rtol=0)
    torch.testing.assert_close(of_row(form, z + 17.25), p, atol=1e-12, rtol=0)


@BOTH
@given(rows)
@example([0.0, -2.0, -2.0])
def test_is_exactly_zero_outside_the_support_and_keeps_what_sparsemax_keeps(form, logits):
    z = torch.tensor(logits, dtype=torch.float64)
    p, expected = of_row(form, z), exact(z, 0)
    assert (p[z <= z.max() - 2] == 0).all()
    assert (p[expected == 0] < 1e-25).all()
    assert (p[sparsemax(z, dim=0) > 1e-12] > 0).all()
    assert p[z == z.max()].unique().numel() == 1


@given(st.integers(1, 40), st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 10.0]))
def test_equals_the_sorting_reference(n_features, seed, scale):
    z = drawn(6, n_features, seed=seed, scale=scale)
    torch.testing.assert_close(entmax15(z, dim=1), reference_entmax15(z.clone(), -1), atol=1e-10, rtol=0)


def test_leaves_its_input_alone_and_takes_any_axis():
    z = drawn(4, 5, 6)
    before = z.clone()
    for dim in (0, 1, 2, -1):
        near(entmax15(z, dim), exact(z, dim), torch.float64)
    assert torch.equal(z, before)


@BOTH
def test_a_row_of_nan_leaves_the_others_alone(form):
    z = drawn(3, 20, 50, scale=2.0, dtype=torch.float32)
    sick = z.clone()
    sick[1, 4, ::3] = torch.nan
    sick[2, 0, 1] = torch.inf
    p, spoilt = form(z), form(sick)
    ill = sick.isfinite().all(1, keepdim=True).logical_not().expand_as(p)
    assert torch.equal(p[~ill], spoilt[~ill])
    assert spoilt[ill].isnan().all()


# ---- derivatives


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_is_differentiable_twice(scale):
    z = drawn(2, 5, 3, scale=scale).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: entmax15(z, dim=1), z)
    assert torch.autograd.gradgradcheck(lambda z: entmax15(z, dim=1), z)


@FUNCTORCH
def test_second_derivatives_are_those_of_the_gradient_and_finite_where_public_ones_are_not():
    z = drawn(42, scale=1.5)
    weights = drawn(42, seed=1)

    def gradient(z, function):
        z = z.clone().requires_grad_()
        return torch.autograd.grad((weights * function(z, 0)).sum(), z)[0]

    step = 1e-6 * torch.eye(42, dtype=torch.float64)
    differences = torch.stack([gradient(z + e, entmax15) - gradient(z - e, entmax15) for e in step]) / 2e-6
    hessian = torch.func.hessian(lambda z: (weights * entmax15(z, 0)).sum())(z)
    assert (entmax15(z, 0) == 0).any()
    torch.testing.assert_close(hessian, differences, atol=1e-7, rtol=1e-6)
    public = torch.autograd.functional.hessian(lambda z: (weights * reference_entmax15(z, 0)).sum(), z)
    assert public.isnan().any()


@FUNCTORCH
def test_third_derivatives_are_finite():
    z = drawn(8, scale=1.5)
    assert torch.func.jacrev(torch.func.hessian(lambda z: (entmax15(z, 0) ** 3).sum()))(z).isfinite().all()


@given(st.integers(1, 40), st.integers(0, 10_000), st.sampled_from(SCALES))
def test_the_response_gives_the_gradient(n_features, seed, scale):
    z = drawn(2, n_features, 5, seed=seed, scale=scale).requires_grad_()
    v = drawn(2, n_features, 5, seed=seed + 1)
    (expected,) = torch.autograd.grad((v * entmax15(z, dim=1)).sum(), z)
    mask, response, total = entmax15_(z.detach().clone())
    torch.testing.assert_close(response.square(), mask, atol=1e-15, rtol=0)
    torch.testing.assert_close(total, response.sum(1, keepdim=True), atol=1e-12, rtol=0)
    found = response * (v - (response * v).sum(1, keepdim=True) / total)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


# ---- the iteration


def test_a_column_does_not_depend_on_the_others():
    scales = torch.tensor([0.05, 0.3, 1.0, 3.0, 1.0, 0.01]).view(-1, 1, 1)
    z = drawn(6, 50, 64, dtype=torch.float32) * scales
    together = entmax15_(z.clone())
    for pair in ([0, 1], [3, 2], [4, 5]):
        for whole, part in zip(together, entmax15_(z[pair]), strict=True):
            assert torch.equal(whole[pair], part)


@pytest.mark.parametrize("rounds", [1, 3])  # before the columns that still move are finished apart
def test_a_column_does_not_depend_on_how_many_rounds_its_neighbours_take(rounds, monkeypatch):
    monkeypatch.setattr(entmax_module, "_ROUNDS", rounds)
    z, quick = drawn(40, 500, dtype=torch.float32), torch.zeros(40, 500)
    slow = drawn(40, 500, seed=1, scale=0.1, dtype=torch.float32)
    alone = entmax15_(torch.stack([z, quick]))
    beside = entmax15_(torch.stack([z, slow]))
    among = entmax15_(torch.stack([torch.where(torch.arange(500) % 2 == 0, z, slow), quick]))
    for mine, same, every_other in zip(alone, beside, among, strict=True):
        assert torch.equal(mine[0], same[0])
        assert torch.equal(mine[0][:, ::2], every_other[0][:, ::2])


def on_the_threshold(n, dtype):
    """Three logits, and a fourth of which rounding decides whether it belongs to the support."""
    z = drawn(n, 3, scale=0.5, dtype=dtype)
    p = exact(z)
    thresholds = (z.double() - 2 * p.sqrt()).where(p > 1e-3, -torch.inf).amax(1, keepdim=True)
    return torch.cat([z, thresholds.to(dtype)], dim=1)


def test_a_row_does_not_depend_on_how_many_rounds_its_neighbours_take():
    z = on_the_threshold(3000, torch.float32)
    slow = torch.tensor([[0.0, -0.6, -1.2, -1.6], [0.0, -1.4, -1.6, -1.8]])
    together = entmax15(torch.cat([z, slow]), dim=1)[:-2]
    apart = torch.cat([entmax15(row, dim=1) for row in z.split(1)])
    assert torch.equal(together, apart)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_ends_where_logits_lie_on_the_threshold(dtype):
    z = on_the_threshold(3000, dtype)
    for form in (entmax15, lambda z, dim: entmax15_(z.unsqueeze(2))[0].squeeze(2)):
        near(form(z.clone(), 1), exact(z), dtype)
