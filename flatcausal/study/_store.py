"""A study's store: one transaction for each finished cell, in SQLite or any SQLAlchemy database."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy import exc

from flatcausal import __version__
from flatcausal.exceptions import StoreError
from flatcausal.study._database import (
    file_of,
    make_engine,
    make_folder,
    parse_address,
    readable,
    reading,
    refuse_foreign_file,
    writing,
)

_ORDER = ["block", "optimizer", "member"]
_TITLES = ("name", "control", "command")  # keys of a design that decide no result

_metadata = sa.MetaData()
_study = sa.Table(
    "study",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # always 1: one study a store
    sa.Column("design_id", sa.String(128), nullable=False),
    sa.Column("design", sa.Text, nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("created", sa.String(64), nullable=False),
)
_cells = sa.Table(
    "cells",
    _metadata,
    sa.Column("cell_id", sa.String(128), primary_key=True),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("finished", sa.String(64), nullable=False),
)
_runs = sa.Table(
    "runs",
    _metadata,
    sa.Column("cell_id", sa.ForeignKey("cells.cell_id"), primary_key=True),
    sa.Column("member", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("block", sa.Text, nullable=False),
    sa.Column("optimizer", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)


class Store:
    """The finished cells of one study; made by :func:`open_store`.

    No connection stays open between calls, so that after each of them the
    database is complete on disk. Use it as a context manager, or close it.
    """

    def __init__(self, engine: sa.Engine, name: str):
        self._engine = engine
        self._name = name

    def __repr__(self) -> str:
        return f"Store({self._name!r})"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def finished(self) -> set[str]:
        """Return the ids of the finished cells."""
        with reading(self._engine, self._name) as connection:
            return set(connection.execute(sa.select(_cells.c.cell_id)).scalars())

    def add(self, cell_id: str, seconds: float, records: Sequence[Mapping[str, Any]]) -> None:
        """Store a finished cell in one transaction; a cell that is there already stays as it is.

        Parameters
        ----------
        cell_id : str
            Id of the cell.
        seconds : float
            Time that the cell took.
        records : sequence of dict
            One record for each run, with ``block``, ``optimizer``, ``member``
            and any further plain values; NaN and infinity are stored as null.

        Raises
        ------
        StoreError
            If the database refuses, for instance because the disk is full;
            nothing of the cell is then stored.
        """
        rows = [
            {
                "cell_id": cell_id,
                "member": int(record["member"]),
                "block": str(record["block"]),
                "optimizer": str(record["optimizer"]),
                "record": _dumps(record),
            }
            for record in records
        ]
        cell = {"cell_id": cell_id, "seconds": float(seconds), "finished": _now()}
        try:
            with writing(self._engine, self._name) as connection:
                connection.execute(sa.insert(_cells), cell)
                if rows:
                    connection.execute(sa.insert(_runs), rows)
        except StoreError as error:
            known = isinstance(error.__cause__, exc.IntegrityError) and cell_id in self.finished()
            if not known:
                raise

    def records(self) -> pd.DataFrame:
        """Return one row for each run, ordered by block, optimizer and member; null reads as NaN."""
        with reading(self._engine, self._name) as connection:
            texts = connection.execute(sa.select(_runs.c.record)).scalars().all()
        rows = [
            {key: math.nan if value is None else value for key, value in json.loads(text).items()}
            for text in texts
        ]
        rows.sort(key=lambda row: [row[key] for key in _ORDER])
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=pd.Index(_ORDER))

    def design(self) -> dict[str, Any]:
        """Return the design that the store was made for, and the ``version`` that made it."""
        with reading(self._engine, self._name) as connection:
            row = connection.execute(sa.select(_study.c.design, _study.c.version)).first()
        if row is None:
            raise _no_study(self._name)
        return {**json.loads(row.design), "version": row.version}


def open_store(url_or_path: str | os.PathLike[str], design: Mapping[str, Any], design_id: str) -> Store:
    """Open a study's store, and make it if it is not there.

    Parameters
    ----------
    url_or_path : str or path
        A file (SQLite in WAL mode, every commit flushed to disk; its folder is
        made), or the address of any database that SQLAlchemy knows, such as
        ``postgresql+psycopg://user@host/study``.
    design : dict
        The design, in plain values; kept beside the results. Keys that decide no result, such as
        ``name`` and ``control``, are brought up to date when the design is opened again.
    design_id : str
        The design's content hash; a store belongs to one design.

    Returns
    -------
    Store
        The open store.

    Raises
    ------
    StoreError
        If the store was made by another design, is no database, or cannot be
        written.

    Examples
    --------
    >>> from flatcausal.study import open_store
    >>> with open_store(":memory:", {"name": "tiny"}, "d1") as store:
    ...     store.add("c1", 0.5, [{"block": "dag-000", "optimizer": "sgd", "member": 0, "iid_risk": 0.2}])
    ...     store.records()
         block optimizer  member  iid_risk
    0  dag-000       sgd       0       0.2
    """
    url, name = parse_address(url_or_path)
    path = file_of(url)
    if path is not None:
        refuse_foreign_file(path, name)
        make_folder(path, name)
        if path.exists():
            _refuse_foreign_tables(url, name)
    engine = make_engine(url, name, write=True)
    try:
        _claim(engine, design, design_id, name)
    except StoreError:
        engine.dispose()
        raise
    return Store(engine, name)


def load_records(store_url: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a study's records: one row for each run.

    Parameters
    ----------
    store_url : str or path
        The store, as given to :func:`open_store`.

    Returns
    -------
    pandas.DataFrame
        Ordered by block, optimizer and member; null reads as NaN.

    Raises
    ------
    StoreError
        If there is no such store.
    """
    with _existing(store_url) as store:
        return store.records()


def load_design(store_url: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the design that a store was made for.

    Parameters
    ----------
    store_url : str or path
        The store, as given to :func:`open_store`.

    Returns
    -------
    dict
        The design, in plain values; with ``version``, that of the flatcausal which began the study,
        and ``command``, if the study was begun by one.

    Raises
    ------
    StoreError
        If there is no such store.
    """
    with _existing(store_url) as store:
        return store.design()


@contextmanager
def _existing(url_or_path: str | os.PathLike[str]) -> Iterator[Store]:
    url, name = parse_address(url_or_path)
    path = file_of(url)
    if path is not None:
        if not path.exists():
            raise StoreError(f"There is no store at {name}; run `flatcausal study --store {name}` first.")
        refuse_foreign_file(path, name)
    engine = make_engine(url if path is None else readable(url, path), name, write=False)
    try:
        with reading(engine, name) as connection:
            known = sa.inspect(connection).has_table(_study.name)
        if not known:
            raise _no_study(name)
        yield Store(engine, name)
    finally:
        engine.dispose()


def _refuse_foreign_tables(url: sa.URL, name: str) -> None:
    # A database server may hold other tables; a file that does is another program's.
    engine = make_engine(url, name, write=False)
    with reading(engine, name) as connection:
        tables = sa.inspect(connection).get_table_names()
    if tables and _study.name not in tables:
        raise StoreError(f"The file {name} is another program's database; choose another path for the store.")


def _claim(engine: sa.Engine, design: Mapping[str, Any], design_id: str, name: str) -> None:
    """Make the tables and write the design, or check that the store is this design's."""
    with writing(engine, name) as connection:
        _metadata.create_all(connection)
        stored = connection.execute(sa.select(_study.c.design_id, _study.c.design)).first()
        if stored is None:
            row = {"id": 1, "design_id": design_id, "design": _dumps(design)}
            connection.execute(sa.insert(_study), {**row, "version": __version__, "created": _now()})
        elif stored.design_id == design_id:
            _bring_up_to_date(connection, json.loads(stored.design), json.loads(_dumps(design)))
    if stored is not None and stored.design_id != design_id:
        raise StoreError(
            f"The store {name} was made by another design{_difference(json.loads(stored.design), design)}; "
            "choose another store, or delete this one."
        )


def _bring_up_to_date(connection: sa.Connection, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Take over what decides no result: titles, places of files; a command only with any of them."""
    same = all(stored.get(key) == given.get(key) for key in {**stored, **given} if key != "command")
    command = stored.get("command") if same else None
    current = {**given, "command": command or given.get("command") or stored.get("command")}
    if current["command"] is None:
        del current["command"]
    if current != stored:
        connection.execute(sa.update(_study).values(design=_dumps(current)))


def _difference(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    plain = json.loads(_dumps(given))
    keys = [key for key in {**stored, **plain} if stored.get(key) != plain.get(key) and key not in _TITLES]
    return f" (they differ in {', '.join(keys)})" if keys else ""


def _no_study(name: str) -> StoreError:
    return StoreError(f"The store {name} holds no study; name a store that `flatcausal study` made.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _dumps(value: Any) -> str:
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    """Return the value in JSON's own types; numbers that JSON cannot hold become null."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
