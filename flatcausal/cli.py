"""The command ``flatcausal``: run a study, write its report."""

from __future__ import annotations

import shlex
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flatcausal import __version__
from flatcausal.exceptions import FlatCausalError, ParameterError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from flatcausal.study import StudyDesign

# click's UsageError, whether typer brings its own copy of click or not.
_UsageError: Any = typer.BadParameter.__bases__[0]


class _Sentences(TyperGroup):
    """Ends every error as one sentence: 2 for what the user can mend, 1 for what only we can."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except _UsageError as error:
            _end_usage(error)
            code = 2
        except FlatCausalError as error:
            _say(str(error))
            code = 2
        except Exception as error:
            _say(
                f"an error that should not occur, {type(error).__name__}: {str(error).rstrip('.')}; "
                "please report it with the command that you ran."
            )
            code = 1
        sys.exit(code or 0)


def _end_usage(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    path = error.ctx.command_path if error.ctx else "flatcausal"
    _say(f"{error.format_message().rstrip('.')}; see `{path} --help`.")


def _say(message: str) -> None:
    typer.echo(f"flatcausal: {' '.join(message.split())}", err=True)


app = typer.Typer(
    name="flatcausal",
    cls=_Sentences,
    help="Do flat minima rely on causes? Run the comparison, and read its report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line."""
    app(prog_name="flatcausal")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flatcausal {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


_Store = Annotated[str, typer.Option(metavar="FILE|URL", help="Where results are kept.")]


@app.command()
def study(
    store: _Store,
    design: Annotated[Path | None, typer.Argument(metavar="[DESIGN.toml]", help="A design file.")] = None,
    preset: Annotated[str | None, typer.Option(help="A design of the package: quick, dlcausal.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own .csv or .parquet.")] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="The column to predict.")] = None,
    graph: Annotated[Path | None, typer.Option(metavar="EDGES.csv", help="The graph of --data.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write this HTML page.")] = None,
    n_jobs: Annotated[int | None, typer.Option(metavar="N", help="Processes; all cores by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Train every optimizer on the same data at the same budget, and compare what they found.

    Interrupt it when you like: the same command with the same store resumes.
    """
    with _interrupted_in_a_sentence():
        if report is not None:
            _check_writable(report, store)
        chosen = _choose_design(design, preset, _table(data, target, graph))
        frame = _run(chosen, store, n_jobs, quiet)
        _conclude(frame, _described(chosen, store), report, quiet)


@app.command("report")
def report_command(
    store: _Store,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Write this HTML page.")],
) -> None:
    """Write the report of the cells that a store holds so far."""
    with _interrupted_in_a_sentence():
        _check_writable(report, store)
        from flatcausal.study import load_design, load_records

        frame, design = load_records(store), load_design(store)
        if frame.empty:
            command = design.get("command", f"flatcausal study DESIGN.toml --store {store}")
            raise StoreError(f"The store {store} holds no finished cell yet; run `{command}` first.")
        _conclude(frame, design, report, quiet=False)


def _table(data: Path | None, target: str | None, graph: Path | None) -> dict[str, Any] | None:
    if data is None:
        for name, value in (("--target", target), ("--graph", graph)):
            if value is not None:
                raise ParameterError(f"{name} {value} says something about --data; give --data FILE too.")
        return None
    if target is None:
        raise ParameterError(f"--data {data} needs --target COLUMN, the column to predict.")
    table = {"kind": "table", "file": str(data), "target": target}
    return table if graph is None else {**table, "graph": str(graph)}


def _choose_design(path: Path | None, preset: str | None, table: dict[str, Any] | None) -> StudyDesign:
    if path is not None and preset is not None:
        raise ParameterError(f"{path} and --preset {preset} are two designs; give one of them.")
    if path is None and preset is None and table is None:
        raise ParameterError("there is nothing to study; give a DESIGN.toml, --preset quick or --data FILE.")
    if path is not None and not path.is_file():
        raise ParameterError(f"there is no design file {path}; check the path.")
    from flatcausal.study import StudyDesign

    if path is not None:
        return StudyDesign.from_toml(path, data=table)
    return StudyDesign.preset(preset or "quick", data=table)


def _command() -> str:
    return shlex.join(["flatcausal", *sys.argv[1:]])


def _described(design: StudyDesign, store: str) -> dict[str, Any]:
    """Return the design as stored: with the version and the command that began the study."""
    from flatcausal.study import load_design

    try:
        return load_design(store)
    except StoreError:  # a store in memory is gone by now
        return {**design.to_dict(), "version": __version__, "command": _command()}


def _run(design: StudyDesign, store: str, n_jobs: int | None, quiet: bool) -> pd.DataFrame:
    import joblib

    from flatcausal.study import run_study

    n_jobs = joblib.cpu_count() if n_jobs is None else n_jobs
    with _progress(quiet) as progress:
        return run_study(design, store, n_jobs=n_jobs, progress=progress, command=_command())


def _conclude(frame: pd.DataFrame, design: dict[str, Any], path: Path | None, quiet: bool) -> None:
    from flatcausal.study import conclusion, report, summary_table

    if path is not None:
        report(frame, design, path)
    if quiet:
        return
    _print_table(summary_table(frame, design))
    answer = conclusion(frame, design)
    if answer:
        typer.echo(answer)
    if path is not None:
        typer.echo(f"The report is in {path}.")


def _print_table(frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in frame.columns:
        table.add_column(textwrap.fill(str(column).replace("_", " "), 10), no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*(str(value).replace(" ± ", "±") for value in row))
    Console().print(table)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bar = Progress(*columns, console=Console(stderr=True))

    def advance(done: int, total: int) -> None:
        # Begins where the store left off, so that the estimate is of this run, and not before
        # the first call, so that a mistake in the design prints its one sentence alone.
        if not bar.tasks:
            bar.start()
            bar.add_task("", total=total, completed=done)
        bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar.tasks:
            bar.stop()


def _check_writable(report: Path, store: str) -> None:
    """Find out before the study runs that its report could not be written."""
    if report.is_dir():
        raise StoreError(
            f"--report {report} is a folder; name a file in it, such as {report / 'report.html'}."
        )
    if report.absolute() == Path(store).absolute():
        raise StoreError(f"--report and --store both name {report}; give each its own file.")
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        if report.exists():
            report.open("ab").close()
        with tempfile.TemporaryFile(dir=report.parent):
            pass
    except OSError as error:
        raise StoreError(
            f"--report {report} cannot be written ({error.strerror}); choose another folder."
        ) from error


@contextmanager
def _interrupted_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted; what is finished is stored, and the same command resumes.")
        raise typer.Exit(130) from None
