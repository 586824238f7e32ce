"""to_dict and from_dict: the same bits, and one sentence for whatever is no such document."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flatcausal.datasets
from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.datasets._document_codec import TYPES, Decoder, Encoder
from flatcausal.datasets._mechanisms import MECHANISMS
from flatcausal.datasets._noise import NOISE
from flatcausal.exceptions import DataError, ParameterTypeError

# Dataclasses that are no part of a drawn data set.
APART = {
    "BlueprintLaw",
    "Border",
    "CategoryLaw",
    "Effects",
    "Environment",
    "EnvironmentLaw",
    "FeatureRoles",
    "Fit",
    "GraphLaw",
    "HiddenLaw",
    "Intervention",
    "LabelLaw",
    "ModelLaw",
    "Projection",
    "Request",
    "Sample",
    "TargetRule",
    "_Node",
}


def _again(ds):
    return SyntheticDAGDataset.from_dict(json.loads(json.dumps(ds.to_dict(), allow_nan=False)))


def _assert_same(ds, again):
    assert again.feature_names_ == ds.feature_names_
    assert again.target_name_ == ds.target_name_
    assert again.roles_ == ds.roles_
    assert repr(again) == repr(ds)
    np.testing.assert_array_equal(again.adjacency_, ds.adjacency_)
    assert list(again.graph_.nodes(data=True)) == list(ds.graph_.nodes(data=True))
    assert again.environments(2, random_state=1) == ds.environments(2, random_state=1)
    for kind in ("do", "shift", "scale", "soft", "mechanism"):
        (env,) = ds.environments(1, kind=kind, nodes="any", random_state=2)
        first, second = (one.sample(60, env=env, random_state=3) for one in (ds, again))
        np.testing.assert_array_equal(first.X, second.X)
        np.testing.assert_array_equal(first.y, second.y)
    np.testing.assert_array_equal(ds.effects(), again.effects())
    assert again.sortability(200) == ds.sortability(200)
    assert again.to_dict() == ds.to_dict()


OPTIONS = [
    *({"mechanisms": family} for family in MECHANISMS),
    *({"noise": noise} for noise in NOISE),
    *({"noise_mode": mode} for mode in ("multiplicative", "heteroscedastic", "functional")),
    *({"standardize": how} for how in ("internal", "posthoc", None)),
    {"standardize": "uumc", "mechanisms": "linear"},
    {"standardize": "posthoc", "mechanisms": "mixture", "noise_mode": "functional"},
    {"distractors": "published"},
    {"n_distractors": 0},
    {"n_hidden": 2},
    {"categorical_fraction": 1.0},
    {"task": "classification"},
    {"task": "classification", "label_noise": 0.1, "categorical_fraction": 0.5, "n_hidden": 1},
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_the_same_bits_come_back(option):
    parameters = {"n_distractors": 3, **option}
    ds = SyntheticDAGDataset(n_nodes=8, n_calibration=1000, random_state=4, **parameters)
    _assert_same(ds, _again(ds))


@pytest.mark.parametrize("preset", ["dlcausal", "dlcausal-fixed"])
def test_presets_come_back(preset):
    ds = SyntheticDAGDataset.preset(preset, n_nodes=12, n_distractors=4, random_state=1)
    again = _again(ds)
    np.testing.assert_array_equal(ds.sample(40).X, again.sample(40).X)
    np.testing.assert_array_equal(ds.sample(40).y, again.sample(40).y)


@pytest.mark.parametrize(
    "seed", [0, 2**100, np.random.SeedSequence([1, 2]), np.random.SeedSequence(5).spawn(2)[1], None]
)
def test_the_next_sample_is_the_originals_next(seed):
    ds = SyntheticDAGDataset(n_nodes=6, n_calibration=1000, random_state=seed)
    ds.sample(3), ds.environments(1)
    again = _again(ds)
    np.testing.assert_array_equal(ds.sample(9).X, again.sample(9).X)
    assert ds.environments(2) == again.environments(2)


def test_own_names_come_back():
    edges = [("type", "y"), ("y", "items"), ("ä", "y")]
    ds = SyntheticDAGDataset(adjacency=edges, target="y", n_calibration=1000, random_state=0)
    _assert_same(ds, _again(ds))


def test_the_network_of_multiplicative_noise_is_still_evaluated_once():
    ds = SyntheticDAGDataset(8, noise_mode="multiplicative", n_calibration=1000, random_state=0)
    for assignment in _again(ds)._blueprint.model.assignments:
        assert assignment.spread is assignment.mechanism


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=12),
    st.sampled_from([(-1,), (2, -1), (-1, 1)]),
)
def test_every_float_and_shape_comes_back(values, shape):
    array = np.array(values[: len(values) // 2 * 2])
    array = array.reshape(shape) if array.size else np.empty((0, 3))
    again = Decoder().decode(json.loads(json.dumps(Encoder().encode(array))))
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()


def test_every_frozen_type_of_a_model_is_registered():
    found = {}
    for module in pkgutil.iter_modules(flatcausal.datasets.__path__):
        for each in vars(importlib.import_module(f"flatcausal.datasets.{module.name}")).values():
            if isinstance(each, type) and dataclasses.is_dataclass(each) and "datasets" in each.__module__:
                found[each.__name__] = each
    assert {name: each for name, each in found.items() if name not in APART} == TYPES


def test_an_unregistered_type_is_said_when_writing():
    @dataclasses.dataclass(frozen=True)
    class Linear:
        weights: tuple[float, ...]

    with pytest.raises(TypeError, match="Linear is not registered in TYPES"):
        Encoder().encode(Linear((1.0,)))


# ---- what is no such document


@pytest.fixture(scope="module")
def document():
    ds = SyntheticDAGDataset(n_nodes=5, n_distractors=1, n_calibration=1000, random_state=0)
    return json.loads(json.dumps(ds.to_dict()))


def _signed(document, **changes):
    """A document whose sha256 is right, whatever it holds."""
    from flatcausal.datasets._document import _CONTENT, _digest

    changed = {**document, **changes}
    return {**changed, "sha256": _digest({name: changed[name] for name in _CONTENT})}


def _without(document, key):
    return {name: value for name, value in document.items() if name != key}


def _with_weight(document):
    changed = copy.deepcopy(document)
    assignments = changed["blueprint"]["model"]["assignments"]
    next(a for a in assignments if a["mechanism"])["signal_scale"] += 1e-12
    return changed


BROKEN = [
    (lambda d: json.dumps(d), ParameterTypeError, "document must be a dict, as to_dict returns, got str"),
    (lambda d: {}, DataError, "document must have the format 'flatcausal.SyntheticDAGDataset', got None"),
    (lambda d: {**d, "version": 99}, DataError, "version 99, and this flatcausal reads version 1"),
    (lambda d: _without(d, "sha256"), DataError, "the document lacks 'sha256'"),
    (lambda d: _without(d, "columns"), DataError, "the document lacks 'columns'"),
    (_with_weight, DataError, "the document was changed since it was written"),
    (lambda d: {**d, "n_samples_drawn": 7}, DataError, "the document was changed since it was written"),
    (lambda d: {**d, "n_samples_drawn": {1, 2}}, DataError, "holds what JSON does not"),
    (lambda d: {**d, "n_samples_drawn": np.nan}, DataError, "holds what JSON does not"),
    (lambda d: _signed(d, blueprint={"type": "Forest"}), DataError, "the unknown type 'Forest'"),
    (lambda d: _signed(d, blueprint={"type": "Blueprint"}), DataError, "does not describe a data set"),
    (lambda d: _signed(d, blueprint=[]), DataError, "does not describe a data set"),
    (lambda d: _signed(d, columns={"type": "again", "number": 999}), DataError, "does not describe"),
    (
        lambda d: _signed(d, columns={"type": "array", "dtype": "object", "shape": [1], "values": [1]}),
        DataError,
        "an array of the unknown dtype 'object'",
    ),
    (lambda d: _signed(d, seed={"entropy": ["a"], "spawn_key": []}), DataError, "does not describe"),
]


@pytest.mark.parametrize(("change", "error", "fragment"), BROKEN)
def test_broken_documents(document, change, error, fragment):
    with pytest.raises(error) as caught:
        SyntheticDAGDataset.from_dict(change(document))
    message = str(caught.value)
    assert fragment in message
    assert message.endswith(".")
    assert "\n" not in message


def test_other_writers_of_json_are_read(document):
    """Some write 1.0 as 1, and none keeps the order of keys."""

    def rewritten(value):
        if isinstance(value, dict):
            return {key: rewritten(value[key]) for key in sorted(value, reverse=True)}
        if isinstance(value, list):
            return [rewritten(entry) for entry in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    first, second = (SyntheticDAGDataset.from_dict(one) for one in (document, rewritten(document)))
    np.testing.assert_array_equal(first.sample(20).X, second.sample(20).X)


def test_size():
    for mechanisms, per_node in (("linear", 600), (("linear", "mlp"), 2000), ("rff", 4000)):
        ds = SyntheticDAGDataset(60, 0, mechanisms=mechanisms, n_calibration=1000, random_state=0)
        assert len(json.dumps(ds.to_dict())) < 60 * per_node
