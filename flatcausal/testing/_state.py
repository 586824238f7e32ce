"""What survives saving, copying and a scheduler; and what a recipe and global state never notice."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from flatcausal.optim import Recipe
from flatcausal.testing._claim import claim
from flatcausal.testing._regression import Trial


def resumes_bitwise(recipe: Recipe) -> None:
    """A new optimizer that loads ``state_dict`` goes on as the old one, bit for bit."""
    straight, first = Trial(recipe).train(8), Trial(recipe).train(4)
    saved = pickle.loads(pickle.dumps((first.net.state_dict(), first.optimizer.state_dict())))
    second = Trial(recipe, lr=2 * recipe.default_lr, random_state=7)
    second.net.load_state_dict(saved[0])
    second.optimizer.load_state_dict(saved[1])
    claim(
        second.train(4).equals(straight),
        recipe,
        "goes elsewhere after load_state_dict than without a break: state_dict must hold all that a step "
        "depends on, and load_state_dict take all of it back.",
    )


def goes_on_after_pickle(recipe: Recipe) -> None:
    """A network and its optimizer go on alike after pickle."""
    _goes_on(recipe, "pickle", lambda pair: pickle.loads(pickle.dumps(pair)))


def goes_on_after_deepcopy(recipe: Recipe) -> None:
    """A network and its optimizer go on alike after deepcopy."""
    _goes_on(recipe, "deepcopy", copy.deepcopy)


def _goes_on(recipe: Recipe, means: str, duplicate: Callable[[Any], Any]) -> None:
    trial = Trial(recipe)
    torch.optim.lr_scheduler.ExponentialLR(trial.optimizer, 1.0)  # which wraps the optimizer's step
    trial.train(3)
    twin = copy.copy(trial)
    twin.net, twin.optimizer = duplicate((trial.net, trial.optimizer))
    trial.train(3)
    twin.train(3)
    claim(
        twin.equals(trial),
        recipe,
        f"goes elsewhere after {means} than the original: its __getstate__ must keep all that a step "
        "depends on, and not the step that a scheduler wrapped.",
    )


def follows_a_scheduler(recipe: Recipe) -> None:
    """A learning-rate scheduler reaches the step, before and after ``load_state_dict``."""

    def run(gamma: float, reload: bool = False) -> Trial:
        trial = Trial(recipe)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(trial.optimizer, gamma)
        for t in range(6):
            if reload and t == 1:  # before the learning rate has changed by much
                trial.optimizer.load_state_dict(copy.deepcopy(trial.optimizer.state_dict()))
            trial.step()
            scheduler.step()
        return trial

    falling = run(0.5)
    claim(
        not falling.equals(run(1.0)),
        recipe,
        "does not follow a learning-rate scheduler: read lr from param_groups in each step.",
    )
    claim(
        run(0.5, reload=True).equals(falling),
        recipe,
        "loses its learning-rate scheduler in load_state_dict: step must read the very param_groups that a "
        "scheduler writes.",
    )


def repeats_itself(recipe: Recipe) -> None:
    """One ``random_state`` gives one path; global random numbers have no part in it and are left alone."""
    before = _global_states()
    first = Trial(recipe).train(3)
    untouched = _global_states() == before
    claim(untouched, recipe, "draws from a global random state: draw from random_state's generators.")
    claim(Trial(recipe).train(3).equals(first), recipe, "gives two paths for one random_state.")


def _global_states() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())  # noqa: NPY002


def is_left_as_it_was(recipe: Recipe) -> None:
    """Building and training change no attribute of the recipe, and its copies train alike."""
    copies: tuple[Any, ...]
    try:
        copies = clone(recipe), pickle.loads(pickle.dumps(recipe)), copy.deepcopy(recipe)
    except Exception as error:
        claim(False, recipe, f"cannot be copied by scikit-learn's clone, pickle and deepcopy: {error}")
        return
    first, before = copies[0], _attributes(copies[0])
    trial = Trial(first).train(2)
    claim(
        _attributes(first) == before,
        recipe,
        "is changed by building or training: keep what changes in the optimizer.",
    )
    for means, twin in zip(("pickle", "deepcopy"), copies[1:], strict=True):
        same = _attributes(twin) == _attributes(recipe) and Trial(twin).train(2).equals(trial)
        claim(same, recipe, f"is another recipe after {means} than after scikit-learn's clone.")


def _attributes(recipe: Recipe) -> dict[str, Any]:
    """All attributes, those of recipes within it too."""
    return {
        name: _attributes(value) if isinstance(value, Recipe) else repr(value)
        for name, value in vars(recipe).items()
    }
