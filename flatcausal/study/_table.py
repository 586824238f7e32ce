"""A user's own table as the data of a study: a CSV or Parquet file, and perhaps its graph."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from flatcausal.exceptions import DataError, DesignError
from flatcausal.study._blocks import Block, Sample, Stream
from flatcausal.study._section import Section, check_text, checked, closest, integer, optional, real

if TYPE_CHECKING:
    from flatcausal.datasets import FeatureRoles

_MIN_TEST_ROWS = 10


@dataclass(frozen=True)
class TableData(Section):
    """The user's own table; its blocks are random splits into training and test rows.

    ``sha256`` and ``graph_sha256`` are found out where they are not given; a file whose
    content does not match is refused.
    """

    SECTION: ClassVar[str] = "data"
    kind: ClassVar[str] = "table"

    file: str = checked("", check_text)
    target: str = checked("", check_text)
    graph: str | None = checked(None, optional(check_text))
    n_splits: int = integer(10, low=1)
    test_fraction: float = real(0.25, low=0.0, high=1.0, open_low=True, open_high=True)
    sha256: str | None = checked(None, optional(check_text))
    graph_sha256: str | None = checked(None, optional(check_text))

    def __post_init__(self) -> None:
        for key in ("file", "target"):
            if not getattr(self, key):
                raise DesignError(f"data.{key} is missing; a table needs data.file and data.target.")
        super().__post_init__()
        object.__setattr__(self, "sha256", self.sha256 or _digest(self.file))
        if self.graph is not None:
            object.__setattr__(self, "graph_sha256", self.graph_sha256 or _digest(self.graph))

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows of a split: the content of the files, not their place."""
        keys = ("target", "test_fraction", "sha256", "graph_sha256")
        return {key: getattr(self, key) for key in keys}

    def blocks(self, seed: int) -> list[Block]:
        """One block a split; the whole table is checked."""
        X, _, _ = self._read()
        n_train = len(X) - self._n_test(len(X))
        return [Block(f"split-{k:02d}", self, seed, (k,), n_train, X.shape[1]) for k in range(self.n_splits)]

    def load(self, block: Block) -> Sample:
        """Read the file and cut it into training and test rows."""
        X, y, roles = self._read()
        order = np.random.default_rng(block.stream(Stream.TRAIN)).permutation(len(X))
        test, train = np.split(order, [self._n_test(len(X))])
        return Sample(X.iloc[train], y[train], X.iloc[test], y[test], roles=roles)

    def _n_test(self, n_rows: int) -> int:
        n_test = round(self.test_fraction * n_rows)
        if not _MIN_TEST_ROWS <= n_test <= n_rows - 2:
            raise DataError(
                f"{self.file} has {n_rows} rows, and data.test_fraction = {self.test_fraction} leaves "
                f"{n_test} for testing and {n_rows - n_test} for training; leave at least {_MIN_TEST_ROWS} "
                "and 2, with more rows or another fraction."
            )
        return n_test

    def _read(self) -> tuple[pd.DataFrame, np.ndarray, FeatureRoles | None]:
        _check_digest(self.file, self.sha256)
        frame = _numeric(read_table(self.file), self.file, self.target)
        X, y = frame.drop(columns=self.target), frame[self.target].to_numpy()
        if np.ptp(y) == 0:
            raise DataError(
                f"target column {self.target!r} of {self.file} is constant; choose one that varies."
            )
        self._n_test(len(frame))
        return X, y, self._roles(list(X.columns))

    def _roles(self, features: list[str]) -> FeatureRoles | None:
        if self.graph is None:
            return None
        from flatcausal.datasets import FeatureRoles, read_edges

        _check_digest(self.graph, self.graph_sha256)
        return FeatureRoles.from_graph(read_edges(self.graph), self.target, features)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV or Parquet file whose columns all have a name of their own."""
    readers = {".csv": _read_csv, ".parquet": pd.read_parquet}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        raise DataError(f"{path} ends in {suffix or 'nothing'!r}; give a .csv or a .parquet file.")
    try:
        frame = readers[suffix](path)
    except DataError:
        raise
    except ImportError as error:
        raise DataError(
            f"{path}: reading Parquet needs pyarrow; pip install 'flatcausal[parquet]'."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not written in UTF-8; save it as UTF-8.") from error
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path} cannot be read as a {suffix} file ({reason}); mend the file.") from error
    if frame.shape[1] < 2:
        only = str(frame.columns[0]) if frame.shape[1] else ""
        cure = "; save it with commas between the columns" if ";" in only or "\t" in only else ""
        raise DataError(
            f"{path} has {frame.shape[1]} column(s); it needs a target and at least one feature{cure}."
        )
    if frame.empty:
        raise DataError(f"{path} has a header and no rows; fill it.")
    return frame.set_axis([str(column) for column in frame.columns], axis=1)


def _read_csv(path: str | Path) -> pd.DataFrame:
    # pandas renames doubled columns and names the nameless ones: look before it does.
    with open(path, newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    for position, name in enumerate(header, start=1):
        if not name.strip():
            raise DataError(
                f"column {position} of {path} has no name; name it, or save the file without an index."
            )
    doubled = [name for name, count in Counter(header).items() if count > 1]
    if doubled:
        raise DataError(f"{path} has more than one column {doubled[0]!r}; rename all but one.")
    return pd.read_csv(path)


def _numeric(frame: pd.DataFrame, path: str, target: str) -> pd.DataFrame:
    if target not in frame.columns:
        raise DataError(f"{path} has no column {target!r}; {closest(target, frame.columns)}")
    for column in frame.columns:
        what = f"{'target column' if column == target else 'column'} {column!r} of {path}"
        _check_column(what, pd.Series(frame[column]))
    return frame.astype(float)


def _check_column(what: str, column: pd.Series) -> None:
    if not pd.api.types.is_numeric_dtype(column) or column.dtype.kind == "c":
        raise DataError(
            f"{what} is not numeric (it holds {_example(column)}); encode it as numbers or drop it."
        )
    bad = ~np.isfinite(column.to_numpy(dtype=float, na_value=np.nan))
    if bad.any():
        raise DataError(
            f"{what} has {bad.sum()} missing or infinite value(s), the first in data row "
            f"{int(bad.argmax()) + 1}; fill them in or drop those rows."
        )


def _example(column: pd.Series) -> str:
    # The value that made pandas give up on numbers says more than the first one.
    strange = pd.isna(pd.to_numeric(column, errors="coerce")) & column.notna()
    return repr(next(iter(column[strange]), None) if strange.any() else column.iloc[0])


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; check the path.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a file that can.") from error


def _check_digest(path: str, expected: str | None) -> None:
    found = _digest(path)
    if found != expected:
        raise DataError(
            f"{path} is not the file that the design names (its SHA-256 is {found}); restore that file."
        )
