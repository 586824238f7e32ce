"""What an epoch of each optimizer costs: ``python benchmarks/optimizer_costs.py``.

In one thread, all optimizers in turns: seconds of an epoch of TabNet as a multiple of sgd's, and the peak
memory of full-batch fits. Writes ``benchmarks/optimizer_costs.json``.
"""

from __future__ import annotations

import argparse
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
from flatcausal import FlatMinimaTabNetRegressor, optim

N_ROWS, N_FEATURES = 4096, 20
FULL_BATCH = """
import resource, numpy as np
from flatcausal import FlatMinimaTabNetRegressor
X = np.random.default_rng(0).normal(size=({n}, 20)).astype(np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
FlatMinimaTabNetRegressor(optimizer="gd", max_epochs=2, random_state=0).fit(X, X[:, 0])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def fit_seconds(name: str, n_members: int, epochs: int) -> float:
    """Seconds of one fit in one thread."""
    X = np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    est = FlatMinimaTabNetRegressor(
        optimizer=name, n_members=n_members, max_epochs=epochs, batch_size=256, random_state=0
    )
    started = time.perf_counter()
    est.fit(X, X[:, 0])
    return time.perf_counter() - started


def epoch_seconds(name: str, n_members: int) -> float:
    """What two more epochs add to a fit, halved, so that fixed costs drop out."""
    return (fit_seconds(name, n_members, 3) - fit_seconds(name, n_members, 1)) / 2


def compare(n_members: int, repeats: int) -> dict[str, float]:
    """Medians over rounds of each optimizer's epoch as a multiple of sgd's in the same round."""
    ratios: dict[str, list[float]] = {name: [] for name in optim.names()}
    for _ in range(repeats):
        sgd = epoch_seconds("sgd", n_members)
        for name, kept in ratios.items():
            kept.append(epoch_seconds(name, n_members) / sgd)
    return {name: median(kept) for name, kept in ratios.items()}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="An epoch of each optimizer.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    fit_seconds("sgd", 1, 1)
    by_members = {n_members: compare(n_members, repeats) for n_members in (1, 8)}
    print(f"{'':<14}{'1 member':>10}{'8 members':>11}")
    for name in optim.names():
        print(f"{name:<14}{by_members[1][name]:>10.2f}{by_members[8][name]:>11.2f}")
    peaks = {}
    for n in (100_000, 400_000):
        code = [sys.executable, "-c", FULL_BATCH.format(n=n)]
        peaks[n] = float(subprocess.run(code, check=True, capture_output=True, text=True).stdout)
        print(f"gd on {n:,} x {N_FEATURES}: {peaks[n]:.0f} MiB over the input")
    found = {
        "flatcausal": flatcausal.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "epoch / sgd's epoch": by_members,
        "MiB of a full-batch fit over its input": peaks,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
