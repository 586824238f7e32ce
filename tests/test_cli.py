from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import flatcausal
from flatcausal.cli import app
from flatcausal.study import load_design, load_records
from tests.study.designs import write_table

TINY = """
n_members = 2
optimizers = ["sgd", "sam"]
[training]
epochs = 2
batch_size = 30
[network]
n_d = 2
n_a = 2
n_steps = 2
n_independent = 1
n_shared = 1
[measures]
sharpness_draws = 2
"""
TINY_DATA = """
[data]
n_datasets = {n_datasets}
n_nodes = 5
n_distractors = 2
n_train = 60
n_test = 30
n_environments = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a good file of every kind, and some bad ones."""
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    files = {
        "tiny.toml": TINY + TINY_DATA.format(n_datasets=2),
        "seeded.toml": "seed = 3\n" + TINY + TINY_DATA.format(n_datasets=2),
        "nodata.toml": TINY,
        "broken.toml": "[data\n",
        "latin.toml": "",
        "odd.toml": "[training]\nepoch = 3\n",
        "odd_epochs.toml": "[training]\nepochs = 3\n",
        "edges.csv": "from,to\ncause,y\ny,effect\n",
        "cycle.csv": "from,to\ncause,y\ny,effect\neffect,cause\n",
        "stranger.csv": "from,to\nsomeone,y\n",
        "noedges.csv": "a;b\n",
        "words.csv": "a,y\n1,low\n2,high\n3,low\n4,low\n",
        "hole.csv": "a,y\n1,2\n,3\n4,5\n6,7\n",
        "semi.csv": "a;y\n1;2\n",
        "few.csv": "a,y\n" + "".join(f"{i},{i}\n" for i in range(36)),
        "control.toml": 'control = ["sgd"]\n',
        "kind.toml": "data = {kind = [1]}\n",
        "twice.toml": 'optimizers = ["sgd", "sgd"]\n',
        "word.toml": 'optimizers = "sgd"\n',
        "text.txt": "a,y\n1,2\n",
        "nostore.db": "this is no database, only text",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.toml").write_bytes("name = 'Größe'".encode("latin-1"))
    (tmp_path / "latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    (tmp_path / "afolder").mkdir()
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


BAD = {
    "nothing to study": ("study --store s.db", "nothing to study"),
    "two designs": ("study tiny.toml --preset quick --store s.db", "tiny.toml and --preset quick"),
    "no such preset": ("study --preset quik --store s.db", "'quik'; did you mean 'quick'"),
    "no such design": ("study missing.toml --store s.db", "no design file missing.toml"),
    "a design that is a folder": ("study afolder --store s.db", "no design file afolder"),
    "broken TOML": ("study broken.toml --store s.db", "broken.toml is not valid TOML"),
    "TOML in another encoding": ("study latin.toml --store s.db", "latin.toml is not valid TOML"),
    "unknown key": ("study odd.toml --store s.db", "no key 'epoch'; did you mean 'epochs'"),
    "budgets not equal": ("study odd_epochs.toml --store s.db", "training.epochs must be a multiple of 2"),
    "two tables of data": ("study tiny.toml --data table.csv --target y --store s.db", "has its own [data]"),
    "target without data": ("study nodata.toml --target y --store s.db", "give --data"),
    "graph without data": ("study nodata.toml --graph edges.csv --store s.db", "give --data"),
    "data without target": ("study --data table.csv --store s.db", "needs --target"),
    "no such data": ("study --data gone.csv --target y --store s.db", "no file gone.csv"),
    "data is a folder": ("study --data afolder --target y --store s.db", "afolder cannot be read"),
    "no such column": ("study --data table.csv --target efect --store s.db", "did you mean 'effect'"),
    "target not numeric": ("study --data words.csv --target y --store s.db", "target column 'y'"),
    "missing value": ("study --data hole.csv --target y --store s.db", "column 'a'"),
    "not a table": ("study --data text.txt --target y --store s.db", ".csv or a .parquet"),
    "semicolons": ("study --data semi.csv --target y --store s.db", "save it with commas"),
    "latin-1": ("study --data latin.csv --target y --store s.db", "save it as UTF-8"),
    "too few test rows": ("study --data few.csv --target y --store s.db", "leaves 9 for testing"),
    "control is a list": ("study control.toml --store s.db", "control must be a text"),
    "kind is a list": ("study kind.toml --store s.db", "data.kind must be a text"),
    "an optimizer twice": ("study twice.toml --store s.db", "optimizers names 'sgd' twice"),
    "optimizers is a word": ("study word.toml --store s.db", "write ['sgd']"),
    "no such graph": ("study --data table.csv --target y --graph gone.csv --store s.db", "gone.csv"),
    "cyclic graph": ("study --data table.csv --target y --graph cycle.csv --store s.db", "cycle"),
    "unknown node": ("study --data table.csv --target y --graph stranger.csv --store s.db", "'someone'"),
    "no edges": ("study --data table.csv --target y --graph noedges.csv --store s.db", "noedges.csv"),
    "store is no database": ("study tiny.toml --store nostore.db", "nostore.db is not a SQLite database"),
    "store is a folder": ("study tiny.toml --store afolder", "afolder is a folder"),
    "store of no known kind": ("study tiny.toml --store nosuchdb://x/y", "nosuchdb"),
    "report is a folder": ("study tiny.toml --store s.db --report afolder", "afolder is a folder"),
    "report in a file": ("study tiny.toml --store s.db --report tiny.toml/r.html", "cannot be written"),
    "report is the store": ("study tiny.toml --store s.db --report s.db", "both name s.db"),
    "no processes": ("study tiny.toml --store s.db --n-jobs 0", "n_jobs must be"),
    "report of no store": ("report --store gone.db --report r.html", "gone.db"),
    "report of no database": ("report --store nostore.db --report r.html", "nostore.db"),
    "report into a folder": ("report --store gone.db --report afolder", "afolder is a folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_exit_code_2(folder, case):
    command, words = BAD[case]
    result = invoke(*command.split())
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert words in result.stderr
    assert result.stdout == ""
    assert not (folder / "s.db").exists()


def test_a_store_made_by_another_design_is_refused(folder):
    assert invoke("study", "tiny.toml", "--store", "s.db", "--n-jobs", 1, "--quiet").exit_code == 0
    result = invoke("study", "seeded.toml", "--store", "s.db", "--n-jobs", 1)
    assert result.exit_code == 2
    assert "made by another design (they differ in" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("study", "'--store'"),
        ("study --store", "'--store' requires an argument"),
        ("report --store s.db", "'--report'"),
        ("sudy", "'sudy'"),
        ("study --nope", "--nope"),
        ("study --store s.db --n-jobs x", "'--n-jobs'"),
        ("study d.toml --data --store x.db", "'--store'"),
    ],
)
def test_usage_errors_are_one_sentence(command, words):
    result = invoke(*command.split())
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("flatcausal: ")
    assert words in result.stderr
    assert "--help`." in result.stderr


def test_without_a_command_the_help_is_shown():
    result = invoke()
    assert result.exit_code == 2
    assert "study" in result.output
    assert "flatcausal: " not in result.output


def test_an_error_that_should_not_occur_is_one_sentence_and_exit_code_1(folder, monkeypatch):
    def fail(*_, **__):
        raise KeyError("x\ny")

    monkeypatch.setattr("flatcausal.study.run_study", fail, raising=False)
    result = invoke("study", "tiny.toml", "--store", "s.db")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "KeyError" in result.stderr
    assert "please report it" in result.stderr


def test_a_report_shows_the_study_s_own_command_and_version(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["flatcausal", "study", "tiny.toml", "--store", "s.db"])
    monkeypatch.setattr("flatcausal.study._store.__version__", "0.0.7")
    assert invoke("study", "tiny.toml", "--store", "s.db", "--n-jobs", 1, "--quiet").exit_code == 0
    monkeypatch.setattr("sys.argv", ["flatcausal", "report", "--store", "s.db"])
    assert invoke("report", "--store", "s.db", "--report", "r.html").exit_code == 0
    page = (folder / "r.html").read_text("utf-8")
    assert "<code>flatcausal study tiny.toml --store s.db</code>" in page
    assert "flatcausal 0.0.7" in page
    assert "flatcausal report" not in page
    again = "name = 'Other'\ncontrol = 'sam'\n" + (folder / "tiny.toml").read_text()
    (folder / "other.toml").write_text(again)
    assert invoke("study", "other.toml", "--store", "s.db", "--n-jobs", 1, "--quiet").exit_code == 0
    design = load_design(folder / "s.db")
    assert (design["name"], design["control"]) == ("Other", "sam")


def test_one_optimizer_is_followed_by_no_blank_line(folder):
    (folder / "one.toml").write_text((folder / "tiny.toml").read_text().replace('"sgd", "sam"', '"sgd"'))
    result = invoke("study", "one.toml", "--store", "s.db", "--n-jobs", 1)
    assert result.exit_code == 0
    assert "" not in result.stdout.splitlines()


def test_a_store_without_finished_cells_says_what_to_run(folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flatcausal.study._run._compute", stop)
    assert invoke("study", "tiny.toml", "--store", "s.db").exit_code == 130
    result = invoke("report", "--store", "s.db", "--report", "r.html")
    assert result.exit_code == 2
    assert "The store s.db holds no finished cell yet; run `flatcausal" in result.stderr


def test_version():
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"flatcausal {flatcausal.__version__}\n")


def test_a_study_ends_in_a_table_an_answer_and_a_report(folder):
    arguments = ["study", "tiny.toml", "--store", "runs/s.db", "--report", "runs/r.html", "--n-jobs", 1]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert "4/4" in result.stderr
    assert "sgd" in result.stdout
    assert "sam" in result.stdout
    assert "runs/r.html" in result.stdout
    assert "</html>" in (folder / "runs/r.html").read_text("utf-8")
    assert len(load_records(folder / "runs/s.db")) == 8
    again = invoke("report", "--store", "runs/s.db", "--report", "other/again.html")
    assert again.exit_code == 0, again.output
    assert (folder / "other/again.html").stat().st_size > 1000


def test_quiet_says_nothing(folder):
    result = invoke("study", "tiny.toml", "--store", "s.db", "--report", "r.html", "--n-jobs", 1, "--quiet")
    assert (result.exit_code, result.output) == (0, "")
    assert (folder / "r.html").exists()


@pytest.mark.parametrize("graph", [(), ("--graph", "edges.csv")])
def test_a_table_of_the_user_s_own(folder, graph):
    arguments = ["study", "nodata.toml", "--data", "table.csv", "--target", "y", *graph]
    result = invoke(*arguments, "--store", "s.db", "--report", "r.html", "--n-jobs", 1)
    assert result.exit_code == 0, result.output
    frame = load_records(folder / "s.db")
    assert len(frame) == 10 * 2 * 2
    assert ("ap_lift_parents" in frame) == bool(graph)


def test_data_alone_takes_the_quick_preset(folder, monkeypatch):
    from flatcausal import study

    seen = []

    def refuse(design, store, **options):
        seen.append(design)
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", refuse)
    invoke("study", "--data", "table.csv", "--target", "y", "--store", "s.db")
    invoke("study", "--data", "table.csv", "--target", "y", "--preset", "dlcausal", "--store", "s.db")
    quick, dlcausal = (study.StudyDesign.preset(name) for name in ("quick", "dlcausal"))
    assert (seen[0].training, seen[0].optimizers) == (quick.training, quick.optimizers)
    assert (seen[1].training, seen[1].n_members) == (dlcausal.training, dlcausal.n_members)
    assert seen[0].data.kind == "table"


def test_the_command_starts_without_torch():
    code = (
        "import sys; from flatcausal import cli; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    shown = subprocess.run(
        [sys.executable, "-m", "flatcausal", "--help"], capture_output=True, text=True, check=True
    )
    assert "study" in shown.stdout


@pytest.mark.skipif(os.name != "posix", reason="sends the signal that a terminal sends")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_with_130_and_one_sentence(folder):
    (folder / "long.toml").write_text(TINY + TINY_DATA.format(n_datasets=200))
    arguments = ["study", "long.toml", "--store", "s.db", "--n-jobs", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "flatcausal", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not _finished(folder / "s.db") and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("flatcausal: interrupted")
    assert 0 < len(load_records(folder / "s.db")) < 800


def _finished(store: Path) -> int:
    try:
        return len(load_records(store))
    except Exception:
        return 0
