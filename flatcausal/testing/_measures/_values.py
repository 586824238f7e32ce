"""What a value is, and what it does not depend on."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch

from flatcausal.testing._measures._fingerprint import left_alone
from flatcausal.testing._measures._models import N_ROWS, WatchedLoss, normalized_net, relu_net, rows
from flatcausal.testing._measures._subject import BN_MODES, Measure, agree


def gives_a_number_for_each_member(measure: Measure) -> None:
    """A module has one member: the value is finite, floating and of shape (1,) or (1, k)."""
    value = measure(relu_net(), *rows())
    measure.claim(
        value.ndim >= 1 and value.shape[0] == 1,
        f"gives a value of shape {value.shape} for one model: its first axis is the members, so of length 1.",
    )
    measure.claim(
        np.issubdtype(value.dtype, np.floating), f"gives a value of dtype {value.dtype}: make it a float."
    )
    measure.claim(bool(np.isfinite(value).all()), f"gives {value} for a healthy model.")


def tells_models_apart(measure: Measure) -> None:
    """Other weights have another value."""
    first, other = (measure(relu_net(seed), *rows()) for seed in (0, 1))
    measure.claim(not np.array_equal(first, other), f"gives {first} whatever the weights.")


def normalises_batches_as_it_is_told(measure: Measure) -> None:
    """Each ``bn`` has a value of its own; at "recalibrated", that of statistics set to those of the rows."""
    set_by_rows, stale = normalized_net(), normalized_net()
    stale.get_submodule("1").reset_running_stats()  # pyright: ignore[reportCallIssue]
    values = {mode: measure(stale, *rows(), bn=mode) for mode in BN_MODES}
    for one, other in combinations(BN_MODES, 2):
        measure.claim(
            not np.array_equal(values[one], values[other]),
            f"gives {values[one]} at bn={one!r} and at bn={other!r}, where statistics differ: do as bn says.",
        )
    expected = measure(set_by_rows, *rows(), bn="frozen")
    measure.claim(
        agree(values["recalibrated"], expected),
        f"gives {values['recalibrated']} at bn='recalibrated', and {expected} where running statistics are "
        "those of the rows already: set them by all rows before anything is computed.",
    )


def does_not_depend_on_batches(measure: Measure) -> None:
    """Rows in batches, of other lengths too, have the value of all rows at once."""
    whole = measure(relu_net(), *rows())
    for batch_size in (7, 10):
        cut = measure(relu_net(), *rows(), batch_size=batch_size)
        measure.claim(
            agree(cut, whole),
            f"gives {cut} at batch_size={batch_size} and {whole} for all {N_ROWS} rows at once: weight what "
            "each batch adds by its rows, the last and shorter one too, and take nothing but sums from it.",
        )


def does_not_depend_on_the_order_of_rows(measure: Measure) -> None:
    """The same rows in another order have the same value."""
    X, y = rows()
    order = torch.randperm(N_ROWS, generator=torch.Generator().manual_seed(2))
    first, other = measure(relu_net(), X, y), measure(relu_net(), X[order], y[order])
    measure.claim(
        agree(first, other),
        f"gives {first} and, for the same rows in another order, {other}: treat rows alike.",
    )


def takes_the_mean_over_rows(measure: Measure) -> None:
    """Each row twice has the same value."""
    once, twice = measure(relu_net(), *rows()), measure(relu_net(), *(torch.cat([a, a]) for a in rows()))
    measure.claim(
        agree(once, twice),
        f"gives {once} and, for each row twice, {twice}: take a mean over rows, not a sum.",
    )


def takes_no_more_rows_than_it_may(measure: Measure) -> None:
    """``n_rows`` bounds the rows, the same at each call; None takes all."""
    for n_rows, most in ((10, 10), (None, N_ROWS)):
        losses = WatchedLoss(), WatchedLoss()
        for loss in losses:
            measure(relu_net(), *rows(), loss=loss, n_rows=n_rows)
        seen = losses[0].targets
        measure.claim(
            len(seen) == most, f"looks at {len(seen)} of {N_ROWS} rows at n_rows={n_rows}, not at {most}."
        )
        measure.claim(
            losses[1].targets == seen,
            f"looks at other rows in a second call at n_rows={n_rows}: choose them by a fixed seed.",
        )


def computes_in_the_dtype_it_is_told(measure: Measure) -> None:
    """A model in float32 has at ``dtype=torch.float64`` the value of its copy in float64."""
    X, y = (a.float() for a in rows())
    told = measure(relu_net().float(), X, y, dtype=torch.float64)
    double = measure(relu_net().float().double(), X.double(), y.double(), dtype=torch.float64)
    measure.claim(
        agree(told, double, 1e-9),
        f"gives {told} for a float32 model at dtype=torch.float64, and {double} for the same numbers in "
        "float64: convert the model's copy and the rows before anything is computed.",
    )


def raises_at_numbers_that_are_not_finite(measure: Measure) -> None:
    """A NaN among the weights, or rows whose loss is infinite, give a FloatingPointError, no NaN."""
    X, y = rows()
    infinite, missing, sick = X.clone(), y.clone(), relu_net()
    infinite[5, 0], missing[7] = math.inf, math.nan
    with torch.no_grad():
        sick.get_parameter("0.weight")[0, 0] = math.nan
    cases = {
        "a weight is NaN": (sick, X, y),
        "a row of X is infinite": (relu_net(), infinite, y),
        "a row of y is NaN": (relu_net(), X, missing),
        "the loss overflows": (relu_net(), 1e200 * X, y),
    }
    for what, (model, inputs, target) in cases.items():
        with left_alone(measure, model, f" when {what}"):
            outcome = _outcome(measure, model, inputs, target)
        measure.claim(
            outcome is None,
            f"{outcome} where {what}: raise a FloatingPointError that says where to look.",
        )


def _outcome(measure: Measure, model: torch.nn.Module, X: torch.Tensor, y: torch.Tensor) -> str | None:
    """What a measure does instead of raising a FloatingPointError."""
    try:
        value = measure(model, X, y)
    except FloatingPointError:
        return None
    except Exception as error:
        return f"raises {type(error).__name__} ({error})"
    return f"gives {value}"
