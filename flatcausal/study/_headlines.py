"""The metrics that a report leads with, and how numbers are written in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Headline:
    """A metric: its column, its name in words, whether it needs the truth, and what more of it means."""

    key: str
    title: str
    more: str
    less: str
    oracle: bool = False


TRUTHS = (
    Headline("ap_lift_parents", "AP-lift, parents", "higher", "lower", oracle=True),
    Headline("ap_lift_ancestors", "AP-lift, ancestors", "higher", "lower", oracle=True),
    Headline("ap_lift_markov_blanket", "AP-lift, Markov blanket", "higher", "lower", oracle=True),
)
IID_RISK = Headline("iid_risk", "Risk, i.i.d.", "higher (worse)", "lower (better)")
WORST_CASE_RISK = Headline(
    "worst_case_risk", "Risk, worst environment", "higher (worse)", "lower (better)", oracle=True
)
SHARPNESS = Headline("sharpness_adaptive", "Adaptive sharpness", "higher (sharper)", "lower (flatter)")
TRAIN_LOSS = Headline("train_loss", "Training loss", "higher", "lower")
HEADLINES = (*TRUTHS, IID_RISK, WORST_CASE_RISK, SHARPNESS, TRAIN_LOSS)


def present(frame: pd.DataFrame, headlines: tuple[Headline, ...] = HEADLINES) -> list[Headline]:
    """Return the headlines of which at least one run has a value."""
    return [
        headline for headline in headlines if headline.key in frame and np.any(frame[headline.key].notna())
    ]


def number(value: float) -> str:
    """Write a number with three significant digits.

    Examples
    --------
    >>> from flatcausal.study._headlines import number
    >>> number(0.12345), number(-2.0), number(4.2e-06), number(float("nan"))
    ('0.123', '−2', '4.2×10⁻⁶', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.2e}".split("e")
        text = f"{float(mantissa):g}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    else:
        text = np.format_float_positional(value, precision=3, fractional=False, trim="-")
    return text.replace("-", "−")


def plus_minus(value: float, half_width: float) -> str:
    """Write a mean and its half width, both to the second digit of the half width.

    Examples
    --------
    >>> from flatcausal.study._headlines import plus_minus
    >>> plus_minus(0.42345, 0.0512), plus_minus(3e-6, 1.25e-6), plus_minus(0.5, float("nan"))
    ('0.423 ± 0.051', '3×10⁻⁶ ± 1.25×10⁻⁶', '0.5')
    """
    if not math.isfinite(half_width):
        return number(value)
    decimals = 1 - math.floor(math.log10(half_width)) if half_width > 0 else 3
    if decimals > 5:
        return f"{number(value)} ± {number(half_width)}"
    decimals = max(decimals, 0)
    return f"{value:.{decimals}f} ± {half_width:.{decimals}f}".replace("-", "−")


def difference(estimate: float, low: float, high: float) -> tuple[str, str]:
    """Write an estimate and its interval, all to the third digit of the interval's width.

    Examples
    --------
    >>> from flatcausal.study._headlines import difference
    >>> difference(0.03456, -0.1, 0.25), difference(1.0, -float("inf"), float("inf"))
    (('0.035', '−0.100 to 0.250'), ('1', '−∞ to ∞'))
    """
    width = high - low
    decimals = 2 - math.floor(math.log10(width)) if 0 < width < math.inf else 9
    if decimals > 5:
        return number(estimate), f"{number(low)} to {number(high)}"
    texts = [f"{value:.{max(decimals, 0)}f}".replace("-", "−") for value in (estimate, low, high)]
    return texts[0], f"{texts[1]} to {texts[2]}"


def listed(names: list[str]) -> str:
    """Write names as a list in a sentence.

    Examples
    --------
    >>> from flatcausal.study._headlines import listed
    >>> listed(["gd", "sam", "adam"])
    'gd, sam and adam'
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
