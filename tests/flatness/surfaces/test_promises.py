"""What slices and paths promise as all measures do."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal.exceptions import DataError, ParameterError, ParameterTypeError
from flatcausal.flatness import bezier_curve, linear_interpolation, loss_slice, loss_surface, sharpness
from flatcausal.flatness._protocol import measuring
from flatcausal.flatness.surfaces._landscape import Landscape
from tests.flatness.models import classifier, data, filled, labels, mlp, regressor
from tests.flatness.test_protocol import awkward, fingerprint, tensors

MSE = nn.MSELoss()


def path_of(model):
    """Weights on the way to the model's, and names of the parameters."""
    return [
        {
            name: p.detach() + 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)).to(p)
            for name, p in model.named_parameters()
        }
        for i in range(3)
    ]


def twin(model):
    if isinstance(model, nn.Module):
        return copy.deepcopy(model)
    return model


def module_of(model):
    return model if isinstance(model, nn.Module) else model.net_.module_


LOOKS = {
    "filter": lambda m, *a, **k: loss_surface(m, *a, 2, **k),
    "hessian": lambda m, *a, **k: loss_surface(m, *a, 2, directions="hessian", **k),
    "trajectory": lambda m, *a, **k: loss_surface(
        m, *a, 2, directions="trajectory", trajectory=path_of(module_of(m)), **k
    ),
    "slice": lambda m, *a, **k: loss_slice(m, *a, 5, **k),
    "line": lambda m, *a, **k: linear_interpolation(m, twin(m), *a, 3, **k),
    "curve": lambda m, *a, **k: bezier_curve(m, twin(m), *a, 3, n_steps=2, **k),
}


@pytest.fixture(scope="module")
def fitted():
    return regressor(n_steps=1)


@pytest.fixture(scope="module")
def fitted_four():
    return regressor(4, n_steps=1, max_epochs=3)


@pytest.mark.parametrize("bn", ["frozen", "recalibrated", "train"])
@pytest.mark.parametrize("name", LOOKS)
def test_looking_changes_nothing(fitted, name, bn):
    modules = [awkward(), fitted.net_.module_]
    before = [fingerprint(module) for module in modules]
    LOOKS[name](modules[0], *tensors(), loss=MSE, bn=bn)
    LOOKS[name](fitted, *data(), bn=bn)
    assert [fingerprint(module) for module in modules] == before


@pytest.mark.parametrize("bn", ["frozen", "recalibrated", "train"])
@pytest.mark.parametrize("after", [3, 5])
@pytest.mark.parametrize("name", LOOKS)
def test_an_exception_inside_changes_nothing(name, after, bn):
    module, calls = awkward(), []

    def fails(output, y):
        calls.append(torch.rand(1))
        if len(calls) > after:
            raise KeyError("inside")
        return MSE(output, y)

    before = fingerprint(module)
    with pytest.raises(KeyError, match="inside"):
        LOOKS[name](module, *tensors(), loss=fails, bn=bn, n_threads=2)
    assert fingerprint(module) == before


@pytest.mark.parametrize("name", LOOKS)
def test_a_record_says_how_it_was_measured(fitted, name):
    found = LOOKS[name](fitted, *data(), bn="train", dtype=torch.float32, random_state=0)
    other = sharpness(fitted, *data(), bn="train", dtype=torch.float32, random_state=0)
    for field in ("n_parameters", "n_rows", "rows_hash", "bn", "dtype"):
        assert getattr(found, field) == getattr(other, field)
    assert found.seed.entropy == 0
    assert found.losses.shape[0] == 3
    if hasattr(found, "loss"):
        for field in ("loss", "gradient_norm", "weight_norm"):
            np.testing.assert_array_equal(getattr(found, field), getattr(other, field))


@pytest.mark.parametrize("bn", ["frozen", "recalibrated"])
@pytest.mark.parametrize("name", ["filter", "slice", "curve"])
def test_a_member_does_not_depend_on_its_neighbours(fitted_four, name, bn):
    losses = []
    for k in (4, 2, 1):
        est = regressor(k, n_steps=1, max_epochs=1)
        theirs = module_of(fitted_four)
        with torch.no_grad():
            module_of(est).population.copy_(theirs.population[:k])
            module_of(est).statistics.copy_(theirs.statistics[:k])
        losses.append(LOOKS[name](est, *data(), bn=bn, random_state=0).losses)
    np.testing.assert_array_equal(losses[0][:2], losses[1])
    np.testing.assert_allclose(losses[0][:1], losses[2], rtol=1e-9)


@pytest.mark.parametrize("name", LOOKS)
def test_batches_do_not_matter(fitted, name):
    whole, cut = (LOOKS[name](fitted, *data(), batch_size=b, random_state=0).losses for b in (None, 7))
    np.testing.assert_allclose(cut, whole, rtol=1e-6)


@pytest.mark.parametrize("model", ["categories", "batches"])
def test_a_recalibration_without_another_pass_is_the_same(model):
    X, y = data(300)
    est = regressor(2, max_epochs=1)
    if model == "categories":
        X, y = labels(300)
        est = classifier(2, max_epochs=1)
    with measuring(est, X, y, bn="recalibrated", batch_size=70) as problem:
        landscape = Landscape(problem)
        weights = 1.1 * problem.flat(problem.start)
        found = landscape(weights)
        statistics = problem.module.statistics.clone()
        problem.recalibrate()
        np.testing.assert_allclose(statistics, problem.module.statistics, rtol=1e-12)
        np.testing.assert_allclose(found, problem.losses(), rtol=1e-12)


def test_far_points_may_overflow_and_the_centre_may_not():
    net = mlp()
    surface = loss_surface(net, *tensors(), 3, span=1e120, loss=MSE, random_state=0)
    assert np.isfinite(surface.losses[0, 1, 1])
    assert not np.isfinite(surface.losses[0, 0, 0])
    with torch.no_grad():
        net[0].weight.fill_(1e200)
    with pytest.raises(FloatingPointError, match="not finite"):
        loss_surface(net, *tensors(), 3, loss=MSE)


def test_a_lost_member_leaves_the_others_alone():
    est = regressor(3, max_epochs=2)
    settings = {"directions": "trajectory", "trajectory": path_of(est.net_.module_), "convexity": True}
    whole = loss_surface(est, *data(), 3, **settings)
    with torch.no_grad():
        est.net_.module_.population[1] = torch.nan
    part = loss_surface(est, *data(), 3, **settings)
    assert np.isnan(part.losses[1]).all()
    assert np.isnan(part.extremes[1]).all()
    for name in ("losses", "path", "explained", "extremes", "alphas"):
        np.testing.assert_array_equal(getattr(part, name)[[0, 2]], getattr(whole, name)[[0, 2]])
    random = loss_surface(est, *data(), 3, random_state=0)
    again = loss_surface(est, *data(), 3, directions=random.vectors)
    np.testing.assert_array_equal(again.losses, random.losses)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"resolution": 1}, ParameterError, "resolution must be at least 2, got 1"),
        ({"resolution": 2.5}, ParameterTypeError, "resolution must be an integer"),
        ({"span": 0.0}, ParameterError, "span must be.*greater than 0"),
        ({"span": -1.0}, ParameterError, "span"),
        ({"convexity": 1}, ParameterTypeError, "convexity must be True or False"),
        ({"directions": "random"}, ParameterError, "directions must be one of 'filter', 'hessian'.*'random'"),
        ({"directions": 3}, ParameterError, "directions must be one of .*got int"),
        ({"directions": ({},)}, ParameterError, "or 2 mappings"),
        ({"directions": ({}, {})}, DataError, r"directions\[0\] lacks '0.weight'"),
        ({"params": lambda name: "bias" in name}, ParameterError, "params chooses no weights"),
        ({"spam": 1}, ParameterTypeError, "'spam' is no argument"),
    ],
)
def test_bad_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        loss_surface(**{"model": mlp(), "X": tensors()[0], "y": tensors()[1], "loss": MSE, **arguments})


def test_bad_pairs_and_models_too_small_for_a_plane():
    net = mlp()
    one = {name: p.detach() for name, p in net.named_parameters()}
    for scale, error in ((2, "parallel"), (0, "nothing moves"), (np.inf, "not finite")):
        with pytest.raises(ParameterError, match=error):
            loss_surface(net, *tensors(), directions=(one, {k: v * scale for k, v in one.items()}), loss=MSE)
    small, (X, y) = filled(nn.Linear(1, 1)), tensors()
    with pytest.raises(ParameterError, match=r"two numbers or more for an output.*loss_slice"):
        loss_surface(small, X[:, :1], y, loss=MSE)
    assert loss_slice(small, X[:, :1], y, 3, loss=MSE).losses.shape == (1, 3)
    for direction in (3, "trajectory"):
        with pytest.raises(ParameterError, match="direction must be one of 'filter', 'hessian'"):
            loss_slice(net, *tensors(), direction=direction, loss=MSE)
