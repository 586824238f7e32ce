"""Whole fits of TabNet, side by side with pytorch-tabnet: ``python benchmarks/tabnet_speed.py``.

Same network sizes, batches, epochs and optimizer (Adam), in one process, in turns; each side at the number of
threads that suits it best on this machine. Prints ratios of medians, writes ``benchmarks/tabnet_speed.json``;
rows of settings that were not run stay there as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pytorch_tabnet.tab_model import TabNetRegressor

import flatcausal
from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.optim import Adam

# features, rows, batch, virtual batch, epochs
SETTINGS = [
    (10, 5000, 1024, 128, 10),
    (100, 5000, 1024, 128, 5),
    (60, 5000, 256, 128, 5),
    (60, 500, 32, 8, 10),
]
MEMBERS = (1, 16, 64)


def data(n_features: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal features and a target that depends on two of them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    return X, X[:, 0] * X[:, 1] + 0.1 * rng.normal(size=n_rows).astype(np.float32)


def fit_reference(X, y, batch: int, virtual_batch: int, epochs: int, n_threads: int) -> float:
    """Seconds of one pytorch-tabnet fit."""
    torch.set_num_threads(n_threads)
    model = TabNetRegressor(verbose=0, seed=0, device_name="cpu")
    started = time.perf_counter()
    model.fit(
        X,
        y[:, None],
        max_epochs=epochs,
        batch_size=batch,
        virtual_batch_size=virtual_batch,
        drop_last=False,
        compute_importance=True,
    )
    return time.perf_counter() - started


def fit_ours(X, y, batch: int, virtual_batch: int, epochs: int, n_threads: int, n_members: int) -> float:
    """Seconds per member of one fit of a population."""
    est = FlatMinimaTabNetRegressor(
        optimizer=Adam(),
        max_epochs=epochs,
        batch_size=batch,
        virtual_batch_size=virtual_batch,
        n_members=n_members,
        n_threads=n_threads,
        lr_schedule=None,
        random_state=0,
    )
    started = time.perf_counter()
    est.fit(X, y)
    return (time.perf_counter() - started) / n_members


def best_threads(run) -> int:
    """Number of threads, 1 or all cores, with which ``run`` is fastest; also warms up."""
    return min({1, os.cpu_count() or 1}, key=lambda n_threads: min(run(n_threads) for _ in range(3)))


def compare(
    n_features: int, n_rows: int, batch: int, virtual_batch: int, epochs: int, repeats: int
) -> list[dict]:
    """Rows of the table for one setting."""
    X, y = data(n_features, n_rows)
    size = (batch, virtual_batch, epochs)
    reference_threads = best_threads(lambda t: fit_reference(X, y, *size, t))
    rows = []
    for n_members in MEMBERS:
        threads = best_threads(lambda t, k=n_members: fit_ours(X, y, *size, t, k))
        pairs = [
            (fit_reference(X, y, *size, reference_threads), fit_ours(X, y, *size, threads, n_members))
            for _ in range(repeats)
        ]
        reference, ours = (median(side) for side in zip(*pairs, strict=True))
        rows.append(
            {
                "n_features": n_features,
                "n_rows": n_rows,
                "batch": f"{batch} / {virtual_batch}",
                "n_members": n_members,
                "reference_s": round(reference, 3),
                "reference_threads": reference_threads,
                "per_member_s": round(ours, 4),
                "threads": threads,
                "ratio": round(reference / ours, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run all settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--settings", type=int, nargs="*", default=range(len(SETTINGS)))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [row for i in options.settings for row in compare(*SETTINGS[i], options.repeats)]
    path = Path(__file__).with_suffix(".json")
    measured = {(row["n_features"], row["batch"]) for row in rows}
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = [row for row in earlier if (row["n_features"], row["batch"]) not in measured]
    found = {
        "flatcausal": flatcausal.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "rows": kept + rows,
    }
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
