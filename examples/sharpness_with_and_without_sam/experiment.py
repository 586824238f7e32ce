"""Which pairs to run, and running them side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from flatcausal.flatness import LossSurface
from sharpness_with_and_without_sam import models
from sharpness_with_and_without_sam.images import Images
from sharpness_with_and_without_sam.pairs import BASES, Found, Pair, run_pair


@dataclass(frozen=True)
class Settings:
    """What the command line says; the control has epochs and a radius of its own."""

    data: str = "digits"
    models: tuple[str, ...] = ("resnet8", "vgg6")
    train_rows: int | None = None
    seeds: int = 10
    epochs: int = 12
    batch_size: int = 50
    rho: float = 0.05
    rows: int = 100
    resolution: int = 15
    control_epochs: int = 25
    control_rho: float = 0.1
    control_noise: float = 0.1
    n_jobs: int = 2

    def quick(self) -> Settings:
        """To see in seconds that all of it works; two seeds show nothing."""
        return replace(
            self,
            models=("vgg3",),
            train_rows=100 if self.data in ("digits", "mnist5k") else None,
            seeds=2,
            epochs=5,
            rows=20,
            resolution=5,
            control_epochs=5,
            n_jobs=1,
        )

    def check(self, images: Images) -> None:
        """Refuse, before anything runs, what could not run to its end."""
        if not self.batch_size <= images.n_train:
            raise ValueError(
                f"--batch-size must be at most the {images.n_train} training rows of {images.name}, got "
                f"{self.batch_size}: pass a smaller one."
            )
        if not self.rows <= images.n_train:
            raise ValueError(
                f"--rows must be at most the {images.n_train} training rows of {images.name}, got "
                f"{self.rows}: pass fewer."
            )
        for name in self.models:
            models.build(name, images.shape, images.n_classes, seed=0)


def pairs(settings: Settings) -> list[Pair]:
    """Each network and optimizer with each seed; then the control, on the first network by SGD."""
    first, *_ = settings.models
    common = {"batch_size": settings.batch_size, "n_rows": settings.rows}
    found = [
        Pair(
            *("clean", name, base, seed, settings.epochs),
            rho=settings.rho,
            resolution=0 if seed else settings.resolution,
            **common,
        )
        for name in settings.models
        for base in BASES
        for seed in range(settings.seeds)
    ]
    control: dict[str, Any] = {
        "n_epochs": settings.control_epochs,
        "rho": settings.control_rho,
        "label_noise": settings.control_noise,
        "twice": False,
    }
    found += [Pair("noisy", first, "SGD", seed, **control, **common) for seed in range(settings.seeds)]
    return found


def run(settings: Settings, images: Images) -> tuple[pd.DataFrame, dict[tuple[str, str, str], LossSurface]]:
    """Records, and by network, optimizer and run the loss around those of the first seed."""
    plan = pairs(settings)
    parallel = Parallel(n_jobs=settings.n_jobs, return_as="generator_unordered")
    results = list(_counted(parallel(delayed(run_pair)(pair, images) for pair in plan), len(plan)))
    results.sort(key=lambda found: plan.index(found.pair))
    surfaces = {
        (found.pair.model, found.pair.base, label): surface
        for found in results
        for label, surface in found.surfaces.items()
    }
    return pd.DataFrame([record for found in results for record in found.records]), surfaces


def _counted(results: Any, total: int) -> Iterator[Found]:
    """Tell a terminal, and nobody else, how many are done."""
    shown = sys.stderr.isatty()
    for done, found in enumerate(results, start=1):
        if shown:
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} pairs of runs", end=end, file=sys.stderr, flush=True)
        yield found
