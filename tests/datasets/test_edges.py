from __future__ import annotations

import pytest

from flatcausal.datasets import read_edges
from flatcausal.exceptions import DataError, GraphError


def _write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "edges.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "from,to\na,b\nb,y\n",
        "From, To\n a , b\nb,y",
        '\ufefffrom,to\r\n"a","b"\r\n\r\nb,y\r\n',
        "from,to\na,b\nb,y\na,b\n",
    ],
)
def test_reads_edges(tmp_path, text):
    graph = read_edges(_write(tmp_path, text))
    assert set(graph.edges) == {("a", "b"), ("b", "y")}
    assert graph.is_directed()


def test_quoted_commas_and_umlauts(tmp_path):
    graph = read_edges(str(_write(tmp_path, 'from,to\n"größe, cm",y\n')))
    assert list(graph.edges) == [("größe, cm", "y")]


BAD = [
    ("", DataError, "must start with the header 'from,to', got ''"),
    ("a,b\n", DataError, "must start with the header 'from,to', got 'a,b'"),
    ("from,to,weight\na,b,1\n", DataError, "got 'from,to,weight'"),
    ("from,to\n", DataError, "holds no edge"),
    ("from,to\na,b\nc\n", DataError, "line 3 of the edge file"),
    ("from,to\na,\n", DataError, "line 2 of the edge file"),
    ("from,to\na,b,c\n", DataError, "must name two nodes, got 'a,b,c'"),
    ("from,to\na,a\n", GraphError, "self-loop on 'a'"),
    ("from,to\na,b\nb,c\nc,a\nz,a\n", GraphError, "a -> b -> c -> a"),
    ('from,to\na,"b\n', DataError, "is not a UTF-8 CSV file"),
]


@pytest.mark.parametrize(("text", "error", "fragment"), BAD)
def test_bad_files(tmp_path, text, error, fragment):
    with pytest.raises(error) as caught:
        read_edges(_write(tmp_path, text))
    assert fragment in str(caught.value)


def test_unreadable_files(tmp_path):
    missing = tmp_path / "none.csv"
    with pytest.raises(DataError) as caught:
        read_edges(missing)
    assert str(missing) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_edges(tmp_path)
    with pytest.raises(DataError, match="not a UTF-8 CSV file"):
        read_edges(_write(tmp_path, "from,to\nä,b\n", encoding="latin-1"))
