from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from flatcausal.exceptions import DesignError
from flatcausal.study import StudyDesign, run_cell
from flatcausal.study._cells import Cell, run_cells
from tests.study.designs import TINY_NETWORK, tiny, without_clock, write_table

ALL = ["gd", "sgd", "sam", "entropy_sgd", "adam"]
MEASURES = {
    "train_loss",
    "iid_risk",
    "sharpness_adaptive",
    "sharpness_adaptive_average",
    "gradient_norm",
    "weight_norm",
}
ENVIRONMENTS = {"worst_case_risk", "mean_environment_risk"}


@pytest.fixture(scope="module")
def all_records() -> dict[str, list[dict]]:
    cells = tiny(optimizers=ALL, data={**tiny().data.to_dict(), "n_datasets": 1}).cells()
    return {cell.label: run_cell(cell) for cell in cells}


def test_a_record_a_member_with_every_measure(all_records):
    for label, records in all_records.items():
        assert [record["member"] for record in records] == [0, 1]
        for record in records:
            assert record["block"] == "dag-0"
            assert record["optimizer"] == label
            assert record["status"] == "ok"
            assert MEASURES | ENVIRONMENTS | {"ap_lift_parents", "causal_mass_markov_blanket"} < set(record)
            assert all(math.isfinite(record[key]) for key in MEASURES | ENVIRONMENTS)
            assert record["worst_case_risk"] >= record["mean_environment_risk"]
            assert list(record["importances"]) == [f"x{i}" for i in range(6)]
            assert sum(record["importances"].values()) == pytest.approx(1.0)
            json.dumps(record, allow_nan=False)


def test_every_optimizer_spent_the_same_number_of_gradients(all_records):
    assert {record["n_gradient_evaluations"] for records in all_records.values() for record in records} == {
        10
    }
    epochs = {label: records[0]["n_epochs"] for label, records in all_records.items()}
    assert epochs == {"gd": 2, "sgd": 2, "sam": 1, "entropy_sgd": 2, "adam": 2}


def test_a_recipe_that_spends_another_number_is_found_out():
    cell = tiny().cells()[0]
    budget = type(cell.budget)(cell.budget.batch_size, cell.budget.max_epochs, 99)
    wrong = Cell(**{**vars(cell), "budget": budget})
    with pytest.raises(DesignError, match="spent 4 gradient evaluations on dag-0 instead of 99"):
        run_cell(wrong)


def test_risks_and_losses_are_the_errors_that_they_claim_to_be():
    cell = tiny().cells()[0]
    record = run_cell(cell)[1]
    sample = cell.block.load()
    estimator = cell.estimator().fit(sample.X_train, sample.y_train)

    def error(X, y):
        return np.mean((estimator.predict_members(X)[1].astype(float) - y) ** 2)

    variance = np.var([*sample.y_train, *sample.y_test])
    assert record["train_loss"] == pytest.approx(
        error(sample.X_train, sample.y_train) / np.var(sample.y_train)
    )
    assert record["iid_risk"] == pytest.approx(error(sample.X_test, sample.y_test) / variance)
    shifted = [error(X, y) / variance for X, y in sample.environments]
    assert record["worst_case_risk"] == pytest.approx(max(shifted))
    assert record["mean_environment_risk"] == pytest.approx(np.mean(shifted))


def test_optimizers_differ_in_nothing_but_the_optimizer():
    cells = tiny(optimizers=ALL).cells()
    first = [cell for cell in cells if cell.block.name == "dag-0"]
    assert len({cell.block for cell in first}) == 1
    shared = {"optimizer", "lr", "max_epochs"}
    parameters = [cell.estimator().get_params(deep=False) for cell in first]
    for key in set(parameters[0]) - shared:
        assert len({repr(p[key]) for p in parameters}) == 1, key


def test_blocks_have_seeds_of_their_own():
    data = {**tiny().data.to_dict(), "n_datasets": 5}
    cells = [cell for cell in tiny(data=data).cells() if cell.label == "sgd"]
    assert len({cell.estimator().random_state for cell in cells}) == 5
    more = tiny(data={**data, "n_datasets": 9}).cells()
    assert {cell.id for cell in cells} < {cell.id for cell in more}


def test_ids_differ_and_survive_pickling():
    cells = tiny(optimizers=ALL).cells()
    assert len({cell.id for cell in cells}) == len(cells)
    assert [pickle.loads(pickle.dumps(cell)).id for cell in cells] == [cell.id for cell in cells]


def test_ids_are_the_same_in_another_process():
    code = "from tests.study.designs import tiny; print(*[cell.id for cell in tiny().cells()])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == [cell.id for cell in tiny().cells()]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"n_members": 3},
        {"training": {"epochs": 4, "batch_size": 30}},
        {"training": {"epochs": 2, "batch_size": 20}},
        {"training": {"epochs": 2, "batch_size": 30, "lr_schedule": "constant"}},
        {"training": {"epochs": 2, "batch_size": 30, "weight_decay": 0.1}},
        {"training": {"epochs": 2, "batch_size": 30, "virtual_batch_size": 8}},
        {"training": {"epochs": 2, "batch_size": 30, "momentum": 0.5}},
        {"network": {**TINY_NETWORK, "n_d": 3}},
        {"measures": {"sharpness_rows": 21}},
        {"data": {**tiny().data.to_dict(), "n_train": 61}},
        {"data": {**tiny().data.to_dict(), "environment_strength": 3.0}},
    ],
)
def test_whatever_changes_a_result_changes_the_id(change):
    assert not {cell.id for cell in tiny().cells()} & {cell.id for cell in tiny(**change).cells()}


def test_a_cell_gives_the_same_bits_alone_and_whatever_came_before():
    cells = tiny().cells()
    alone = without_clock(run_cell(cells[1]))
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - that global state does not matter is the point
    run_cell(cells[0])
    assert without_clock(run_cell(cells[1])) == alone


@pytest.mark.parametrize("optimizers", [["sam"], {"walk": {"name": "entropy_sgd", "noise": 0.1}}, ["gd"]])
def test_cells_trained_together_give_the_records_of_each_alone(optimizers):
    cells = tiny(optimizers=optimizers).cells()
    assert len({cell.kin for cell in cells}) == 1
    together = [without_clock(records) for records in run_cells(cells)]
    assert together == [without_clock(run_cell(cell)) for cell in cells]


def test_a_cell_leaves_global_state_alone():
    threads = torch.get_num_threads()
    before = torch.get_rng_state(), str(np.random.get_state()), random.getstate()  # noqa: NPY002
    run_cell(tiny().cells()[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (str(np.random.get_state()), random.getstate()) == before[1:]  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_a_fit_that_diverges_is_a_record_and_not_a_crash():
    wild, tame = tiny(optimizers={"wild": {"name": "sgd", "lr": 1e30}, "tame": "sgd"}).cells()[:2]
    records = run_cell(wild)
    assert [record["status"] for record in records] == ["diverged", "diverged"]
    assert set(records[0]) == set(run_cell(tame)[0])
    assert all(records[0][key] is None for key in MEASURES | ENVIRONMENTS | {"importances", "auroc_parents"})


def test_a_table_without_a_graph_has_no_causal_scores(tmp_path):
    data = {"file": str(write_table(tmp_path)), "target": "y", "n_splits": 2}
    cells = tiny(data=data).cells()
    assert [cell.block.name for cell in cells] == ["split-00", "split-00", "split-01", "split-01"]
    record = run_cell(cells[0])[0]
    assert set(record) >= MEASURES | {"importances"}
    assert not ENVIRONMENTS & set(record)
    assert not [key for key in record if "parents" in key]
    assert list(record["importances"]) == ["cause", "effect", "idle"]


def test_a_table_with_a_graph_has_them(tmp_path):
    graph = tmp_path / "edges.csv"
    graph.write_text("from,to\ncause,y\ny,effect\n")
    data = {"file": str(write_table(tmp_path)), "target": "y", "n_splits": 2, "graph": str(graph)}
    cell = tiny(data=data).cells()[0]
    record = run_cell(cell)[0]
    mass = record["importances"]
    assert record["causal_mass_parents"] == pytest.approx(mass["cause"])
    assert record["causal_mass_markov_blanket"] == pytest.approx(mass["cause"] + mass["effect"])
    other = StudyDesign.from_dict({**tiny().to_dict(), "data": {**data, "graph": None}})
    assert cell.id not in {c.id for c in other.cells()}


def test_the_published_grid_runs():
    data = {"kind": "dlcausal", "n_datasets": 1, "n_rows": [50], "sizes": [[6, 4]], "n_environments": 1}
    cell = tiny(data=data).cells()[0]
    sample = cell.block.load()
    assert cell.block.name == "N50-p6-d4-dag-0"
    assert sample.X_train.shape == (50, 9)
    assert set(sample.y_train) == {0.0, 1.0}
    assert run_cell(cell)[0]["status"] == "ok"
