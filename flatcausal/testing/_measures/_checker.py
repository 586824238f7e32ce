"""The contract of a flatness measure, as a list of checks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from flatcausal._validation import check_choice
from flatcausal.exceptions import ParameterTypeError
from flatcausal.testing._measures import _members, _rescaling, _state, _values
from flatcausal.testing._measures._subject import KEYWORDS, Measure

Check = Callable[[Measure], None]

_CHECKS: tuple[Check, ...] = (
    _values.gives_a_number_for_each_member,  # before those that compare values
    _values.tells_models_apart,
    _state.repeats_itself,
    _state.leaves_the_model_alone,
    _state.leaves_it_alone_when_interrupted,
    _state.sees_no_dropout,
    _state.keeps_to_its_threads,
    _values.normalises_batches_as_it_is_told,
    _values.does_not_depend_on_batches,
    _values.does_not_depend_on_the_order_of_rows,
    _values.takes_the_mean_over_rows,
    _values.takes_no_more_rows_than_it_may,
    _values.computes_in_the_dtype_it_is_told,
    _values.raises_at_numbers_that_are_not_finite,
    _members.measures_members_apart,
    _members.loses_sick_members_only,
)
_OF_SURVIVORS: tuple[Check, ...] = (
    _rescaling.survives_rescaled_layers,
    _rescaling.survives_rescaled_weights_before_normalisation,
)
_ABOUT: dict[Check, str] = {
    _state.keeps_to_its_threads: "n_threads",
    _values.normalises_batches_as_it_is_told: "bn",
    _values.does_not_depend_on_batches: "batch_size",
    _values.takes_no_more_rows_than_it_may: "n_rows",
    _values.computes_in_the_dtype_it_is_told: "dtype",
}
_NAMES = tuple(check.__name__ for check in (*_CHECKS, *_OF_SURVIVORS))


def check_measure(
    measure: Callable[..., Any],
    *,
    survives_rescaling: bool = False,
    without: Collection[str] = (),
    skip: Collection[str] = (),
) -> None:
    """Check that a flatness measure keeps the contract of those in :mod:`flatcausal.flatness`.

    It measures small networks that are always the same, spoils them, interrupts measures, cuts and shuffles
    rows, and stacks members. A few seconds are enough for a measure that takes milliseconds.

    Parameters
    ----------
    measure : callable
        ``measure(model, X, y, *, loss, random_state, n_rows, batch_size, bn, dtype, n_threads)``, with a
        ``torch.nn.Module``, tensors and keywords as :class:`flatcausal.flatness.Protocol` describes them;
        what it returns has an attribute ``value`` whose first axis is the members.
    survives_rescaling : bool, default=False
        Whether it claims to stay, within 1e-6, where weights are rescaled and the function is not. False
        claims nothing, and is not checked: a measure may survive some rescalings and not others.
    without : collection of str, default=()
        Keywords that the measure does not take. It is never called with them, and the checks about them are
        left out; without "bn", only its own way with BatchNorm is checked.
    skip : collection of str, default=()
        Names of checks to leave out, such as "takes_the_mean_over_rows" for a measure that is defined as a
        sum, or "measures_members_apart" and "loses_sick_members_only" for one that knows no populations.

    Raises
    ------
    AssertionError
        At the first check that fails, in a sentence that names the fault.
    ParameterError, ParameterTypeError
        If it is no function, or a name in ``without`` or ``skip`` is unknown.

    See Also
    --------
    measure_checks : The same checks one by one.

    Examples
    --------
    >>> from flatcausal.flatness import gradient_norm
    >>> from flatcausal.testing import check_measure
    >>> check_measure(gradient_norm)

    A measure of one's own, which forgets that ``backward`` writes into the model:

    >>> from types import SimpleNamespace
    >>> def steepness(model, X, y, *, loss):
    ...     loss(model.eval()(X), y).backward()
    ...     return SimpleNamespace(value=[sum(p.grad.norm().item() for p in model[0].parameters())])
    >>> check_measure(
    ...     steepness, without=["random_state", "n_rows", "batch_size", "bn", "dtype", "n_threads"]
    ... )
    Traceback (most recent call last):
        ...
    AssertionError: steepness changes gradient of 0.weight, gradient of 0.bias, ...
    """
    for _, check in measure_checks(
        measure, survives_rescaling=survives_rescaling, without=without, skip=skip
    ):
        check()


def measure_checks(
    measure: Callable[..., Any],
    *,
    survives_rescaling: bool = False,
    without: Collection[str] = (),
    skip: Collection[str] = (),
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the checks of :func:`check_measure` one by one, for a test to be parametrised by.

    Parameters
    ----------
    measure, survives_rescaling, without, skip
        As :func:`check_measure` takes them.

    Yields
    ------
    tuple of str and callable
        A check's name, and what runs it: without arguments, it raises an AssertionError where the check
        fails.

    Examples
    --------
    >>> from flatcausal.flatness import gradient_norm
    >>> from flatcausal.testing import measure_checks
    >>> checks = dict(measure_checks(gradient_norm))
    >>> checks["leaves_the_model_alone"]()

    With pytest:

    >>> import pytest
    >>> @pytest.mark.parametrize(("name", "check"), list(measure_checks(gradient_norm)))
    ... def test_contract(name, check):
    ...     check()
    """
    if not callable(measure):
        raise ParameterTypeError(f"measure must be a function of (model, X, y), got {measure!r}.")
    missing = {check_choice("without", name, KEYWORDS) for name in without}
    left_out = {check_choice("skip", name, _NAMES) for name in skip}
    subject = Measure(measure, frozenset(missing))
    for check in (*_CHECKS, *(_OF_SURVIVORS if survives_rescaling else ())):
        if check.__name__ not in left_out and _ABOUT.get(check) not in missing:
            yield check.__name__, partial(_run, subject, check)


def _run(subject: Measure, check: Check) -> None:
    """Run a check; an error that the measure raises fails it as well."""
    try:
        check(subject)
    except AssertionError:
        raise
    except Exception as error:
        text = f"{subject.name} fails {check.__name__}: it raised {type(error).__name__}: {error}"
        raise AssertionError(text) from error
