"""The report on a model."""

import numpy as np
import pytest
from torch import nn

from flatcausal.flatness import flatness_report, sharpness
from tests.flatness.models import data, filled, mlp, regressor, tensors

MSE = nn.MSELoss()


@pytest.fixture(scope="module")
def fitted():
    return regressor()


def test_the_report_puts_first_what_survives():
    report = flatness_report(mlp(), *tensors(), "all", loss=MSE, random_state=0)
    survives = report["survives_rescaling"].to_numpy()
    assert len(report) == 14
    assert survives[:5].all()
    assert not survives[5:].any()


def test_the_report_has_what_each_measure_has(fitted):
    report = flatness_report(fitted, *data(), ["sam", "adaptive_l2"], random_state=0)
    assert report["measure"].tolist() == ["adaptive_l2"] * 3 + ["sam"] * 3
    one = report[report["measure"] == "adaptive_l2"]
    np.testing.assert_array_equal(
        one["value"], sharpness(fitted, *data(), "adaptive_l2", random_state=0).value
    )
    np.testing.assert_array_equal(one["loss"], sharpness(fitted, *data()).loss)
    assert report["rows_hash"].nunique() == 1


def test_the_report_leaves_out_what_a_model_cannot_have():
    net = filled(nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten()))
    X, y = tensors()
    report = flatness_report(net, X[:, None], y, loss=MSE)
    assert report["measure"].tolist() == ["adaptive", "adaptive_l2", "adaptive_linf", "adaptive_average"]
