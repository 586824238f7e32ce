"""What all measures promise: nothing changes, batches do not matter, and the record tells how it was done."""

import hashlib
import random

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from flatcausal.flatness import (
    fisher_rao_norm,
    flatness_report,
    gradient_norm,
    hessian_top_eigenvalues,
    hessian_trace,
    local_energy,
    local_entropy,
    pac_bayes_sigma,
    relative_flatness,
    sharpness,
    spectral_density,
)
from flatcausal.flatness._protocol import measuring
from tests.flatness.models import KINDS, classifier, data, filled, labels, mlp, normalized_net, regressor

MSE = nn.MSELoss()
OTHERS = {
    "local_energy": lambda *a, **k: local_energy(*a, sigmas=[0.3], n_draws=2, of="loss", **k),
    "pac_bayes": lambda *a, **k: pac_bayes_sigma(*a, n_draws=2, of="loss", **k),
    "relative_flatness": relative_flatness,
    "fisher_rao": fisher_rao_norm,
    "gradient_norm": gradient_norm,
    "eigenvalues": hessian_top_eigenvalues,
    "trace": lambda *a, **k: hessian_trace(*a, max_products=30, **k),
    "density": lambda *a, **k: spectral_density(*a, n_runs=2, n_steps=6, sigma=1.0, **k),
    "local_entropy": lambda *a, **k: local_entropy(*a, n_runs=2, n_steps=6, **k),
}
MEASURES = {
    **{kind: lambda *a, kind=kind, **k: sharpness(*a, kind, n_draws=3, n_steps=3, **k) for kind in KINDS},
    **OTHERS,
}


@pytest.fixture(scope="module")
def fitted():
    return regressor()


def tensors():
    X, y = data()
    return torch.as_tensor(X).double(), torch.as_tensor(y).double()[:, None]


def awkward():
    """A network in training mode with dropout, frozen parts and gradients at hand."""
    net = normalized_net()
    net.append(nn.Dropout(0.5))
    net[1].eps = 1e-5
    net[1].bias.requires_grad_(False)
    net[3].weight.grad = torch.ones_like(net[3].weight)
    net[2].eval()
    return net


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
@pytest.mark.parametrize("name", MEASURES)
def test_measuring_changes_nothing(fitted, name, bn):
    modules = [awkward(), fitted.net_.module_]
    before = [fingerprint(module) for module in modules]
    MEASURES[name](modules[0], *tensors(), loss=MSE, bn=bn)
    MEASURES[name](fitted, *data(), bn=bn)
    assert [fingerprint(module) for module in modules] == before


@pytest.mark.parametrize("bn", ["frozen", "recalibrated", "train"])
@pytest.mark.parametrize("after", [0, 2, 6])
def test_an_exception_inside_changes_nothing(after, bn):
    module, calls = awkward(), []

    def fails(output, y):
        calls.append(torch.rand(1))
        if len(calls) > after:
            raise KeyError("inside")
        return MSE(output, y)

    before = fingerprint(module)
    with pytest.raises(KeyError, match="inside"):
        sharpness(module, *tensors(), "adaptive_linf", loss=fails, bn=bn, n_threads=2)
    assert fingerprint(module) == before


def test_a_model_that_draws_leaves_the_global_state_alone():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, X):
            return self.inner(X) + 0 * torch.rand(1)

    noisy = Noisy()
    before = fingerprint(noisy)
    sharpness(noisy, *tensors(), loss=MSE)
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


@pytest.mark.parametrize("batch_size", [7, 59])
@pytest.mark.parametrize("name", MEASURES)
def test_batches_do_not_matter(fitted, name, batch_size):
    settings = {"random_state": 0}
    whole = MEASURES[name](fitted, *data(), **settings)
    cut = MEASURES[name](fitted, *data(), batch_size=batch_size, **settings)
    np.testing.assert_allclose(cut.value, whole.value, rtol=1e-6)
    np.testing.assert_allclose(cut.gradient_norm, whole.gradient_norm, rtol=1e-9)
    assert (cut.n_losses, cut.n_gradients, cut.n_products) == (
        whole.n_losses,
        whole.n_gradients,
        whole.n_products,
    )
    net = mlp()
    values = [
        MEASURES[name](net, *tensors(), loss=MSE, batch_size=b, **settings).value for b in (None, batch_size)
    ]
    np.testing.assert_allclose(*values, rtol=1e-6)


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


def statistics_of(net, X):
    hidden = net[0](X)
    return hidden.mean(0), hidden.var(0)


def test_recalibrated_statistics_are_those_of_the_measured_rows():
    X, y = tensors()
    stale, fresh = normalized_net(), normalized_net()
    with torch.no_grad():
        mean, variance = statistics_of(fresh, X)
        fresh[1].running_mean.copy_(mean)
        fresh[1].running_var.copy_(variance)
    recalibrated = sharpness(stale, X, y, loss=MSE, bn="recalibrated")
    assert recalibrated.value == pytest.approx(sharpness(fresh, X, y, loss=MSE).value, rel=1e-9)
    assert sharpness(stale, X, y, loss=MSE).value != pytest.approx(recalibrated.value, rel=1e-3)
    assert recalibrated.bn == "recalibrated"


def test_recalibration_weighs_batches_by_their_rows():
    rows = data(300)
    X, y = torch.as_tensor(rows[0]).double(), torch.as_tensor(rows[1]).double()[:, None]
    with measuring(normalized_net(), X, y, loss=MSE, bn="recalibrated") as problem:
        hidden = problem.module[0](X).detach()
        found = problem.module[1].running_mean, problem.module[1].running_var
    parts = hidden[:256], hidden[256:]
    for got, of in zip(found, (lambda h: h.mean(0), lambda h: h.var(0)), strict=True):
        np.testing.assert_allclose(got, (256 * of(parts[0]) + 44 * of(parts[1])) / 300, rtol=1e-9)


def test_a_single_last_row_which_has_no_variance_joins_a_batch():
    X, y = data(257)
    settings = {"loss": MSE, "bn": "recalibrated"}
    assert np.isfinite(sharpness(normalized_net(), X, y[:, None], **settings).value).all()
    assert np.isfinite(sharpness(normalized_net(), X, y[:, None], m=256, loss=MSE, bn="train").value).all()


def test_recalibrated_tabnet_is_the_fitted_one(fitted):
    import copy

    X, _ = data()
    network = copy.deepcopy(fitted.net_.module_).double()
    network.reestimate_statistics([torch.as_tensor(X).double()])
    with measuring(fitted, *data(), bn="recalibrated") as problem:
        np.testing.assert_allclose(problem.module.statistics, network.statistics, rtol=1e-12)


def test_train_mode_is_that_of_the_normalisation_alone(fitted):
    net, (X, y) = awkward(), tensors()
    hidden = net[0](X)
    hat = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    expected = MSE(net[3](torch.relu(hat * net[1].weight + net[1].bias)), y)  # no dropout
    assert sharpness(net, X, y, loss=MSE, bn="train").loss[0] == pytest.approx(expected.item(), rel=1e-9)
    network = fitted.net_.module_
    frozen, train = (sharpness(fitted, *data(), bn=bn).loss for bn in ("frozen", "train"))
    assert not np.allclose(frozen, train)
    assert not network.training


def test_statistics_that_a_layer_reads_while_it_moves_them_stand_still():
    class Drifting(nn.BatchNorm1d):
        def forward(self, X):
            return super().forward(X) + self.running_mean

    net = nn.Sequential(filled(nn.Linear(3, 2)), Drifting(2).double(), filled(nn.Linear(2, 1)))
    loss = sharpness(net, *tensors(), loss=MSE, bn="train").loss
    with measuring(net, *tensors(), loss=MSE, bn="train") as problem:
        assert [problem.losses().item() for _ in range(3)] == [loss[0]] * 3


def test_dropout_in_functions_is_off():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm = mlp(3, 4), nn.BatchNorm1d(4).double()

        def forward(self, X):
            return self.norm(nn.functional.dropout(self.inner(X), 0.5, self.training)).sum(1, keepdim=True)

    values = {
        sharpness(filled(Functional()).train(), *tensors(), loss=MSE, bn="train").value[0] for _ in range(3)
    }
    assert len(values) == 1


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


def test_of_a_population_only_the_sick_member_is_lost(fitted):
    import copy

    sick = copy.deepcopy(fitted)
    with torch.no_grad():
        sick.net_.module_.population[1] = float("nan")
    for name, measure in MEASURES.items():
        found, healthy = (measure(est, *data(), random_state=0) for est in (sick, fitted))
        assert np.isnan(found.value[1]).all(), name
        np.testing.assert_array_equal(found.value[[0, 2]], healthy.value[[0, 2]], err_msg=name)


def test_the_report_puts_first_what_survives():
    report = flatness_report(mlp(), *tensors(), "all", loss=MSE, random_state=0)
    survives = report["survives_rescaling"].to_numpy()
    assert len(report) == 14
    assert survives[:5].all()
    assert not survives[5:].any()


def test_the_report_has_what_each_measure_has(fitted):
    report = flatness_report(fitted, *data(), ["sam", "adaptive_l2"], random_state=0)
    assert report["measure"].tolist() == ["adaptive_l2"] * 3 + ["sam"] * 3
    one = report[report["measure"] == "adaptive_l2"]
    np.testing.assert_array_equal(
        one["value"], sharpness(fitted, *data(), "adaptive_l2", random_state=0).value
    )
    np.testing.assert_array_equal(one["loss"], sharpness(fitted, *data()).loss)
    assert report["rows_hash"].nunique() == 1


def test_the_report_leaves_out_what_a_model_cannot_have():
    net = filled(nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten()))
    X, y = tensors()
    report = flatness_report(net, X[:, None], y, loss=MSE)
    assert report["measure"].tolist() == ["adaptive", "adaptive_l2", "adaptive_linf", "adaptive_average"]
