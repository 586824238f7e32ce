"""Optimizers of a study: from names, tables or recipes to complete plain data, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.base import BaseEstimator

from flatcausal import optim
from flatcausal._validation import check_real
from flatcausal.exceptions import DesignError, FlatCausalError
from flatcausal.optim import averaging
from flatcausal.study._canonical import content_id
from flatcausal.study._section import check_mapping, check_text, closest, refuse_unknown

# What training.momentum and training.nesterov are where neither they nor the recipe say.
SHARED_DEFAULTS = {"momentum": 0.9, "nesterov": False}


def resolve_optimizers(
    given: object, shared: Mapping[str, Any], weight_decay: float = 0.0
) -> dict[str, dict[str, Any]]:
    """Complete every optimizer: all parameters written out, the shared ones made equal.

    Parameters
    ----------
    given : list of names, or mapping from label to name, recipe or table of keys
    shared : mapping
        ``momentum`` and ``nesterov`` as the design states them; None where it does not.
    weight_decay : float, default=0.0
        That of all optimizers.

    Returns
    -------
    dict
        label -> ``{"name": ..., "lr": ..., <parameter>: ..., "base": {...}}``, with ``"averaging": {...}`` if
        it averages its weights.
    """
    if isinstance(given, str):
        raise DesignError(
            f"optimizers must be a list of names or one table each, got {given!r}; write [{given!r}]."
        )
    if isinstance(given, (list, tuple)):
        given = _by_name(given)
    resolved = {}
    for label, value in check_mapping("optimizers", given).items():
        resolved[label] = _resolve(f"optimizers.{check_text('optimizers', label)}", label, value, shared)
    if not resolved:
        raise DesignError("optimizers must name at least one optimizer, for example ['sgd', 'sam'].")
    _refuse_twins(resolved, weight_decay)
    return resolved


def _by_name(names: Sequence[object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        label = check_text("optimizers", name)
        if label in found:
            raise DesignError(
                f"optimizers names {label!r} twice; drop one, or give each its own table [optimizers.LABEL]."
            )
        found[label] = name
    return found


def recipe_of(optimizer: Mapping[str, Any]) -> Any:
    """Build the recipe that a complete optimizer describes."""
    parameters = {
        key: recipe_of(value) if isinstance(value, Mapping) else value
        for key, value in optimizer.items()
        if key not in ("name", "lr", "averaging")
    }
    return optim.get(optimizer["name"]).set_params(**parameters)


def averaging_of(optimizer: Mapping[str, Any]) -> Any:
    """Build the averaging that a complete optimizer describes, if any."""
    if "averaging" not in optimizer:
        return None
    parameters = dict(optimizer["averaging"])
    return averaging.get(parameters.pop("name")).set_params(**parameters)


def _resolve(where: str, label: str, value: object, shared: Mapping[str, Any]) -> dict[str, Any]:
    table = _as_table(where, label, value)
    lr, average = table.pop("lr", None), table.pop("averaging", None)
    complete = _complete(where, table, shared)
    recipe = recipe_of(complete)
    rate = recipe.default_lr if lr is None else lr
    complete["lr"] = check_real(f"{where}.lr", rate, low=0.0, open_low=True)
    _try_to_build(where, recipe, lr=complete["lr"])
    if average is not None:
        complete["averaging"] = _complete_averaging(f"{where}.averaging", average)
        _try_to_build(f"{where}.averaging", averaging_of(complete), n_epochs=1)
    _refuse_gradient_free(where, recipe)
    return complete


def _as_table(where: str, label: str, value: object) -> dict[str, Any]:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, BaseEstimator):
        return _describe(where, value)
    if isinstance(value, Mapping):
        return {"name": label, **value} if label in optim.names() else dict(value)
    raise DesignError(f"{where} must be a name, a recipe or a table of keys, got {value!r}.")


def _describe(where: str, recipe: BaseEstimator) -> dict[str, Any]:
    """Say how a recipe differs from its defaults, for only that was asked for."""
    name = next((name for name in optim.names() if type(optim.get(name)) is type(recipe)), None)
    if name is None:
        raise DesignError(
            f"{where} is a {type(recipe).__name__}, which is not one of {', '.join(optim.names())}."
        )
    default = optim.get(name).get_params(deep=False)
    table: dict[str, Any] = {"name": name}
    for key, value in recipe.get_params(deep=False).items():
        if isinstance(value, BaseEstimator):
            table[key] = _describe(f"{where}.{key}", value)
        elif value != default[key]:
            table[key] = value
    return table


def _complete(where: str, table: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    name = table.get("name")
    if name not in optim.names():
        raise DesignError(
            f"{where}.name must be one of {', '.join(optim.names())}, got {name!r}"
            f"{'' if name is None else '; ' + closest(str(name), optim.names())}"
        )
    defaults = optim.get(name).get_params(deep=False)
    refuse_unknown(f"{where} ({name!r})", (key for key in table if key != "name"), defaults)
    complete: dict[str, Any] = {"name": name}
    for key, default in defaults.items():
        value = table.get(key, default)
        if key in SHARED_DEFAULTS:
            value = _shared_value(f"{where}.{key}", key, table, shared)
        elif key == "base" or (key == "rest" and value is not None):
            inner = "sgd" if value is None else value
            value = _complete(f"{where}.{key}", _as_table(f"{where}.{key}", "", inner), shared)
        complete[key] = _plain(value, default)
    return complete


def _complete_averaging(where: str, value: object) -> dict[str, Any]:
    if isinstance(value, averaging.AveragingRecipe):
        names = (name for name in averaging.names() if type(averaging.get(name)) is type(value))
        value = {"name": next(names, type(value).__name__), **value.get_params()}
    table = {"name": value} if isinstance(value, str) else dict(check_mapping(where, value))
    name = table.get("name")
    if name not in averaging.names():
        raise DesignError(f"{where} must be one of {', '.join(averaging.names())}, got {name!r}.")
    recipe = averaging.get(str(name))
    if recipe.needs_validation:
        raise DesignError(
            f"{where} = {name!r} holds rows out, and a study trains all optimizers on the same ones; leave "
            "it out, and fit an estimator with it instead."
        )
    defaults = recipe.get_params()
    refuse_unknown(f"{where} ({name!r})", (key for key in table if key != "name"), defaults)
    return {"name": name, **{key: _plain(table.get(key, value), value) for key, value in defaults.items()}}


def _shared_value(where: str, key: str, table: Mapping[str, Any], shared: Mapping[str, Any]) -> Any:
    common = shared[key]
    if key not in table:
        return SHARED_DEFAULTS[key] if common is None else common
    if common is not None and table[key] != common:
        raise DesignError(
            f"{where} = {table[key]!r} differs from training.{key} = {common!r}, which all optimizers share; "
            f"drop one of the two."
        )
    return table[key]


def _plain(value: Any, default: Any) -> Any:
    # 1 and 1.0 are the same setting and must give the same identifier.
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return [_plain(entry, None) for entry in value] if isinstance(value, (tuple, list)) else value


def _try_to_build(where: str, recipe: Any, **training: Any) -> None:
    from flatcausal.nn import TabNet

    try:
        recipe.build(TabNet(2), **training)  # torch's own layers would draw from the global generator
    except (FlatCausalError, TypeError, ValueError) as error:
        raise DesignError(f"{where}: {error}") from error


def _refuse_gradient_free(where: str, recipe: Any) -> None:
    if recipe.gradients_per_step == 0:
        raise DesignError(
            f"{where} takes no gradients, and a study gives all optimizers the same number of them; leave it "
            "out, and fit an estimator with it instead."
        )


def _refuse_twins(resolved: Mapping[str, Mapping], weight_decay: float) -> None:
    first: dict[str, str] = {}
    for label, optimizer in resolved.items():
        twin = first.setdefault(content_id(_settings(optimizer, weight_decay)), label)
        if twin != label:
            raise DesignError(
                f"optimizers {twin!r} and {label!r} are the same with what all optimizers share (momentum, "
                "nesterov, weight_decay); drop one, or give one of them a setting of its own."
            )


def _settings(optimizer: Mapping[str, Any], weight_decay: float) -> dict[str, Any]:
    """What is trained: some names stand for another's recipe."""
    settings = {
        key: _settings(value, weight_decay) if isinstance(value, Mapping) else value
        for key, value in optimizer.items()
    }
    if settings["name"] == "adamw" and not weight_decay:
        return {**settings, "name": "adam"}
    if settings["name"] == "nesterov":
        return {**settings, "name": "sgd", "nesterov": True}
    return {**settings, "name": "sgd"} if settings["name"] == "momentum" else settings
