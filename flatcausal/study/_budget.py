"""Equal budgets: every optimizer gets the same number of gradients, of the same batches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flatcausal.exceptions import DesignError


@dataclass(frozen=True)
class Budget:
    """What one optimizer may spend on one block."""

    batch_size: int
    max_epochs: int
    n_gradient_evaluations: int


def budgets(n_train: int, epochs: int, batch_size: int, recipes: Mapping[str, Any]) -> dict[str, Budget]:
    r"""Share out ``epochs`` passes of gradient work over ``n_train`` rows.

    With :math:`m` mini-batches in a pass, each optimizer spends :math:`m \cdot epochs`
    mini-batch gradients; a full-batch gradient counts as :math:`m`. An optimizer that takes
    :math:`g` gradients and :math:`b` fresh batches a step then trains
    :math:`epochs \cdot b / g` epochs. All share one batch size, at or below ``batch_size``,
    for which :math:`m` is a multiple of every :math:`b` and the batches are of even size.
    """
    from flatcausal.estimators import n_batches

    multiple = math.lcm(*(recipe.batches_per_step for recipe in recipes.values()))
    size = _even_batch_size(n_train, batch_size, multiple)
    if size is None:
        label = max(recipes, key=lambda name: recipes[name].batches_per_step)
        raise DesignError(
            f"optimizers.{label} takes {recipes[label].batches_per_step} batches a step, and {n_train} "
            f"training rows cannot be cut into a multiple of {multiple} batches of 2 to {batch_size} rows; "
            "use more rows."
        )
    count = n_batches(n_train, size)
    return {
        label: Budget(size, _own_epochs(label, recipe, epochs), count * epochs)
        for label, recipe in recipes.items()
    }


def _even_batch_size(n_train: int, batch_size: int, multiple: int) -> int | None:
    from flatcausal.estimators import n_batches

    count = math.ceil(math.ceil(n_train / batch_size) / multiple) * multiple
    while count < n_train:
        size = math.ceil(n_train / count)
        if n_batches(n_train, size) == count:
            return size
        count += multiple
    return None


def _own_epochs(label: str, recipe: Any, epochs: int) -> int:
    work = epochs * recipe.batches_per_step
    if work % recipe.gradients_per_step:
        share = recipe.gradients_per_step // math.gcd(recipe.gradients_per_step, recipe.batches_per_step)
        raise DesignError(
            f"optimizers.{label} takes {recipe.gradients_per_step} gradients a step, so training.epochs "
            f"must be a multiple of {share}, got {epochs}."
        )
    return work // recipe.gradients_per_step
