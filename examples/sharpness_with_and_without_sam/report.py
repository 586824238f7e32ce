"""Tables for a reader."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sharpness_with_and_without_sam.comparisons import CLEAN, COLUMNS, CONTROL, Comparison
from sharpness_with_and_without_sam.experiment import Settings
from sharpness_with_and_without_sam.images import Images
from sharpness_with_and_without_sam.measures import MEASURES

_INTERVALS = """\
Means over seeds with the half width of Student's 95 % interval. Differences are with SAM minus without, on
the same seed: their Hodges-Lehmann estimate, Wilcoxon's exact 95 % interval, and p after Holm's correction
over all differences of a comparison's family: the flatness measures, or the circumstances (accuracy, loss,
length), of all its networks and optimizers; the intervals are not corrected. A seed is a split, initial
weights and an order of batches: all is said of other seeds on these images."""
_SECTIONS = {
    "end": "",
    "matched": """\
Read where both runs of a pair first have the lowest training loss that both reach. The one ahead is read
before its end, at a higher learning rate, and sharpness follows the learning rate.""",
    "annealed": """\
The run with SAM against those without, read on the lines between the ends of 0.5x, 1x and 2x the epochs (the
control has no 2x): the learning rate has fallen to 0 for all.""",
}


def report(table: pd.DataFrame, changes: pd.DataFrame, settings: Settings, images: Images) -> str:
    """All means and differences, with what they must be read with."""
    parts = [_head(settings, images), _measures(), _INTERVALS]
    parts += [_title("Means at the end of training"), *_means(table, "clean", "end")]
    parts += [_section(table, changes, comparison) for comparison in CLEAN]
    parts += [
        _title("Control: what unequal training loss does"),
        f"{settings.control_noise:.0%} of the training labels are wrong; {settings.control_epochs} epochs, "
        f"rho {settings.control_rho:g}, {settings.models[0]} by SGD. Training loss is that of these labels.",
        *_means(table, "noisy", "end"),
        *(_section(table, changes, comparison) for comparison in CONTROL),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(settings: Settings, images: Images) -> str:
    n_test = len(images.y) - images.n_train
    return (
        f"Sharpness with and without SAM on {images.name}: {images.n_train} training images and {n_test} for "
        f"testing,\n{settings.seeds} seeds, {settings.epochs} epochs in batches of {settings.batch_size}, "
        f"rho {settings.rho:g};\nflatness on {settings.rows} of the training images, BatchNorm recalibrated, "
        f"float32."
    )


def _measures() -> str:
    width = max(map(len, MEASURES))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in MEASURES.items())


def _section(table: pd.DataFrame, changes: pd.DataFrame, comparison: Comparison) -> str:
    parts = [_title(f"With SAM minus without: {comparison.title}"), _SECTIONS[comparison.where]]
    if comparison.where != "end":
        parts += _means(table, comparison.experiment, comparison.where)
    found = changes[changes["comparison"] == comparison.title]
    rows = [
        (
            *(str(row[name]) for name in ("model", "base", "measure")),
            *(_number(row[name]) for name in ("mean_without", "mean_with_sam", "difference")),
            f"{_number(row['ci_low'])} to {_number(row['ci_high'])}",
            f"{row['p_holm']:.3f}",
            row["shown"],
        )
        for row in found.to_dict("records")
    ]
    head = (
        "network",
        "base",
        "measure",
        "without",
        "with SAM",
        "difference",
        "95 % interval",
        "p Holm",
        "shown",
    )
    parts += [_table(head, rows, n_left=3), _left_out(found)]
    return "\n\n".join(part for part in parts if part)


def _left_out(found: pd.DataFrame) -> str:
    """Which pairs are not of all seeds."""
    short = found[found["note"].str.contains("dropped", na=False)].drop_duplicates(["model", "base"])
    return "\n".join(
        f"{row['model']}, {row['base']}: {row['n_seeds']} seeds; others diverged or have no common loss."
        for row in short.to_dict("records")
    )


def _means(table: pd.DataFrame, experiment: str, where: str) -> list[str]:
    """A table a network and optimizer: measures down, runs across."""
    here = table[(table["experiment"] == experiment) & (table["where"] == where)]
    found = []
    for (model, _), part in here.groupby(["model", "base"], sort=False):
        texts = part.assign(text=list(map(_plus_minus, part["mean"], part["half_width"])))
        optimizers = list(texts["optimizer"].unique())
        wide = texts.pivot_table("text", "measure", "optimizer", aggfunc="first").reindex(
            index=list(COLUMNS), columns=optimizers
        )
        rows = [(str(name), *row) for name, row in zip(wide.index, wide.to_numpy(), strict=True)]
        lost = texts.groupby("optimizer", sort=False)["diverged"].first()
        if lost.any():
            rows.append(("diverged", *(f"{share:.0%}" for share in lost)))
        found.append(_table((model, *optimizers), rows, n_left=1))
    return found


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], n_left: int) -> str:
    """Columns in line, the first ``n_left`` and a column of words to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells_ = [
            text.ljust(width) if i < n_left or head[i] == "shown" else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells_).rstrip())
    return "\n".join(lines)


def _plus_minus(mean: float, half_width: float) -> str:
    return _number(mean) if math.isnan(half_width) else f"{_number(mean)} ± {half_width:.2g}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:#.3g}".rstrip(".")
