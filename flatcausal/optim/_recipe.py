"""What every optimizer recipe has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from sklearn.base import BaseEstimator, clone
from torch.optim import Optimizer

from flatcausal._random import RandomState, seed_sequence
from flatcausal._validation import check_real
from flatcausal.optim._target import Target


class Recipe(BaseEstimator):
    """Hyper-parameters of an optimizer, without a model.

    What all optimizers share (learning rate, weight decay, schedule, budget) is not part of a recipe, so
    that a comparison changes one thing. Being scikit-learn estimators, recipes clone, print and nest:
    ``optimizer__base__momentum`` works in any search.

    A subclass implements ``_build(target, lr, weight_decay, seeds)``.
    """

    full_batch = False
    needs_closure = False  # whether a step asks for gradients itself, and so cannot be another's base

    @property
    def default_lr(self) -> float:
        """Learning rate where none is given, a usual one for TabNet on standardised data."""
        raise NotImplementedError(f"{type(self).__name__} must define default_lr.")

    @property
    def needs_layers(self) -> bool:
        """Whether ``build`` must be given a module: the recipe, or one in it, asks what its layers are."""
        return any(isinstance(value, Recipe) and value.needs_layers for value in vars(self).values())

    @property
    def gradients_per_step(self) -> int:
        """Gradient evaluations of one step."""
        return 1

    @property
    def batches_per_step(self) -> int:
        """Fresh mini-batches that one step consumes."""
        return 1

    def build(
        self,
        module_or_params: Any,
        lr: float | None = None,
        weight_decay: float = 0.0,
        n_members: int | None = None,
        random_state: RandomState = None,
    ) -> Optimizer:
        """Make the torch optimizer.

        Parameters
        ----------
        module_or_params : nn.Module, or iterable of Tensor or of parameter groups
            Given a module, the optimizer sees to it that BatchNorm's running statistics move once per
            step, and SAM that the masks of dropout layers agree between its passes; given bare tensors
            they cannot.
        lr : float, optional
            Learning rate; ``default_lr`` if None.
        weight_decay : float, default=0.0
            Factor of an L2 penalty, added to the gradient at the unperturbed weights; of the decoupled decay
            in :class:`AdamW`.
        n_members : int, optional
            Independent models stacked on the first axis of every tensor; 1 if None.
        random_state : int, SeedSequence, Generator, RandomState or None
            Source of the optimizer's own noise; member k's stream depends on the seed and k alone.

        Returns
        -------
        torch.optim.Optimizer
            Use it through ``step(closure)``; the closure zeroes the gradients, computes the loss, calls
            ``backward`` and returns the loss.

        Raises
        ------
        ParameterError
            If a hyper-parameter is out of its range, or tensors do not stack ``n_members`` models.
        ParameterTypeError
            If a parameter is of another type, or ``needs_layers`` and no module is given.
        """
        lr = check_real("lr", self.default_lr if lr is None else lr, low=0.0)
        weight_decay = check_real("weight_decay", weight_decay, low=0.0)
        return self._build(
            Target.of(module_or_params, n_members), lr, weight_decay, seed_sequence(random_state)
        )

    def limiting_cases(self) -> Iterator[tuple[Recipe, Recipe]]:
        """Pairs of recipes that train alike bit for bit, without weight decay; none by default.

        The first is this recipe at a limit of its hyper-parameters, the second what it is there.
        :func:`flatcausal.testing.check_optimizer` trains both.
        """
        yield from ()

    def _at(self, **params: Any) -> Self:
        """Copy with other hyper-parameters."""
        twin: Any = clone(self)
        return twin.set_params(**params)

    def _build(self, target: Target, lr: float, weight_decay: float, seeds) -> Optimizer:
        raise NotImplementedError(f"{type(self).__name__} must define _build.")
