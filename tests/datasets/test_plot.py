from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from flatcausal.datasets import SyntheticDAGDataset
from flatcausal.plotting import DAGDisplay


@pytest.fixture(autouse=True)
def headless():
    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


def test_roles_and_importances_reach_the_picture():
    ds = SyntheticDAGDataset(n_nodes=6, n_distractors=2, n_calibration=1000, random_state=0)
    importances = np.arange(7.0)
    _, ax = plt.subplots()
    display = ds.plot(importances, ax=ax)
    assert isinstance(display, DAGDisplay)
    assert display.ax_ is ax
    assert display.nodes["role"].drop("y").to_dict() == dict(ds.roles_.role)
    assert display.nodes["importance"].drop("y").to_dict() == dict(
        zip(ds.feature_names_, importances, strict=True)
    )
    assert set(display.edges) == set(ds.graph_.edges)


def test_hidden_nodes_are_shown_as_such():
    ds = SyntheticDAGDataset(n_nodes=6, n_hidden=1, n_calibration=1000, random_state=0)
    assert ds.plot().nodes["role"][ds.hidden_names_].tolist() == ["hidden"]
