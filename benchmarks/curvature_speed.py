"""Curvature of a TabNet, beside hessian-eigenthings: ``python benchmarks/curvature_speed.py``.

One thread, float64. The top eigenvalue of one member and of eight on 2,048 rows, peak memory over 60
products, the 25x25 loss surface, and, where hessian-eigenthings is installed, its Lanczos iteration for as
many products on its own operator and on this package's. Prints, and writes
``benchmarks/curvature_speed.json``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import flatcausal
from flatcausal import FlatMinimaTabNetRegressor
from flatcausal.flatness import hessian_top_eigenvalues, loss_surface
from flatcausal.flatness._probes import fixed_generators, normal
from flatcausal.flatness._products import Products
from flatcausal.flatness._protocol import measuring

N_FEATURES, N_MEMBERS, N_PRODUCTS = 23, 8, 60


def rows(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal features, and a target with a product in it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    return X, X[:, 0] * X[:, 1] + X[:, 2] + 0.1 * rng.normal(size=n_rows).astype(np.float32)


def fitted(n_members: int, n_rows: int) -> FlatMinimaTabNetRegressor:
    """Members that trained for 20 epochs."""
    est = FlatMinimaTabNetRegressor(
        optimizer="adam", n_members=n_members, max_epochs=20, batch_size=256, random_state=0
    )
    return est.fit(*rows(n_rows))


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds of a call, and what the last one returned."""
    times, result = [], None
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    return median(times), result


def peak_mib() -> float:
    """Most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def eigenvalue(est: FlatMinimaTabNetRegressor, n_rows: int, repeats: int, **settings: Any) -> dict[str, Any]:
    """The measure as a user calls it."""
    X, y = rows(n_rows)
    seconds, result = timed(lambda: hessian_top_eigenvalues(est, X, y, **settings), repeats)
    return {
        "n_members": len(result.value),
        "n_parameters": result.n_parameters,
        "n_rows": n_rows,
        **settings,
        "seconds": seconds,
        "n_products": result.n_products,
        "seconds_per_product": seconds / result.n_products,
        "largest_relative_residual": float((result.residual / abs(result.value)).max()),
        "value": float(result.value[0, 0]),
        "converged": bool(result.converged.all()),
    }


def memory(est: FlatMinimaTabNetRegressor, n_rows: int) -> dict[str, float]:
    """Peak after the second product, and after 60."""
    with measuring(est, *rows(n_rows)) as problem:
        products, v = Products(problem), normal(problem, fixed_generators(problem))
        products(v), products(v)
        early = peak_mib()
        for _ in range(N_PRODUCTS - 2):
            products(v)
        return {"peak_mib_after_2": early, "peak_mib_after_60": peak_mib()}


def surface(est: FlatMinimaTabNetRegressor, n_rows: int, bn: str) -> dict[str, Any]:
    """The picture as a user asks for it, once, and the peak before and after."""
    X, y = rows(n_rows)
    loss_surface(est, X, y, 2, bn=bn, random_state=0)
    before = peak_mib()
    seconds, result = timed(lambda: loss_surface(est, X, y, bn=bn, random_state=0), 1)
    return {
        "n_members": len(result.losses),
        "n_parameters": result.n_parameters,
        "n_rows": n_rows,
        "resolution": result.losses.shape[1],
        "bn": bn,
        "dtype": result.dtype,
        "seconds": seconds,
        "n_losses": result.n_losses,
        "peak_mib_before": before,
        "peak_mib_after": peak_mib(),
    }


def beside(est: FlatMinimaTabNetRegressor, n_rows: int, n_products: int, repeats: int) -> dict[str, Any]:
    """hessian-eigenthings with as many products, on its own operator and on ours."""
    import hessian_eigenthings as he

    settings: dict[str, Any] = {
        "k": 1,
        "max_iter": n_products,
        "which": "LA",
        "reorthogonalize": True,
        "seed": 0,
    }
    X, y = rows(n_rows)
    with measuring(est, X, y) as problem:
        loss = est.data_loss(X, y)
        own = he.HessianOperator(problem.module, [None], lambda module, _: loss(module).sum())

        def theirs() -> Any:
            return he.lanczos(own, **settings)

        def on_ours() -> Any:
            products = Products(problem)
            operator = he.LambdaOperator(
                lambda v: products(v[None])[0], problem.n_parameters, dtype=torch.float64
            )
            return he.lanczos(operator, **settings)

        found = {}
        for name, run in (("own_operator", theirs), ("our_products", on_ours)):
            seconds, result = timed(run, repeats)
            found[name] = {
                "seconds": seconds,
                "n_products": result.iterations,
                "value": float(result.eigenvalues[0]),
                "converged": bool(result.converged.all()),
            }
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Curvature of a TabNet.")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "flatcausal": flatcausal.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }
    one = fitted(1, 2048)
    found["memory_of_one"] = memory(one, 2048)
    print(f"memory over {N_PRODUCTS} products: {found['memory_of_one']}", flush=True)
    found["eigenvalues"] = []
    many = fitted(N_MEMBERS, 2048)
    cases: list[tuple[int, dict[str, Any]]] = [(2048, {}), (256, {}), (2048, {"dtype": torch.float32})]
    for n_rows, settings in cases:
        pair = [eigenvalue(est, n_rows, options.repeats, **settings) for est in (one, many)]
        for row in pair:
            row["dtype"] = str(row.get("dtype", torch.float64)).removeprefix("torch.")
            print(
                f"{row['n_members']} members, {row['n_parameters']} numbers, {n_rows} rows, {row['dtype']}: "
                f"{row['seconds']:.2f} s, {row['n_products']} products, value {row['value']:.6g}",
                flush=True,
            )
        ratio = pair[1]["seconds_per_product"] / pair[0]["seconds_per_product"]
        print(f"  a product of {N_MEMBERS} members takes {ratio:.1f} times that of one", flush=True)
        found["eigenvalues"] += pair
    if importlib.util.find_spec("hessian_eigenthings"):
        found["hessian_eigenthings"] = beside(
            one, 2048, found["eigenvalues"][0]["n_products"], options.repeats
        )
        for name, row in found["hessian_eigenthings"].items():
            print(f"hessian-eigenthings, {name}: {row}", flush=True)
    found["surfaces"] = []
    for est, bn in ((one, "frozen"), (one, "recalibrated"), (many, "frozen")):
        row = surface(est, 2048, bn)
        found["surfaces"].append(row)
        print(f"surface: {row}", flush=True)
    found["memory_of_all"] = memory(many, 2048)
    print(f"memory over {N_PRODUCTS} products, {N_MEMBERS} members: {found['memory_of_all']}", flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
