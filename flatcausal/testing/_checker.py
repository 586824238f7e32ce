"""The contract of an optimizer, as a list of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from flatcausal.optim import Recipe, get
from flatcausal.testing import _members, _state, _step, _training
from flatcausal.testing._claim import called

_CHECKS: tuple[Callable[[Recipe], None], ...] = (
    _state.repeats_itself,  # before those that compare two runs
    _training.trains_a_sequential,
    _training.descends_a_convex_bowl,
    _training.takes_bare_tensors,
    _training.takes_parameter_groups,
    _step.takes_the_promised_gradients,
    _step.returns_its_first_loss,
    _step.moves_running_statistics_once,
    _step.says_whether_it_needs_a_closure,
    _step.gives_weights_back_when_interrupted,
    _step.stands_still_without_a_slope,
    _step.keeps_weights_in_place,
    _step.survives_bad_gradients,
    _step.leaves_unused_parameters_alone,
    _state.resumes_bitwise,
    _state.goes_on_after_pickle,
    _state.goes_on_after_deepcopy,
    _state.follows_a_scheduler,
    _state.is_left_as_it_was,
    _members.goes_alone_as_in_company,
    _members.takes_members_in_any_company,
    _members.takes_tabnets_in_any_company,
    _members.keeps_sick_members_apart,
)


def check_optimizer(recipe: str | Recipe) -> None:
    """Check that an optimizer keeps the contract which the estimators and studies of this package rely on.

    It counts gradients, saves and resumes, interrupts steps, stacks members and spoils gradients; everything
    that it trains is small and always the same. A few seconds are enough.

    Parameters
    ----------
    recipe : Recipe or str
        What is checked, at the hyper-parameters that it has and its ``default_lr``.

    Raises
    ------
    AssertionError
        At the first check that fails, in a sentence that names the fault.
    ParameterError, ParameterTypeError
        If it is no recipe.

    See Also
    --------
    optimizer_checks : The same checks one by one.

    Examples
    --------
    >>> from flatcausal.optim import SAM, SGD
    >>> from flatcausal.testing import check_optimizer
    >>> check_optimizer(SAM(rho=0.1))

    A recipe of one's own, which promises too much:

    >>> class Twice(SGD):
    ...     gradients_per_step = 2
    >>> check_optimizer(Twice())
    Traceback (most recent call last):
        ...
    AssertionError: Twice() has gradients_per_step=2, but a step took 1.
    """
    for _, check in optimizer_checks(recipe):
        check()


def optimizer_checks(recipe: str | Recipe) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the checks of :func:`check_optimizer` one by one, for a test to be parametrised by.

    Parameters
    ----------
    recipe : Recipe or str
        What is checked.

    Yields
    ------
    tuple of str and callable
        A check's name, and what runs it: without arguments, it raises an AssertionError where the check
        fails. After the checks for all recipes come one for each of its ``limiting_cases``.

    Examples
    --------
    >>> from flatcausal.optim import SAM
    >>> from flatcausal.testing import optimizer_checks
    >>> checks = dict(optimizer_checks(SAM(rho=0.1)))
    >>> checks["takes_the_promised_gradients"]()

    With pytest:

    >>> import pytest
    >>> @pytest.mark.parametrize(("name", "check"), list(optimizer_checks("sam")))
    ... def test_contract(name, check):
    ...     check()
    """
    recipe = get(recipe)
    for check in _CHECKS:
        yield check.__name__, partial(_run, check.__name__, recipe, check, recipe)
    for limit, other in recipe.limiting_cases():
        name = f"trains_as_{called(other)}_at_{called(limit)}"
        yield name, partial(_run, name, recipe, _training.train_alike, recipe, limit, other)


def _run(name: str, recipe: Recipe, check: Callable[..., None], *args: Recipe) -> None:
    """Run a check; an error that the optimizer raises fails it as well."""
    try:
        check(*args)
    except AssertionError:
        raise
    except Exception as error:
        text = f"{called(recipe)} fails {name}: it raised {type(error).__name__}: {error}"
        raise AssertionError(text) from error
