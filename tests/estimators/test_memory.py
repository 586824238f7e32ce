"""Predicting many rows takes little more memory than the rows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from flatcausal import FlatMinimaTabNetRegressor

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 50)).astype(np.float32)
est = FlatMinimaTabNetRegressor(n_members=2, max_epochs=1, random_state=0, device="cpu").fit(X, X[:, 0])
rows = np.tile(X, (-(-200_000 // 300), 1))[:200_000]
est.predict(rows[:5000]), est.explain(rows[:5000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = getattr(est, sys.argv[1])(rows)
assert len(out) == 200_000
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / rows.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize(("method", "most"), [("predict", 2.0), ("explain", 3.2)])
def test_many_rows_stream(method, most):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, method]
    run = subprocess.run(
        command, cwd=root, env=os.environ, capture_output=True, text=True, timeout=280, check=True
    )
    # The rows themselves are in memory before: with them it is one more; masks are as large again.
    assert float(run.stdout) + 1 < most
