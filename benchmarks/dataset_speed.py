"""Synthetic data, side by side with sempler and gcastle: ``python benchmarks/dataset_speed.py``.

Each run draws an Erdős–Rényi graph, its functions, and the rows; all sides in one process, in turns, on one
thread. The fastest of the repeats counts, as other work on a machine only ever adds time; CPU seconds stand
beside the clock's, for a machine that is shared. Writes ``benchmarks/dataset_speed.json``; packages that are
not installed are left out, and named. Ours calibrates every node and refuses parents without effect; the
others do neither.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from flatcausal.datasets import SyntheticDAGDataset

DEGREE = 3.0
# rows, nodes; gcastle's networks take gigabytes at a million rows, and its Gaussian processes cost their cube
SIZES = [(5_000, 1_000), (1_000_000, 50), (1_000, 10)]
FAMILIES = ("linear", "mlp", "rff", "polynomial", "tree", "mixture", "post_nonlinear")


def ours(mechanisms: str | tuple[str, ...], n: int, n_nodes: int) -> None:
    """Construct a data set and draw its rows."""
    dataset = SyntheticDAGDataset(n_nodes, 0, expected_degree=DEGREE, mechanisms=mechanisms, random_state=0)
    dataset.sample(n, random_state=0)


def sempler_tanh(n: int, n_nodes: int) -> None:
    """An additive noise model of sempler, with the tanh of a linear form at each node."""
    import sempler
    import sempler.generators
    import sempler.noise

    weights = sempler.generators.dag_avg_deg(n_nodes, DEGREE, 0.5, 1.5, random_state=0)
    loaded = [column[column != 0] for column in weights.T]
    functions = [(lambda x, w=w: np.tanh(x @ w)) if w.size else None for w in loaded]
    model = sempler.ANM(weights, functions, [sempler.noise.normal(0, 1)] * n_nodes)
    model.sample(n, random_state=0)


def gcastle(method: str, kind: str, n: int, n_nodes: int) -> None:
    """Graph and rows of gcastle."""
    from castle.datasets import DAG, IIDSimulation

    weights = DAG.erdos_renyi(n_nodes, int(DEGREE * n_nodes / 2), weight_range=(0.5, 1.5), seed=0)
    IIDSimulation(weights, n=n, method=method, sem_type=kind)


def contenders(n: int, n_nodes: int) -> dict[str, Callable[[], None]]:
    """Everything that runs at one size."""
    runs = {f"flatcausal {family}": partial(ours, family, n, n_nodes) for family in FAMILIES}
    runs["flatcausal default"] = partial(ours, ("linear", "mlp"), n, n_nodes)
    if installed("sempler"):
        runs["sempler tanh"] = partial(sempler_tanh, n, n_nodes)
    if installed("gcastle"):
        runs["gcastle linear"] = partial(gcastle, "linear", "gauss", n, n_nodes)
        if n <= 100_000:
            runs["gcastle mlp"] = partial(gcastle, "nonlinear", "mlp", n, n_nodes)
        if n <= 1_000:
            runs["gcastle gp"] = partial(gcastle, "nonlinear", "gp", n, n_nodes)
    return runs


def installed(package: str) -> str | None:
    """Version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the clock and of the CPU."""
    started = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def measure(repeats: int) -> list[dict]:
    """Rows of the table, all sides in turns at each size."""
    rows = []
    for n, n_nodes in SIZES:
        runs = contenders(n, n_nodes)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(repeats):
            for name, run in runs.items():
                taken[name].append(seconds(run))
        for name, times in taken.items():
            clock, cpu = (round(min(side), 3) for side in zip(*times, strict=True))
            rows.append(
                {"n_rows": n, "n_nodes": n_nodes, "generator": name, "seconds": clock, "cpu_seconds": cpu}
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ours("linear", 1_000, 10)  # imports
    with threadpool_limits(1):
        rows = measure(options.repeats)
    found = {
        "versions": {name: installed(name) for name in ("numpy", "sempler", "gcastle")},
        "python": platform.python_version(),
        "repeats": options.repeats,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "rows": rows,
    }
    missing = [name for name, version in found["versions"].items() if version is None]
    if missing:
        print(f"not installed, so not compared: {', '.join(missing)}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
