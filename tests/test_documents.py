"""The Python blocks of the pages run, in order."""

import os
import re
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "agg")
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "page",
    [
        *("docs/data.md", "docs/estimators.md", "docs/flatness.md", "docs/optimizers.md"),
        pytest.param("README.md", marks=pytest.mark.slow),
    ],
)
def test_blocks_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", ["docs/data.md", "docs/flatness.md", "docs/architecture.md"])
def test_files_that_tables_name_exist(page):
    rows = [line for line in (ROOT / page).read_text().splitlines() if ".py`" in line]
    assert rows
    for row in rows:
        folder = Path()
        for name in re.findall(r"`([\w/]+\.py)`", row):  # a bare name lies beside the one before
            folder = Path(name).parent if "/" in name else folder
            path = folder / Path(name).name
            assert (ROOT / path).exists() or (ROOT / "flatcausal" / path).exists(), f"{page}: {name}"
