"""The example on SAM as a command."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import sharpness_with_and_without_sam.__main__ as command
from sharpness_with_and_without_sam.comparisons import COLUMNS
from sharpness_with_and_without_sam.files import write_all
from sharpness_with_and_without_sam.measures import MEASURES
from sharpness_with_and_without_sam.pairs import BASES, HALF, LONG, SHORT, WITH

FILES = {
    *("report.txt", "records.csv", "cells.csv", "differences.csv", "settings.json"),
    "surfaces_vgg3.png",
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *values, **_: printed.append(" ".join(map(str, values))))
        assert command.main(["--quick", "--out", str(out)]) == 0
    return out, "\n".join(printed)


def test_quick_writes_all_its_files_and_no_others(quick):
    out, printed = quick
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "report.txt").read_text() in printed
    assert json.loads((out / "settings.json").read_text())["seeds"] == 2
    assert (out / "surfaces_vgg3.png").read_bytes().startswith(b"\x89PNG")


def test_records_are_of_paired_runs(quick):
    records = pd.read_csv(quick[0] / "records.csv", keep_default_na=False)
    assert len(records) == 2 * (len(BASES) * 8 + 7)
    assert np.isfinite(
        records.loc[records["where"] != "annealed", list(MEASURES)].to_numpy(dtype=float)
    ).all()
    for _, pair in records.groupby(["experiment", "base", "seed"]):
        assert pair["start_hash"].nunique() == 1
        runs = pair[pair["where"] == "end"].set_index("run")
        assert runs.at[SHORT, "batches_hash"] == runs.at[WITH, "batches_hash"]
        expected = {HALF: 6, SHORT: 10, LONG: 20, WITH: 20}
        assert dict(runs["n_gradients"]) == {run: expected[run] for run in runs.index}
        for where in ("matched", "annealed"):
            assert pair.loc[pair["where"] == where, "train_loss"].nunique() == 1
    assert records.loc[records["experiment"] == "clean"].groupby("seed")["start_hash"].nunique().eq(1).all()
    assert records["start_hash"].nunique() == 2
    assert (records.loc[records["run"] == LONG, "epochs"].astype(float) == 10).all()


def test_the_report_has_its_tables(quick):
    lines = (quick[0] / "report.txt").read_text().splitlines()
    assert max(map(len, lines)) < 130
    for title in (
        *("Means at the end of training", "Control: what unequal training loss does"),
        "With SAM minus without: equal epochs",
        "With SAM minus without: equal gradient evaluations",
        "With SAM minus without: matched training loss, along training",
        "With SAM minus without: matched training loss, at the end of schedules",
        "With SAM minus without: control, equal epochs",
        "With SAM minus without: control, matched training loss, along training",
        "With SAM minus without: control, matched training loss, at the end of schedules",
    ):
        assert title in lines
    means = lines[lines.index("Means at the end of training") :]
    head = next(line for line in means if line.startswith("vgg3"))
    assert re.split(r" {2,}", head) == [
        "vgg3",
        *("SGD" + run for run in (SHORT, WITH, LONG, HALF)),
    ]
    assert [line.split()[0] for line in means[means.index(head) + 1 :][: len(COLUMNS)]] == list(COLUMNS)
    # Two seeds can show nothing, and nothing is said to be the same.
    assert "no difference" not in "\n".join(lines)
    assert sum("too few seeds to tell" in line for line in lines) == 2 * 18 + 2 * 16 + 9 + 2 * 8


def test_an_interrupt_writes_nothing(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert command.main(["--quick", "--out", str(tmp_path)]) == 130
    assert list(tmp_path.iterdir()) == []
    assert "nothing was written" in capsys.readouterr().err


def test_tables_are_printed_though_they_cannot_be_written(monkeypatch, quick, tmp_path, capsys):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(command, "write_all", full)
    monkeypatch.setattr(command, "run", lambda *_: (_records(quick[0]), {}))
    with pytest.raises(OSError, match="No space left"):
        command.main(["--quick", "--out", str(tmp_path)])
    assert "With SAM minus without: equal epochs" in capsys.readouterr().out


def _records(folder):
    return pd.read_csv(folder / "records.csv", keep_default_na=False, na_values=dict.fromkeys(MEASURES, ""))


def test_files_are_written_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_all(tmp_path, {"a": b"new", "b": "no bytes"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
    write_all(tmp_path, {"a": b"new", "b": b"whole"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new", "b": b"whole"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nothing.npz"], "there is no file nothing.npz"),
        (["--models", "vgg16"], "vgg16 needs images of at least 32 by 32 pixels"),
        (["--batch-size", "501"], "--batch-size must be at most the 500 training rows"),
        (["--rows", "501"], "--rows must be at most the 500 training rows"),
        (["--n-jobs", "0"], "n_jobs"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(arguments, message, tmp_path, capsys):
    try:
        status = command.main([*arguments, "--out", str(tmp_path / "out")])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    printed = capsys.readouterr()
    assert message.replace("_", "-") in printed.err.replace("_", "-")
    assert printed.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--seeds", "0"], ["--rho", "0"], ["--epochs", "x"], ["--models", "lenet"]]
)
def test_values_that_cannot_be_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err
