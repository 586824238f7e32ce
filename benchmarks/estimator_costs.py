"""What fits and predictions cost as they grow: ``python benchmarks/estimator_costs.py``.

Peak memory of predicting a million rows as a multiple of the input, a step of SAM in steps of SGD, time
against rows and against features, and the time of ``import flatcausal``. Writes
``benchmarks/estimator_costs.json``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

import flatcausal
from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.optim import SAM, SGD

PREDICT = """
import json, resource, numpy as np
from flatcausal import FlatMinimaTabNetRegressor
X = np.random.default_rng(0).normal(size=(1000, {p})).astype(np.float32)
est = FlatMinimaTabNetRegressor(optimizer="sgd", max_epochs=1, n_members={k}, random_state=0).fit(X, X[:, 0])
est.predict(X)
rows = np.empty((1_000_000, {p}), dtype=np.float32)
rows[:] = X[0]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
est.predict(rows)
extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps((rows.nbytes + extra) / rows.nbytes))
"""
IMPORT = "import time; t = time.perf_counter(); import flatcausal; print(time.perf_counter() - t)"


def table(n_rows: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal features; the target is the first."""
    X = np.random.default_rng(0).normal(size=(n_rows, n_features)).astype(np.float32)
    return X, X[:, 0]


def fit_seconds(X, y, optimizer, epochs: int) -> float:
    """Seconds of one fit in one thread."""
    est = FlatMinimaTabNetRegressor(optimizer=optimizer, max_epochs=epochs, random_state=0)
    started = time.perf_counter()
    est.fit(X, y)
    return time.perf_counter() - started


def epoch_seconds(X, y, optimizer="sgd", repeats: int = 5) -> float:
    """Seconds of one epoch: what two more epochs add to a fit, halved, so that fixed costs drop out."""
    fit_seconds(X, y, optimizer, 1)
    pairs = [(fit_seconds(X, y, optimizer, 3), fit_seconds(X, y, optimizer, 1)) for _ in range(repeats)]
    return median((longer - shorter) / 2 for longer, shorter in pairs)


def output_of(code: str) -> float:
    """Run code in a new interpreter and read the number it prints."""
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print and keep."""
    found = {
        "flatcausal": flatcausal.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
    }
    for p, k in ((10, 1), (50, 1), (50, 8)):
        found[f"predict 1,000,000 x {p} float32, {k} members: peak / input"] = output_of(
            PREDICT.format(p=p, k=k)
        )
    for n_rows, n_features in ((5000, 10), (5000, 60), (5000, 100)):
        X, y = table(n_rows, n_features)
        ratios = [epoch_seconds(X, y, SAM(base=SGD()), 3) / epoch_seconds(X, y, SGD(), 3) for _ in range(3)]
        found[f"SAM / SGD per step, {n_features} features"] = median(ratios)
    base = epoch_seconds(*table(4000, 20))
    for n_rows in (8000, 16000, 32000, 64000):
        found[f"epoch of {n_rows} rows / epoch of 4000"] = epoch_seconds(*table(n_rows, 20), repeats=3) / base
    base = epoch_seconds(*table(2000, 125))
    for n_features in (250, 500, 1000, 2000):
        ratio = epoch_seconds(*table(2000, n_features), repeats=3) / base
        found[f"epoch of {n_features} features / epoch of 125"] = ratio
    found["import flatcausal, s"] = median(output_of(IMPORT) for _ in range(5))
    for name, value in found.items():
        print(f"{name}: {value if isinstance(value, (str, int)) else round(value, 3)}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
