"""Read a user's graph from a CSV file of edges."""

from __future__ import annotations

import csv
from os import PathLike, fspath

import networkx as nx

from flatcausal.datasets._graphs import check_acyclic
from flatcausal.exceptions import DataError

_HEADER = ["from", "to"]


def read_edges(path: str | PathLike[str]) -> nx.DiGraph:
    r"""Read a directed acyclic graph from a CSV file with the header ``from,to``.

    Parameters
    ----------
    path : str or path-like
        A UTF-8 file with one edge a line, cause first. An edge may be listed twice.

    Returns
    -------
    networkx.DiGraph
        Its nodes are the names in the file.

    Raises
    ------
    DataError
        If the file cannot be read or a line is not an edge.
    GraphError
        If the edges hold a self-loop or a cycle, which is named.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from flatcausal.datasets import read_edges
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "edges.csv"
    ...     _ = path.write_text("from,to\nage,bmi\nbmi,progression\n")
    ...     sorted(read_edges(path).edges)
    [('age', 'bmi'), ('bmi', 'progression')]
    """
    name = fspath(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise DataError(f"the edge file {name} cannot be read: {error.strerror}; check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the edge file {name} is not a UTF-8 CSV file: {error}.") from error
    graph = nx.DiGraph(_edges(name, rows))
    check_acyclic(graph)
    return graph


def _edges(name: str, rows: list[list[str]]) -> list[tuple[str, str]]:
    cells = [[cell.strip() for cell in row] for row in rows]
    if not cells or [cell.lower() for cell in cells[0]] != _HEADER:
        found = ",".join(cells[0]) if cells else ""
        raise DataError(
            f"the edge file {name} must start with the header 'from,to', got {found!r}: "
            f"name its two columns so."
        )
    edges = []
    for line, row in enumerate(cells[1:], start=2):
        if not any(row):
            continue
        if len(row) != 2 or not all(row):
            raise DataError(
                f"line {line} of the edge file {name} must name two nodes, got {','.join(row)!r}."
            )
        edges.append((row[0], row[1]))
    if not edges:
        raise DataError(f"the edge file {name} holds no edge; write one 'cause,effect' a line.")
    return edges
