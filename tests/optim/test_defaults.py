"""Every name gives the documented defaults, and trains with them."""

import inspect
import re

import numpy as np
import pytest
import torch
from torch import nn

from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.optim import get, names

DEFAULTS = {
    "adagrad": (0.1, {"eps": 1e-10}),
    "adam": (0.02, {"betas": (0.9, 0.999), "eps": 1e-8}),
    "adamw": (0.02, {"betas": (0.9, 0.999), "eps": 1e-8}),
    "asam": (
        0.1,
        {"rho": 0.5, "eta": 0.01, "adaptive_params": "weights", "base": None, "m": None, "perturb": "all"},
    ),
    "bh": (
        0.1,
        {"perturb": "model", "accept": "always", "ls_steps": 10, "sigma": 1e-2, "noise": "gaussian"}
        | {"temperature": 1e-2, "momentum": 0.0, "nesterov": False},
    ),
    "entropy_sgd": (
        1.0,
        {"L": 5, "inner_lr": 0.1, "gamma0": 0.03, "gamma1": 1e-3, "gamma_max": None, "noise": 1e-4}
        | {"alpha": 0.75, "momentum": 0.9, "nesterov": True, "variant": "paper"},
    ),
    "foof": (
        0.3,
        {"damping": 0.1, "ema": 0.95, "T": 1, "momentum": 0.0, "rest": None, "norm_match": False},
    ),
    "gd": (0.1, {"momentum": 0.0, "nesterov": False}),
    "gsam": (0.1, {"rho": 0.05, "rho_min": None, "alpha": 0.4, "base": None, "m": None, "perturb": "all"}),
    "momentum": (0.1, {"momentum": 0.9, "nesterov": False}),
    "nesterov": (0.1, {"momentum": 0.9}),
    "nig_gd": (0.1, {"sigma": 1e-2, "noise": "gaussian", "momentum": 0.0, "nesterov": False}),
    "nig_sgd": (0.1, {"sigma": 1e-2, "noise": "gaussian", "momentum": 0.0, "nesterov": False}),
    "nim_gd": (0.1, {"sigma": 1e-3, "noise": "gaussian", "momentum": 0.0, "nesterov": False}),
    "nim_sgd": (0.1, {"sigma": 1e-3, "noise": "gaussian", "momentum": 0.0, "nesterov": False}),
    "random_search": (0.01, {"n_dirs": 10, "normalized": False}),
    "rmsprop": (0.01, {"alpha": 0.99, "eps": 1e-8}),
    "sam": (0.1, {"rho": 0.05, "base": None, "m": None, "perturb": "all"}),
    "sgd": (0.1, {"momentum": 0.0, "nesterov": False}),
}  # fmt: skip


def test_defaults_are_written_down_for_every_name():
    assert sorted(DEFAULTS) == names()


@pytest.mark.parametrize("name", names())
def test_a_name_gives_its_defaults(name):
    recipe = get(name)
    lr, params = DEFAULTS[name]
    assert recipe.get_params(deep=False) == params
    assert recipe.default_lr == lr


@pytest.mark.parametrize("name", names())
def test_docstrings_give_the_defaults_of_the_signature(name):
    recipe = get(name)
    section = (inspect.getdoc(type(recipe)) or "").partition("\nParameters\n")[2].partition("\n\n")[0]
    for named, kind in re.findall(r"^(\w[\w, ]*) : (.*)$", section, re.MULTILINE):
        params = named.split(", ")
        said = re.search(r"default=(.*)$", kind)
        values = [eval(said.group(1))] if said else [None]
        if len(params) > 1:
            values = list(values[0])
        for param, value in zip(params, values, strict=True):
            assert inspect.signature(type(recipe)).parameters[param].default == value, param
            assert said or "optional" in kind
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"^\w.*$", section, re.MULTILINE))))
    assert not section or set(recipe.get_params(deep=False)) <= documented


@pytest.mark.parametrize("name", names())
def test_docstrings_give_formula_source_and_number_of_gradients(name):
    kind = type(get(name))
    text, count = " ".join(kind.__dict__["__doc__"].split()), get(name).gradients_per_step
    assert ".. math::" in text
    assert re.search(r"\b(18|19|20)\d\d\b", text)
    words = {0: "no gradient per step", 1: "one gradient per step", 2: "two gradients per step"}
    words |= {
        get("entropy_sgd").L: "``L`` gradients per step",
        get("bh").ls_steps: "of ``ls_steps`` gradients",
    }
    assert words[count] in text


def linear_table(n=256):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    return X, X[:, 0] - X[:, 1] + 0.1 * rng.normal(size=n).astype(np.float32)


SLOW = [pytest.param(n, marks=pytest.mark.slow if n == "random_search" else ()) for n in names()]


@pytest.mark.parametrize("name", SLOW)
def test_trains_a_tabnet_well_below_the_loss_of_the_mean(name):
    X, y = linear_table()
    n_epochs = 100 if name == "random_search" else 60 if get(name).full_batch else 12
    size = {"n_d": 4, "n_a": 4, "n_steps": 2, "n_shared": 1, "n_independent": 1, "n_members": 1}
    est = FlatMinimaTabNetRegressor(
        optimizer=name, **size, max_epochs=n_epochs, batch_size=32, virtual_batch_size=32, random_state=0
    )
    est.fit(X, y)
    assert np.mean((est.predict(X) - y) ** 2) < 0.7 * y.var()


@pytest.mark.parametrize("name", names())
def test_trains_a_sequential_well_below_the_loss_of_the_mean(name):
    X, y = map(torch.from_numpy, linear_table(64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = get(name).build(net, random_state=0)

    def closure():
        optimizer.zero_grad()
        loss = (net(X)[:, 0] - y).square().mean()
        loss.backward()
        return loss

    for _ in range(150):
        loss = optimizer.step(closure)
    assert loss < 0.3 * y.var()
