from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatcausal import __version__
from flatcausal.exceptions import StoreError
from flatcausal.study._database import parse_address
from flatcausal.study._store import load_design, load_records, open_store

DESIGN = {"name": "tiny", "seed": 0, "training": {"epochs": 3, "lr_schedule": "cosine"}}


def cell(block="dag-000", optimizer="sgd", members=2, **values):
    return [
        {"block": block, "optimizer": optimizer, "member": m, "status": "ok", "iid_risk": 0.1 * m, **values}
        for m in range(members)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "study.db"


def test_records_come_back_in_one_order_whatever_the_order_of_arrival(path, tmp_path):
    cells = {
        "c1": cell("dag-000", "adam"),
        "c2": cell("dag-000", "sgd", iid_risk=None),
        "c3": cell("dag-001", "adam", importances={"x1": 0.25, "x 2 'quoted'": 0.75}),
    }
    with open_store(path, DESIGN, "d1") as store:
        for cell_id, records in cells.items():
            store.add(cell_id, 1.0, records)
        forward = store.records()
    with open_store(tmp_path / "other.db", DESIGN, "d1") as store:
        for cell_id in reversed(cells):
            store.add(cell_id, 2.0, cells[cell_id][::-1])
        backward = store.records()

    pd.testing.assert_frame_equal(forward, backward)
    keys = forward[["block", "optimizer", "member"]].to_records(index=False).tolist()
    assert keys == sorted(keys)
    assert len(keys) == 6
    assert forward.loc[forward.optimizer == "sgd", "iid_risk"].isna().all()
    assert forward.iloc[-1]["importances"] == {"x1": 0.25, "x 2 'quoted'": 0.75}
    pd.testing.assert_frame_equal(load_records(path), forward)
    assert load_design(path) == {**DESIGN, "version": __version__}


def test_numbers_that_json_cannot_hold_are_stored_as_null(path):
    odd = {"loss": math.nan, "risk": np.float32("inf"), "n": np.int64(7), "flag": np.bool_(True)}
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell(members=1, **odd))
        row = store.records().iloc[0]
    (text,) = sqlite3.connect(path).execute("select record from runs").fetchone()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (record["loss"], record["risk"], record["n"], record["flag"]) == (None, None, 7, True)
    assert np.isnan(row["loss"])
    assert np.isnan(row["risk"])


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    text=st.text(alphabet=st.characters(exclude_categories=())),
)
def test_every_float_and_every_text_survive_the_round_trip(value, text):
    with open_store(":memory:", DESIGN, "d1") as store:
        store.add("c1", 1.0, cell(members=1, iid_risk=value, importances={text: value}))
        row = store.records().iloc[0]
    assert row["iid_risk"] == value
    assert row["importances"] == {text: value}


def test_a_finished_cell_added_again_changes_nothing(path):
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell())
        before = store.records()
        store.add("c1", 9.0, cell(members=5, iid_risk=99.0))
        assert store.finished() == {"c1"}
        pd.testing.assert_frame_equal(store.records(), before)


def test_a_cell_is_stored_whole_or_not_at_all(path):
    twice = cell(members=1) * 2
    with open_store(path, DESIGN, "d1") as store:
        with pytest.raises(StoreError, match=r"UNIQUE constraint failed: runs"):
            store.add("c1", 1.0, twice)
        assert store.finished() == set()
        assert store.records().empty


def test_sqlite_runs_in_wal_mode_with_every_commit_flushed(path):
    with open_store(path, DESIGN, "d1") as store, store._engine.connect() as connection:
        read = lambda name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # noqa: E731
        assert (read("journal_mode"), read("synchronous"), read("busy_timeout")) == ("wal", 2, 30_000)


def test_a_study_resumes(path):
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell())
    with open_store(str(path), dict(DESIGN), "d1") as store:
        assert store.finished() == {"c1"}
        store.add("c2", 1.0, cell(optimizer="sam"))
        assert store.finished() == {"c1", "c2"}


def test_a_reader_sees_whole_cells_while_a_writer_holds_the_lock(path):
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell())
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO cells VALUES ('c2', 1.0, 'now')")
        assert store.finished() == {"c1"}
        assert len(load_records(path)) == 2
        writer.execute("COMMIT")
        writer.close()
        assert store.finished() == {"c1", "c2"}


# One process imports the store once, then forks writers and kills them at random moments. A cell
# counts as acknowledged when its id came through the pipe, after `add` has returned.
KILLER = """
import os, random, signal, sys, time
from flatcausal.study._store import open_store

path, rounds = sys.argv[1], int(sys.argv[2])
random.seed(0)
for round_ in range(rounds):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with open_store(path, {"name": "tiny"}, "d1") as store:
            for i in range(10**6):
                records = [
                    {"block": f"b{round_}-{i}", "optimizer": "sgd", "member": m, "pad": "x" * 3000}
                    for m in range(4)
                ]
                store.add(f"{round_}-{i}", 1.0, records)
                os.write(writer, f"{round_}-{i}\\n".encode())
    os.close(writer)
    first = os.read(reader, 1000).decode()
    time.sleep(random.uniform(0.0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sys.stdout.write(first + os.fdopen(reader).read())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_loses_no_acknowledged_cell_and_leaves_none_half(path):
    rounds = 8
    run = subprocess.run(
        [sys.executable, "-c", KILLER, str(path), str(rounds)], capture_output=True, text=True, check=True
    )
    acknowledged = set(run.stdout.split())
    assert len(acknowledged) >= rounds

    with open_store(path, {"name": "tiny"}, "d1") as store:
        finished = store.finished()
        records = store.records()
    assert acknowledged <= finished
    assert len(finished - acknowledged) <= rounds  # at most the cell in flight at each kill
    assert (records.groupby("block").size() == 4).all()
    assert len(records) == 4 * len(finished)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_store_belongs_to_one_design(path):
    open_store(path, DESIGN, "d1").close()
    other = {**DESIGN, "seed": 1, "command": "flatcausal study --seed 1"}
    with pytest.raises(
        StoreError, match=r"study\.db was made by another design \(they differ in seed\); choose"
    ):
        open_store(path, other, "d2")
    assert load_design(path) == {**DESIGN, "version": __version__}


def test_titles_are_brought_up_to_date_and_a_command_stays(path):
    def opened(**changes):
        open_store(path, {**DESIGN, **changes}, "d1").close()
        return load_design(path)

    assert opened(command="first")["command"] == "first"
    assert opened(command="second")["command"] == "first"
    assert opened()["command"] == "first"
    other = opened(name="other", control="sam", command="third")
    assert (other["name"], other["control"], other["command"]) == ("other", "sam", "third")


def test_a_store_is_read_where_nothing_may_be_written(path, monkeypatch):
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell())
    odd = path.rename(path.with_name("ö %20?.db"))
    sizes = []
    monkeypatch.setattr("os.access", lambda *_: False)
    real = sqlite3.connect

    def connect(*arguments, **options):
        sizes.append(arguments[0])
        return real(*arguments, **options)

    monkeypatch.setattr("sqlite3.dbapi2.connect", connect)
    assert len(load_records(odd)) == 2
    assert sizes
    assert all("immutable=1" in str(name) for name in sizes)
    assert [entry.name for entry in path.parent.iterdir()] == [odd.name]


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b,target\n1,2,3\n")
    for opening in (lambda: open_store(path, DESIGN, "d1"), lambda: load_records(path)):
        with pytest.raises(StoreError, match=r"table\.csv is not a SQLite database; choose"):
            opening()
    assert path.read_bytes() == b"a,b,target\n1,2,3\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_another_programs_database_is_refused_untouched(tmp_path):
    path = tmp_path / "browser.db"
    connection = sqlite3.connect(path)
    connection.execute("create table bookmarks (url text)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        open_store(path, DESIGN, "d1")
    with pytest.raises(StoreError, match="holds no study"):
        load_records(path)
    assert path.read_bytes() == before


def test_a_truncated_store_is_an_error_not_a_guess(path):
    with open_store(path, DESIGN, "d1") as store:
        for i in range(20):
            store.add(f"c{i}", 1.0, cell(f"dag-{i:03d}", pad="x" * 4000))
    path.write_bytes(path.read_bytes()[: 3 * 4096 + 17])
    with pytest.raises(StoreError, match=r"study\.db cannot be used: database disk image is malformed"):
        load_records(path)


@pytest.mark.parametrize("load", [load_records, load_design])
def test_loading_what_is_not_there_makes_nothing(path, load):
    with pytest.raises(StoreError, match="There is no store at"):
        load(path)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreError, match="holds no study"):
        load(path)
    assert path.stat().st_size == 0


def test_paths_that_cannot_be_stores(tmp_path):
    with pytest.raises(StoreError, match="is a folder; name a file in it"):
        open_store(tmp_path, DESIGN, "d1")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"study\.db cannot be read: Not a directory; choose"):
        open_store(tmp_path / "file" / "deeper" / "study.db", DESIGN, "d1")
    with pytest.raises(StoreError, match="is a file or a database address, got ''"):
        open_store("", DESIGN, "d1")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_cannot_be_made_is_an_error():
    with pytest.raises(StoreError, match=r"folder of the store /proc/runs/study\.db cannot be made"):
        open_store("/proc/runs/study.db", DESIGN, "d1")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_place_that_takes_no_data_is_an_error():
    with pytest.raises(StoreError, match="/dev/full"):
        open_store("/dev/full", DESIGN, "d1")


def test_a_store_that_became_unwritable_keeps_what_it_had(path):
    with open_store(path, DESIGN, "d1") as store:
        store.add("c1", 1.0, cell())
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(FAIL, 'disk full'); END"
            )
        connection.close()
        with pytest.raises(StoreError, match=r"study\.db cannot be used: disk full; mend that or choose"):
            store.add("c2", 1.0, cell("dag-001"))
        assert store.finished() == {"c1"}
        assert len(store.records()) == 2


def test_messages_never_show_a_password():
    _, name = parse_address("postgresql://user:secret@host/study")
    assert name == "postgresql://user:***@host/study"
    with pytest.raises(StoreError) as caught:
        open_store("nodatabase://user:secret@host/study", DESIGN, "d1")
    assert "secret" not in str(caught.value)
    assert "driver that is not installed" in str(caught.value)
    with pytest.raises(StoreError, match="dialect://user@host/database") as caught:
        open_store("user:secret://", DESIGN, "d1")
    assert "secret" not in str(caught.value)
