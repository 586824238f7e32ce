"""How far apart two stationary distributions are, and whether chance alone could do it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from flatcausal.exceptions import ParameterError
from flatcausal.optim.landscapes._stationary import StationaryDistribution


@dataclass(frozen=True)
class HomogeneityTest:
    """A chi-square test of equal distributions.

    Attributes
    ----------
    statistic : float
        Pearson's chi-square.
    degrees_of_freedom : int
        Of its law if the distributions are equal.
    p_value : float
        Chance of such a statistic or a larger one then.
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float


def total_variation(one: StationaryDistribution, other: StationaryDistribution) -> float:
    """Half the sum of absolute differences of shares, of the runs that ended in no minimum too.

    Chance alone keeps it above zero: read it beside :func:`chi_square_test`.
    """
    _check_landscapes(one, other)
    shares = [result.counts / result.counts.sum() for result in (one, other)]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())


def chi_square_test(one: StationaryDistribution, other: StationaryDistribution) -> HomogeneityTest:
    """Test whether two optimizers end in each minimum equally often; none counts as one more.

    The runs must be independent: give the two a ``random_state`` each. From common starts the test finds
    differences more rarely than it says.
    """
    _check_landscapes(one, other)
    table = np.stack([one.counts, other.counts])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] == 1:
        return HomogeneityTest(0.0, 0, 1.0)
    statistic, p_value, degrees, _ = stats.chi2_contingency(table, correction=False)
    return HomogeneityTest(float(statistic), int(degrees), float(p_value))  # type: ignore[arg-type]


def _check_landscapes(one: StationaryDistribution, other: StationaryDistribution) -> None:
    if one.landscape.name != other.landscape.name:
        raise ParameterError(
            f"other must be a result on the same landscape, {one.landscape.name}; got {other.landscape.name}."
        )
