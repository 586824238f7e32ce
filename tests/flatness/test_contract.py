"""Every public measure keeps the contract that users can run on their own."""

import pytest

from flatcausal.testing import measure_checks
from tests.flatness.measures import MEASURES, SURVIVE

OF_ALL_ROWS = {"local_entropy"}  # a sum over rows


def cases():
    for name, measure in MEASURES.items():
        skip = ["takes_the_mean_over_rows"] if name in OF_ALL_ROWS else []
        for check, run in measure_checks(measure, survives_rescaling=name in SURVIVE, skip=skip):
            yield pytest.param(run, id=f"{name}-{check}")


@pytest.mark.parametrize("check", list(cases()))
def test_contract(check):
    check()
