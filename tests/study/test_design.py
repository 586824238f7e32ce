from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flatcausal import optim
from flatcausal.exceptions import DataError, DesignError, FlatCausalError
from flatcausal.study import (
    DlcausalData,
    Measures,
    Network,
    StudyDesign,
    SyntheticData,
    TableData,
    Training,
    preset_names,
)
from flatcausal.study._budget import budgets

ALL = ["gd", "sgd", "sam", "entropy_sgd", "adam"]
GUIDE = Path(__file__).parents[2] / "docs" / "design_file.md"


def test_presets():
    assert preset_names() == ["dlcausal", "quick"]
    quick = StudyDesign.preset("quick")
    assert list(quick.optimizers) == ALL
    assert len(quick.cells()) == 8 * 5
    assert quick.n_members == 4
    grid = {cell.block.name.rsplit("-dag-")[0] for cell in StudyDesign.preset("dlcausal").cells()}
    assert grid == {f"N{n}-{size}" for n in (50, 500, 5000) for size in ("p6-d4", "p60-d40", "p600-d400")}


def test_the_control_is_sgd_else_the_first():
    assert StudyDesign(optimizers=["sam", "sgd"]).control == "sgd"
    assert StudyDesign(optimizers=["adam", "sam"]).control == "adam"


def test_a_design_survives_json():
    design = StudyDesign.preset("quick")
    again = StudyDesign.from_dict(json.loads(json.dumps(design.to_dict())))
    assert again == design
    assert again.id == design.id


def test_the_id_follows_the_results():
    base = StudyDesign().to_dict()

    def id_of(**changes):
        return StudyDesign.from_dict({**base, **changes}).id

    assert re.fullmatch("[0-9a-f]{32}", id_of())
    assert id_of(name="other") == id_of(control="sam") == id_of()
    others = [
        id_of(seed=1),
        id_of(n_members=5),
        id_of(data={"kind": "synthetic", "n_nodes": 21}),
        id_of(training={"epochs": 62}),
        id_of(network={"n_d": 4}),
        id_of(measures={"sharpness_rows": 64}),
        id_of(optimizers={"sgd": "sgd", "sam": {"name": "sam", "rho": 0.1}}),
        id_of(optimizers={"sgd": {"lr": 0.01}, "sam": "sam"}),
    ]
    assert len({id_of(), *others}) == 1 + len(others)


def test_integers_and_floats_of_equal_value_are_one_design():
    one = StudyDesign(optimizers={"sam": {"rho": 1}}, training={"weight_decay": 0})
    other = StudyDesign(optimizers={"sam": {"rho": 1.0}}, training={"weight_decay": 0.0})
    assert one.id == other.id


# ---- optimizers -----------------------------------------------------------------------------


def test_all_optimizers_share_momentum():
    optimizers = {**{name: name for name in ALL}, "momentum": {"lr": 0.007}}
    design = StudyDesign(optimizers=optimizers, training={"momentum": 0.5, "nesterov": True})
    for optimizer in design.optimizers.values():
        settings = {**optimizer, **optimizer.get("base", {})}
        if optimizer["name"] != "adam":
            assert (settings["momentum"], settings["nesterov"]) == (0.5, True)


def test_momentum_is_equal_even_where_nobody_says_it():
    design = StudyDesign(optimizers=ALL)
    assert {o["momentum"] for o in design.optimizers.values() if "momentum" in o} == {0.9}
    assert design.optimizers["sam"]["base"] == {"name": "sgd", "momentum": 0.9, "nesterov": False}


@pytest.mark.parametrize(
    "own",
    [
        {"name": "sgd", "momentum": 0.0},
        {"name": "sam", "base": {"name": "sgd", "momentum": 0.0}},
        optim.SAM(base=optim.SGD(momentum=0.2)),
        optim.Momentum(momentum=0.2),
    ],
)
def test_an_own_momentum_is_refused_where_one_is_shared(own):
    with pytest.raises(DesignError, match=r"optimizers\.mine.*momentum.*training\.momentum = 0\.9"):
        StudyDesign(optimizers={"mine": own}, training={"momentum": 0.9})
    kept = StudyDesign(optimizers={"mine": own}).optimizers["mine"]
    assert kept.get("base", kept)["momentum"] in (0.0, 0.2)


def test_a_recipe_and_its_table_are_one_optimizer():
    recipe = optim.SAM(rho=0.1, base=optim.Adam(eps=1e-6))
    table = {"name": "sam", "rho": 0.1, "base": {"name": "adam", "eps": 1e-6}}
    assert StudyDesign(optimizers={"a": recipe}).optimizers == StudyDesign(optimizers={"a": table}).optimizers


def test_the_learning_rate_is_the_recipe_s_own_unless_given():
    design = StudyDesign(optimizers={"sgd": "sgd", "fast": {"name": "sgd", "lr": 0.3}, "sam": optim.SAM()})
    assert design.optimizers["sgd"]["lr"] == optim.SGD().default_lr
    assert design.optimizers["fast"]["lr"] == 0.3
    assert design.optimizers["sam"]["lr"] == optim.SAM().default_lr


# ---- budgets --------------------------------------------------------------------------------


def gradients_spent(n_rows: int, batch_size: int, max_epochs: int, recipe) -> int:
    """Count mini-batch gradients one step at a time, as the estimator's contract says."""
    n_batches = math.ceil(n_rows / batch_size)
    spent = 0
    for _ in range(max_epochs):
        batches = 0
        while batches < n_batches:
            batches += n_batches if recipe.full_batch else recipe.batches_per_step
            spent += recipe.gradients_per_step * (n_batches if recipe.full_batch else 1)
    return spent


@given(
    n_rows=st.integers(2, 3000),
    batch_size=st.integers(2, 512),
    epochs=st.integers(1, 20).map(lambda k: 2 * k),
    inner=st.lists(st.integers(1, 7), min_size=1, max_size=2),
)
def test_every_optimizer_spends_the_same(n_rows, batch_size, epochs, inner):
    recipes = {name: optim.get(name) for name in ("gd", "sgd", "sam", "adam")}
    recipes["sam_gd"] = optim.SAM(base=optim.GD())
    recipes.update({f"entropy{i}": optim.EntropySGD(L=L) for i, L in enumerate(inner)})
    try:
        shares = budgets(n_rows, epochs, batch_size, recipes)
    except DesignError:
        assume(False)
    assert len({share.batch_size for share in shares.values()}) == 1
    assert len({share.n_gradient_evaluations for share in shares.values()}) == 1
    for label, share in shares.items():
        assert 2 <= share.batch_size <= batch_size
        spent = gradients_spent(n_rows, share.batch_size, share.max_epochs, recipes[label])
        assert spent == share.n_gradient_evaluations


def test_batches_are_even():
    share = budgets(1001, 2, 256, {"sgd": optim.SGD(), "entropy": optim.EntropySGD(L=5)})["sgd"]
    assert share.batch_size == 201
    assert budgets(1000, 2, 256, {"sgd": optim.SGD()})["sgd"].batch_size == 250
    assert budgets(50, 2, 256, {"sgd": optim.SGD()})["sgd"].batch_size == 50


def test_budgets_that_cannot_be_equal_are_refused():
    with pytest.raises(DesignError, match=r"optimizers\.sam .* a multiple of 2, got 3"):
        StudyDesign(optimizers=["sgd", "sam"], training={"epochs": 3}).cells()
    with pytest.raises(DesignError, match=r"entropy_sgd takes 5 batches a step, and 8 training rows"):
        StudyDesign(optimizers=["sgd", "entropy_sgd"], data={"n_train": 8}).cells()


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimisers": ["sgd"]}, "no key 'optimisers'; did you mean 'optimizers'?"),
        ({"training": {"epoch": 3}}, r"\[training\] has no key 'epoch'; did you mean 'epochs'"),
        (
            {"data": {"kind": "synthetic", "n_node": 3}},
            r"\[data\] has no key 'n_node'; did you mean 'n_nodes'",
        ),
        ({"data": {"kind": "tabel"}}, "data.kind must be one of synthetic, dlcausal, table, got 'tabel'"),
        ({"data": {"kind": "table", "file": "x.csv"}}, "data.target is missing"),
        ({"data": {"kind": "dlcausal", "sizes": [[6, 4, 2]]}}, "must be a pair"),
        ({"data": {"mechanisms": []}}, "data.mechanisms must not be empty"),
        (
            {"data": {"mechanisms": ["cubic"]}},
            "data.mechanisms.* must be one of .* got 'cubic'",
        ),
        ({"network": {"n_d": 0}}, "network.n_d must be at least 1, got 0"),
        ({"network": [1]}, "network must be a table"),
        ({"training": {"nesterov": 1}}, "training.nesterov must be true or false"),
        ({"training": {"lr_schedule": "cos"}}, "training.lr_schedule must be one of"),
        ({"optimizers": {"x": {"name": "smart"}}}, "optimizers.x.name must be one of .* got 'smart'"),
        ({"optimizers": {"x": {}}}, "optimizers.x.name must be one of .* got None"),
        ({"optimizers": {"sam": {"roh": 0.1}}}, "has no key 'roh'; did you mean 'rho'"),
        ({"optimizers": {"sam": {"rho": -1}}}, "optimizers.sam: rho must be"),
        ({"optimizers": {"adam": {"betas": 3}}}, "optimizers.adam: "),
        ({"optimizers": {"sgd": {"lr": 0}}}, "optimizers.sgd.lr must be"),
        ({"optimizers": {"sam": {"base": {"name": "sam"}}}}, "optimizers.sam: base must be a recipe"),
        ({"optimizers": {"a": 3}}, "optimizers.a must be a name, a recipe or a table"),
        ({"optimizers": []}, "optimizers must name at least one"),
        ({"optimizers": {"a": "sgd", "b": "sgd"}}, "optimizers 'a' and 'b' are the same"),
        ({"optimizers": {"sgd": {"averaging": "sma"}}}, "optimizers.sgd.averaging must be one of ema"),
        ({"optimizers": {"sgd": {"averaging": "swad"}}}, "optimizers.sgd.averaging = 'swad' holds rows out"),
        ({"optimizers": {"sgd": {"averaging": {"name": "ema", "decai": 1}}}}, "did you mean 'decay'"),
        ({"optimizers": {"sgd": {"averaging": {"name": "ema", "decay": 2}}}}, "averaging: decay must be"),
        ({"optimizers": ["adam", "adamw"]}, "optimizers 'adam' and 'adamw' are the same"),
        (
            {"optimizers": {"momentum": {"nesterov": True}, "nesterov": {}}},
            "optimizers 'momentum' and 'nesterov' are the same",
        ),
        (
            {"optimizers": {"a": {"name": "sam", "base": "adam"}, "b": {"name": "sam", "base": "adamw"}}},
            "optimizers 'a' and 'b' are the same",
        ),
        ({"control": "sgb"}, "control = 'sgb' is not one of the optimizers; did you mean 'sgd'"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"n_members": 2.5}, "n_members must be an integer"),
    ],
)
def test_mistakes_are_named(values, words):
    with pytest.raises(FlatCausalError, match=words):
        StudyDesign.from_dict(values)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("graph", ["er", "scale_free_in", "scale_free_out", "small_world", "layered"]),
        ("mechanisms", [["rff", "polynomial"], ["tree", "mixture"], ["post_nonlinear"]]),
        ("noise", ["t", "gumbel", "mixture"]),
        ("noise_mode", ["multiplicative", "heteroscedastic", "functional"]),
        ("standardize", ["internal", "posthoc"]),
        ("n_hidden", [2]),
        ("environment_kind", ["scale", "soft"]),
    ],
)
def test_settings_of_the_generator_reach_it(key, values):
    small = {
        "n_datasets": 1,
        "n_nodes": 8,
        "n_distractors": 1,
        "n_train": 30,
        "n_test": 20,
        "n_environments": 1,
    }
    plain = StudyDesign(data=small).cells()[0].block.load()
    for value in values:
        sample = StudyDesign(data={**small, key: value}).cells()[0].block.load()
        assert sample.X_train.shape == (30, 8)
        seen = sample.environments[0][0] if key == "environment_kind" else sample.X_train
        before = plain.environments[0][0] if key == "environment_kind" else plain.X_train
        assert value == "er" or not np.array_equal(seen, before)


def test_an_average_is_part_of_what_is_trained():
    design = StudyDesign(
        optimizers={
            "sgd": {},
            "swa": {"name": "sgd", "averaging": "swa"},
            "short": {"name": "sgd", "averaging": optim.averaging.LAWA(k=2)},
            "foof": {"rest": "adam"},
        },
        training={"epochs": 4},
    )
    assert "averaging" not in design.optimizers["sgd"]
    assert design.optimizers["swa"]["averaging"] == {"name": "swa", "start": 0.75, "freq": 1}
    assert design.optimizers["short"]["averaging"] == {"name": "lawa", "k": 2}
    assert design.optimizers["foof"]["rest"]["name"] == "adam"
    assert StudyDesign.from_dict(design.to_dict()).id == design.id
    estimators = {cell.label: cell.estimator() for cell in design.cells()}
    assert estimators["sgd"].averaging is None
    assert repr(estimators["short"].averaging) == "LAWA(k=2)"


def test_what_differs_by_the_shared_weight_decay_or_nesterov_is_no_twin():
    decayed = {"optimizers": ["adam", "adamw"], "training": {"weight_decay": 0.01}}
    assert list(StudyDesign.from_dict(decayed).optimizers) == ["adam", "adamw"]
    assert list(StudyDesign(optimizers=["momentum", "nesterov"]).optimizers) == ["momentum", "nesterov"]


# ---- tables and files -----------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(40)))
    return path


def test_a_table_is_known_by_its_content(table, tmp_path):
    def design(path):
        return StudyDesign(data={"file": str(path), "target": "y", "n_splits": 2})

    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    assert design(copy).id == design(table).id
    assert [c.id for c in design(copy).cells()] == [c.id for c in design(table).cells()]
    copy.write_text(copy.read_text().replace("39,", "40,"))
    assert design(copy).id != design(table).id


def test_a_table_that_changed_under_the_design_is_refused(table):
    design = StudyDesign(data={"file": str(table), "target": "y"})
    table.write_text(table.read_text() + "1,2,3\n")
    with pytest.raises(DataError, match="is not the file that the design names"):
        design.cells()


def test_splits_cover_the_table_and_differ(table):
    data = TableData(file=str(table), target="y", n_splits=3, test_fraction=0.25)
    samples = [block.load() for block in data.blocks(seed=0)]
    for sample in samples:
        assert len(sample.X_train) == 30
        assert sorted([*sample.X_train["a"], *sample.X_test["a"]]) == list(range(40))
    assert len({tuple(sample.X_test["a"]) for sample in samples}) == 3


def test_a_parquet_file_reads_like_the_csv(table, tmp_path):
    import pandas as pd

    pd.read_csv(table).to_parquet(tmp_path / "table.parquet")
    one, other = (
        TableData(file=str(path), target="y").blocks(0)[0].load().X_train
        for path in (table, tmp_path / "table.parquet")
    )
    pd.testing.assert_frame_equal(one, other)


def test_paths_in_a_design_file_are_beside_it(table):
    file = table.parent / "design.toml"
    file.write_text('[data]\nkind = "table"\nfile = "table.csv"\ntarget = "y"\n')
    design = StudyDesign.from_toml(file)
    assert design.name == "design"
    assert design.data.file == str(table)
    with pytest.raises(DesignError, match=r"has its own \[data\]"):
        StudyDesign.from_toml(file, data={"kind": "table", "file": str(table), "target": "a"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,y\n1,2\n,3\n4,5\n", r"column 'a' of .* has 1 missing .* first in data row 2"),
        ("a,y\nred,2\nblue,3\n", r"column 'a' of .* is not numeric \(it holds 'red'\)"),
        ("a,y\n1,2\n2,x\n3,4\n", r"target column 'y' of .* is not numeric \(it holds 'x'\)"),
        ("a,y\n1,inf\n2,3\n", "target column 'y' .* missing or infinite"),
        ("a,y\n" + 8 * "1,2\n", "target column 'y' .* is constant"),
        ("a,z\n1,2\n", "has no column 'y'; known: a, z"),
        ("a,a,y\n1,2,3\n", "more than one column 'a'"),
        (",a,y\n0,1,2\n", "column 1 of .* has no name"),
        ("y\n1\n", "1 column"),
        ("", "cannot be read as a .csv file"),
        ('a,y\n1,2\n1,2,3,4\n"', "cannot be read as a .csv file"),
        ("a,y\n1,2\n1,3\n", "2 rows, and data.test_fraction = 0.25 leaves 0 for testing"),
        ("a,y\n", "a header and no rows"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, words):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        StudyDesign(data={"file": str(path), "target": "y"}).cells()


# ---- the guide ------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [Training, Network, Measures, SyntheticData, DlcausalData, TableData])
def test_the_guide_lists_every_key_with_its_default(section):
    text = GUIDE.read_text("utf-8")
    for spec in dataclasses.fields(section):
        default = json.dumps(spec.default).replace("0.001", "1e-3")
        shown = "required" if default == '""' else "none" if default == "null" else default
        assert f"| `{spec.name}` | {shown} |" in text.replace("`" + shown + "`", shown), spec.name


def test_the_guide_s_example_is_a_design(tmp_path):
    example = re.search(r"```toml\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "example.toml"
    file.write_text(example[1])
    assert len(StudyDesign.from_toml(file).cells()) > 1
