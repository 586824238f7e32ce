"""What SAM does beside its two gradients, on a TabNet: ``python benchmarks/sam_overhead.py``.

In turns and in one thread: a step of SAM, and the same two backpropagations and step of the base without
SAM between them. Prints the share of SAM's own work in its step, writes ``benchmarks/sam_overhead.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

import flatcausal
from flatcausal.nn import TabNet, backpropagate
from flatcausal.optim import ASAM, GSAM, SAM, SGD, Adam, frozen_statistics

# members, features, rows, virtual batch
SETTINGS = [(1, 10, 1024, 128), (1, 60, 32, 8), (16, 60, 256, 128), (64, 60, 32, 8)]
Sharp = SAM | ASAM | GSAM
RECIPES: dict[str, Sharp] = {
    "sam": SAM(),
    "sam over adam": SAM(base=Adam()),
    "sam, perturb=norm": SAM(perturb="norm"),
    "asam": ASAM(),
    "gsam": GSAM(),
}


def gradients_of(network: TabNet, n_rows: int) -> Callable[[], Any]:
    """A closure on one batch, in which each member has rows of its own."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(network.n_members, network.n_features, n_rows, generator=generator).transpose(1, 2)
    y = (X[..., 0] * X[..., 1]).unsqueeze(2)

    def closure() -> torch.Tensor:
        network.population.grad = None
        return backpropagate(
            network,
            X,
            lambda output, sparsity, members: (output - y[members]).square().mean((1, 2)) - 1e-3 * sparsity,
        )

    return closure


def network_of(n_members: int, n_features: int, virtual_batch: int) -> TabNet:
    """A network that is the same at each call."""
    generators = [torch.Generator().manual_seed(k) for k in range(n_members)]
    return TabNet(n_features, n_members=n_members, virtual_batch_size=virtual_batch, generators=generators)


def sharp_step(recipe: Sharp, network: TabNet, n_rows: int) -> Callable[[], object]:
    """A step of the recipe."""
    optimizer = recipe.build(network, lr=1e-3, n_members=network.n_members)
    closure = gradients_of(network, n_rows)
    return lambda: optimizer.step(closure)


def bare_step(recipe: Sharp, network: TabNet, n_rows: int) -> Callable[[], object]:
    """Two gradients, the second of which leaves running statistics alone, and a step of the base."""
    optimizer = (recipe.base or SGD()).build(network, lr=1e-3, n_members=network.n_members)
    closure = gradients_of(network, n_rows)

    def step() -> None:
        closure()
        with frozen_statistics([network]):
            closure()
        optimizer.step()

    return step


def compare(name: str, setting: tuple[int, int, int, int], n_steps: int) -> dict[str, object]:
    """Medians of the two in turns, and of the difference between neighbours."""
    n_members, n_features, n_rows, virtual_batch = setting
    sharp, bare = (
        make(RECIPES[name], network_of(n_members, n_features, virtual_batch), n_rows)
        for make in (sharp_step, bare_step)
    )
    times: dict[str, list[float]] = {"sharp": [], "bare": []}
    for i in range(n_steps + 5):
        pair = [("sharp", sharp), ("bare", bare)]
        for side, step in pair if i % 2 else pair[::-1]:
            started = time.perf_counter()
            step()
            if i >= 5:
                times[side].append(time.perf_counter() - started)
    own = median(a - b for a, b in zip(times["sharp"], times["bare"], strict=True))
    whole = median(times["sharp"])
    return {
        "recipe": name,
        "n_members": n_members,
        "n_features": n_features,
        "batch": n_rows,
        "virtual_batch": virtual_batch,
        "step_ms": 1e3 * whole,
        "two_gradients_and_base_ms": 1e3 * median(times["bare"]),
        "own_work_ms": 1e3 * own,
        "own_share": own / whole,
    }


def main() -> None:
    """Measure every recipe and size, print and keep."""
    parser = argparse.ArgumentParser(description="SAM's own work on a TabNet.")
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for setting in SETTINGS:
        for name in RECIPES:
            rows.append(compare(name, setting, options.steps))
            row = rows[-1]
            print(
                f"{row['n_members']:>3} members, {row['n_features']:>3} features, {row['batch']:>5} rows, "
                f"{name:<18} step {row['step_ms']:7.2f} ms, own work {row['own_work_ms']:6.3f} ms "
                f"= {row['own_share']:6.1%}",
                flush=True,
            )
    found = {
        "flatcausal": flatcausal.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
