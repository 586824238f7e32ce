"""Draws that earlier versions made: a new option must not move those who do not ask for it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset

SMALL = {"n_nodes": 10, "n_distractors": 4, "n_calibration": 1000}


def _digest(ds):
    """What is drawn, to six digits: another processor may round otherwise in the last."""
    samples = [ds.sample(1500, random_state=1), ds.sample(40), ds.sample(40, env=ds.environments(1)[0])]
    digest = hashlib.sha256(ds.adjacency_.tobytes())
    for sample in samples:
        digest.update((np.round(np.column_stack([sample.X, sample.y]), 6) + 0.0).tobytes())
    return digest.hexdigest()[:16]


PINNED = [
    ({}, "c971f0ce5c1aaec5"),
    ({"graph": "layered", "distractors": "published"}, "f5b34d768725411e"),
    ({"mechanisms": ("tree", "rff", "polynomial")}, "45ae721c72466fbf"),
    ({"mechanisms": ("mixture", "post_nonlinear")}, "97524784270e856a"),
    ({"noise_mode": "functional"}, "c853acaca30f44b7"),
    ({"noise_mode": "heteroscedastic", "noise": "t"}, "3a4c8c3a30762744"),
    ({"standardize": "internal"}, "ac4a67e6b8da147d"),
    ({"standardize": "posthoc"}, "3e5b6978ab51b677"),
    ({"standardize": "uumc", "mechanisms": "linear"}, "2553efc21b61a330"),
    ({"adjacency": [("a", "y"), ("y", "b"), ("c", "b")]}, "7dafe837e5edbc29"),
]


@pytest.mark.parametrize(("parameters", "expected"), PINNED, ids=str)
def test_unasked_for_options_move_nothing(parameters, expected):
    assert _digest(SyntheticDAGDataset(**{**SMALL, **parameters}, random_state=0)) == expected


def test_the_presets_are_unmoved():
    published = SyntheticDAGDataset.preset("dlcausal", n_nodes=8, n_distractors=3, random_state=0)
    mended = SyntheticDAGDataset.preset("dlcausal-fixed", n_nodes=12, n_distractors=3, random_state=0)
    assert (_digest(published), _digest(mended)) == ("2a257385dcfba6ca", "5f27a57a07b9b09a")
