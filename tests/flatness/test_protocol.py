"""What all measures promise beyond their contract: estimators, rows, precision, and what the record tells."""

import hashlib
import random
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from flatcausal.flatness import local_energy, sharpness
from flatcausal.flatness._protocol import measuring
from tests.flatness.measures import MEASURES
from tests.flatness.models import awkward, classifier, data, filled, labels, mlp, regressor, tensors

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def fitted():
    return regressor()


def fingerprint(module):
    """Of all that measuring could change."""
    digest = hashlib.sha256()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        about = (name, id(tensor), tensor.dtype, tensor.requires_grad, tensor._version)
        digest.update(repr(about).encode() + tensor.detach().numpy().tobytes())
        digest.update(b"" if tensor.grad is None else repr(tensor.grad.tolist()).encode())
    digest.update(repr([layer.training for layer in module.modules()]).encode())
    digest.update(
        repr([(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in module.modules()]).encode()
    )
    digest.update(torch.get_rng_state().numpy().tobytes() + repr(random.getstate()).encode())
    digest.update(repr(np.random.get_state()).encode())  # noqa: NPY002
    digest.update(repr((torch.get_num_threads(), torch.is_grad_enabled())).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("bn", ["frozen", "recalibrated", "train"])
def test_measuring_an_estimator_changes_nothing(fitted, bn):
    before = fingerprint(fitted.net_.module_)
    for name in ("adaptive_l2", "keskar", "relative_flatness", "trace"):
        MEASURES[name](fitted, *data(), bn=bn)
    assert fingerprint(fitted.net_.module_) == before


def test_no_measure_writes_into_a_module_even_for_a_while():
    net = awkward()
    before = fingerprint(net)
    for measure in MEASURES.values():
        measure(net, *tensors(), loss=MSE)
    assert fingerprint(net) == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_that_draws_leaves_the_global_state_alone(fails):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, X):
            return self.inner(X) + 0 * torch.rand(1)

    def loss(output, y):
        if fails and output.requires_grad:
            raise KeyError("inside")
        return MSE(output, y)

    noisy = Noisy()
    before = fingerprint(noisy)
    with pytest.raises(KeyError) if fails else nullcontext():
        sharpness(noisy, *tensors(), loss=loss)
    assert fingerprint(noisy) == before


def test_an_optimizer_that_watches_the_network_is_neither_called_nor_copied():
    class Watch:
        wanted = True

        def __call__(self, moments, n_rows):
            raise AssertionError("called")

        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    est = regressor(1, max_epochs=1)
    expected = sharpness(est, *data(), bn="train").value
    est.net_.module_.input_observer = Watch()
    assert sharpness(est, *data(), bn="train").value == expected


def test_no_grad_and_inference_mode_around_a_measure_do_not_matter():
    net = mlp()
    expected = sharpness(net, *tensors(), loss=MSE).value
    with torch.no_grad():
        assert sharpness(net, *tensors(), loss=MSE).value == expected
    with torch.inference_mode():
        assert sharpness(net, *tensors(), loss=MSE).value == expected


@pytest.mark.parametrize("name", MEASURES)
def test_batches_do_not_matter_to_an_estimator(fitted, name):
    whole, cut = (MEASURES[name](fitted, *data(), batch_size=b, random_state=0) for b in (None, 7))
    np.testing.assert_allclose(cut.value, whole.value, rtol=1e-6)
    np.testing.assert_allclose(cut.gradient_norm, whole.gradient_norm, rtol=1e-9)
    assert (cut.n_losses, cut.n_gradients, cut.n_products) == (
        whole.n_losses,
        whole.n_gradients,
        whole.n_products,
    )


def test_errors_are_counted_over_batches():
    est = classifier()
    values = [local_energy(est, *labels(), n_draws=3, batch_size=b, random_state=0).value for b in (None, 7)]
    np.testing.assert_array_equal(*values)
    assert (values[0] > 0).all()


def test_large_activations_go_in_batches():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))

        def forward(self, X):
            return (X * self.w).repeat(1, 200_000).sin().mean(1, keepdim=True)

    X, y = torch.ones(120, 1), torch.ones(120, 1)
    with measuring(Wide(), X, y, loss=MSE) as problem:
        assert 10 < problem.batch_size < 100
        losses, _ = problem.base
    assert losses.item() == pytest.approx((np.sin(1) - 1) ** 2, rel=1e-9)


def test_what_a_pass_holds_does_not_depend_on_the_neighbours(monkeypatch):
    monkeypatch.setattr("flatcausal.flatness._inspection._HELD_BYTES", 2**18)
    sizes = []
    for k in (2, 6):
        with measuring(regressor(k, max_epochs=1), *data(), n_rows=None) as problem:
            sizes.append(problem.batch_size)
    assert sizes[0] == sizes[1] < 60


def test_of_many_rows_the_same_random_ones_are_taken():
    X, y = data(500)
    rows = np.sort(np.random.default_rng(0).choice(500, 100, replace=False))
    net = mlp()
    part = sharpness(net, X, y[:, None], loss=MSE, n_rows=100)
    chosen = sharpness(net, X[rows], y[rows, None], loss=MSE)
    assert part.n_rows == 100
    assert (part.value, part.rows_hash) == (chosen.value, chosen.rows_hash)
    whole = sharpness(net, X, y[:, None], loss=MSE, n_rows=None)
    assert whole.n_rows == 500
    assert whole.rows_hash != part.rows_hash
    assert sharpness(net, *(np.repeat(a, 50, axis=0) for a in (X, y[:, None])), loss=MSE).n_rows == 2048


def test_equal_rows_have_equal_hashes_in_any_container(fitted):
    X, y = data()
    frame = pd.DataFrame(X, columns=list("abc"))
    assert (
        sharpness(fitted, X, y).rows_hash == sharpness(fitted, X.astype(float).tolist(), y.tolist()).rows_hash
    )
    named = regressor(1, max_epochs=1)
    named.fit(frame, y)
    assert sharpness(named, frame, y).rows_hash == sharpness(fitted, X, y).rows_hash
    assert sharpness(fitted, X, y + 1).rows_hash != sharpness(fitted, X, y).rows_hash


def test_categories_are_measured_in_batches():
    X, y = data()
    frame = pd.DataFrame({"x": X[:, 0], "colour": pd.Categorical(np.where(X[:, 1] > 0, "red", "blue"))})
    est = regressor(2, max_epochs=1).fit(frame, y)
    values = [sharpness(est, frame, y, batch_size=b).value for b in (None, 13)]
    np.testing.assert_allclose(*values, rtol=1e-9)
    assert len(sharpness(est, frame, y).rows_hash) == 16


def test_precision_follows_size_or_wish():
    X, y = tensors()
    assert sharpness(mlp().float(), X, y, loss=MSE).dtype == "float64"
    assert sharpness(mlp().float(), X, y, loss=MSE, dtype=torch.float32).dtype == "float32"
    large = filled(nn.Sequential(nn.Linear(3, 40_000), nn.Linear(40_000, 1)), scale=0.01).float()
    result = sharpness(large, X[:4], y[:4], loss=MSE)
    assert (result.dtype, result.n_parameters) == ("float32", 200_001)


def test_a_seed_repeats_the_draws(fitted):
    first = sharpness(fitted, *data(), "average", n_draws=3)
    again = sharpness(fitted, *data(), "average", n_draws=3, random_state=first.seed)
    np.testing.assert_array_equal(first.value, again.value)
    other = sharpness(fitted, *data(), "average", n_draws=3)
    assert not np.array_equal(first.value, other.value)


def test_the_penalty_counts_on_request(fitted):
    import copy

    X, y = data()
    network = copy.deepcopy(fitted.net_.module_).double()
    _, sparsity = network(torch.as_tensor(X).double())
    plain, penalised = (sharpness(fitted, X, y, include_regularizer=flag) for flag in (False, True))
    expected = plain.loss - fitted.lambda_sparse * sparsity.detach().numpy()
    np.testing.assert_allclose(penalised.loss, expected, rtol=1e-9)
    batched = sharpness(fitted, X, y, include_regularizer=True, batch_size=17)
    np.testing.assert_allclose(batched.value, penalised.value, rtol=1e-6)


def test_a_skorch_net_may_look_at_its_own_weights():
    class Penalised(NeuralNetRegressor):
        def get_loss(self, y_pred, y_true, X=None, training=False):
            plain = super().get_loss(y_pred, y_true, X=X, training=training)
            return plain + 0.5 * self.module_.weight.square().sum()

    X, y = data()
    net = Penalised(nn.Linear(3, 1), max_epochs=1, train_split=None, verbose=0).fit(X, y[:, None])
    before = fingerprint(net.module_)
    found = sharpness(net, X, y[:, None], "sam", batch_size=9)

    class WithPenalty(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = (nn.Parameter(p.detach().clone()) for p in net.module_.parameters())

        def forward(self, X):
            return nn.functional.linear(X, self.weight, self.bias), 0.5 * self.weight.square().sum()

    def loss(outputs, y):
        return MSE(outputs[0], y) + outputs[1]

    expected = sharpness(WithPenalty(), X, y[:, None], "sam", loss=loss)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-9)
    assert fingerprint(net.module_) == before


def test_parameters_without_a_gradient_do_no_harm():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.unused = mlp(), nn.Parameter(torch.ones(3, 3, dtype=torch.float64))

        def forward(self, X):
            return self.inner(X)

    for name, measure in MEASURES.items():
        value = measure(Dead(), *tensors(), loss=MSE, random_state=0).value
        assert np.isfinite(value).all(), name


def test_a_bad_batch_is_named():
    X, y = tensors()
    X[41] = float("nan")
    with pytest.raises(FloatingPointError, match=r"batch 2 \(rows 40 to 59"):
        sharpness(mlp(), X, y, loss=MSE, batch_size=20)


def test_a_radius_that_leads_out_of_the_numbers_is_an_error():
    net = mlp()
    with pytest.raises(FloatingPointError, match="smaller radius"):
        sharpness(net, *tensors(), "sam", rho=1e200, loss=MSE)
