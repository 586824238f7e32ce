from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from flatcausal.exceptions import ParameterError, StoreError
from flatcausal.study import load_records, run_study
from flatcausal.study._run import _tasks
from tests.study.designs import tiny


def comparable(frame: pd.DataFrame) -> str:
    return frame.drop(columns="seconds").to_json(orient="records", double_precision=15)


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return run_study(tiny(), ":memory:")


def test_one_row_a_member(whole):
    assert list(zip(whole["block"], whole["optimizer"], whole["member"], strict=True)) == [
        (block, optimizer, member)
        for block in ("dag-0", "dag-1")
        for optimizer in ("sam", "sgd")
        for member in (0, 1)
    ]


def test_two_processes_give_the_same_records(whole, tmp_path):
    assert comparable(run_study(tiny(), tmp_path / "study.db", n_jobs=2)) == comparable(whole)


def test_resuming_recomputes_nothing(whole, tmp_path, monkeypatch):
    ran = []
    from flatcausal.study import _run

    original = _run.run_cells

    def counting(cells):
        if ran:
            raise KeyboardInterrupt
        ran.extend(cell.id for cell in cells)
        return original(cells)

    monkeypatch.setattr(_run, "run_cells", counting)
    store = tmp_path / "study.db"
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny(), store)
    assert len(load_records(store)) == 2 * 2  # both blocks of one optimizer train together
    monkeypatch.setattr(
        _run, "run_cells", lambda cells: (ran.extend(cell.id for cell in cells), original(cells))[1]
    )
    seen = []
    frame = run_study(tiny(), store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 4), (4, 4)]
    assert len(ran) == len(set(ran)) == 4
    assert comparable(frame) == comparable(whole)
    run_study(tiny(), store)
    assert len(ran) == 4


def test_cells_share_a_task_if_alike_and_leave_none_idle():
    cells = tiny(data={**tiny().data.to_dict(), "n_datasets": 6}).cells()
    tasks = _tasks(cells, n_jobs=4)
    assert sorted(len(task) for task in tasks) == [2] * 6
    assert all(len({cell.label for cell in task}) == 1 for task in tasks)
    assert sorted(cell.id for task in tasks for cell in task) == sorted(cell.id for cell in cells)
    alone = tiny(n_members=1, data={**tiny().data.to_dict(), "n_datasets": 6}).cells()
    assert all(len(task) == 1 for task in _tasks(alone, n_jobs=1))


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_then_the_same_command_equals_an_uninterrupted_run(tmp_path):
    design = tiny(data={**tiny().data.to_dict(), "n_datasets": 6})
    file, store = tmp_path / "design.json", tmp_path / "study.db"
    file.write_text(json.dumps(design.to_dict()))
    code = (
        "import json, sys; from flatcausal.study import StudyDesign, run_study\n"
        "design = StudyDesign.from_dict(json.load(open(sys.argv[1])))\n"
        "told = lambda *progress: print(*progress, flush=True)\n"
        "run_study(design, sys.argv[2], progress=told)"
    )
    command = [sys.executable, "-c", code, str(file), str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line != "0 12\n":
                process.send_signal(signal.SIGINT)
                break
        started = time.monotonic()
        process.stdout.read()
        process.wait(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - started < 20
    kept = len(load_records(store))
    assert 2 <= kept < 24
    counts = []
    resumed = run_study(design, store, progress=lambda done, total: counts.append(done))
    assert counts[0] == kept // 2
    assert comparable(resumed) == comparable(run_study(design, ":memory:"))


def test_a_store_belongs_to_one_design(tmp_path):
    store = tmp_path / "study.db"
    run_study(tiny(), store)
    with pytest.raises(StoreError, match="made by another design"):
        run_study(tiny(seed=1), store)
    assert len(run_study(tiny(name="only the title differs"), store)) == 8


def test_zero_processes_are_refused():
    with pytest.raises(ParameterError, match="n_jobs must be"):
        run_study(tiny(), ":memory:", n_jobs=0)
