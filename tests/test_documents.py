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
        *("docs/data.md", "docs/estimators.md", "docs/optimizers.md"),
        pytest.param("README.md", marks=pytest.mark.slow),
    ],
)
def test_blocks_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
