"""A store's address: which database it names, how it is opened, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from flatcausal.exceptions import StoreError
from flatcausal.study._interrupts import held_interrupts

_SQLITE_HEADER = b"SQLite format 3\x00"
_BUSY_TIMEOUT_MS = 30_000


def parse_address(url_or_path: str | os.PathLike[str]) -> tuple[sa.URL, str]:
    """Return the database's URL, and its name for messages: the path, or the URL without password."""
    text = os.fspath(url_or_path)
    if not isinstance(text, str) or not text:
        raise StoreError(
            f"A store is a file or a database address, got {text!r}; name one, such as runs/study.db."
        )
    if "://" not in text:
        return sa.URL.create("sqlite", database=text), text
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        # The text may hold a password: do not repeat it.
        raise StoreError("The store's address cannot be read; write dialect://user@host/database.") from None
    return url, url.render_as_string(hide_password=True)


def file_of(url: sa.URL) -> Path | None:
    """Return the file behind a SQLite address, None for any other database."""
    database = url.database or ""
    if url.get_backend_name() != "sqlite" or database in ("", ":memory:") or database.startswith("file:"):
        return None
    return Path(database)


def readable(url: sa.URL, path: Path) -> sa.URL:
    """Return the address by which a SQLite file can be read, also where nothing may be written.

    SQLite keeps two files beside one in WAL mode, even to read it. Where it may not make them,
    the file is opened as one that does not change, unless such a file already holds newer rows.
    """
    newer = path.with_name(f"{path.name}-wal")
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if writable or (newer.exists() and newer.stat().st_size):
        return url
    options = {"mode": "ro", "immutable": "1", "uri": "true"}
    return sa.URL.create("sqlite", database=f"file:{quote(str(path.absolute()))}", query=options)


def make_folder(path: Path, name: str) -> None:
    """Make the folder of a store's file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder of the store {name} cannot be made: {error.strerror}; choose another path."
        ) from error


def refuse_foreign_file(path: Path, name: str) -> None:
    """Raise if the path cannot be a SQLite file; the file is not touched."""
    # Read by hand: SQLite opens lazily, and only then complains.
    if path.is_dir():
        raise StoreError(f"The store {name} is a folder; name a file in it, such as {path / 'study.db'}.")
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(
            f"The store {name} cannot be read: {error.strerror}; choose another path."
        ) from error
    if header not in (b"", _SQLITE_HEADER):
        raise StoreError(f"The file {name} is not a SQLite database; choose another path for the store.")


def make_engine(url: sa.URL, name: str, *, write: bool) -> sa.Engine:
    """Return an engine that leaves no SQLite file open between two uses."""
    pool = NullPool if file_of(url) is not None else None
    try:
        engine = sa.create_engine(url, poolclass=pool)
    except (exc.ArgumentError, ImportError) as error:
        raise StoreError(
            f"The store {name} needs a database driver that is not installed ({_first_line(error)}); "
            "install it or name a file."
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, write)
    return engine


def _prepare_sqlite(engine: sa.Engine, write: bool) -> None:
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `on_begin` says, for tables too
        connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        if write:
            connection.execute("PRAGMA journal_mode=WAL")

    def on_begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: one asked for after a read is refused without a wait.
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)


@contextmanager
def reading(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    """Connect to read; the database's errors become one sentence that names the store."""
    with _named(name), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    """Connect to write in one transaction; the database's errors become one sentence that names the store."""
    with _named(name), engine.connect() as connection:
        connection = connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            yield connection


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        with held_interrupts():
            yield
    except exc.SQLAlchemyError as error:
        raise StoreError(
            f"The store {name} cannot be used: {_first_line(getattr(error, 'orig', None) or error)}; "
            "mend that or choose another store."
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
