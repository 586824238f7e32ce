"""Named data sets: the published generator, and the same sizes with its faults mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flatcausal._validation import check_choice, check_integer
from flatcausal.datasets._published import MIN_NODES
from flatcausal.exceptions import ParameterError

PRESETS = ("dlcausal", "dlcausal-fixed")

# The middle of the published grid (6, 4), (60, 40), (600, 400).
_SIZES = {"n_nodes": 60, "n_distractors": 40}

# A target in the middle of the graph, so that accuracy and causes can part ways.
FIXED = {"min_parents": 1, "min_children": 1, "min_spouses": 1, "distractors": "shadow"}


def check_preset(name: object, overrides: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """Return the preset's name and its sizes."""
    preset = check_choice("name", name, PRESETS)
    for key in overrides:
        if key not in _SIZES:
            raise ParameterError(
                f"preset {preset!r} has no parameter {key!r}; override {' or '.join(_SIZES)} only."
            )
    sizes = {**_SIZES, **overrides}
    low = MIN_NODES if preset == "dlcausal" else 2
    return preset, {
        "n_nodes": check_integer("n_nodes", sizes["n_nodes"], low=low),
        "n_distractors": check_integer("n_distractors", sizes["n_distractors"], low=0),
    }
