"""What every recipe of an average has in common."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from torch import Tensor

from flatcausal._validation import check_integer
from flatcausal.optim._target import Target, tensors_in
from flatcausal.optim.averaging._average import Average


class AveragingRecipe(BaseEstimator):
    """Hyper-parameters of an average of weights, without a model.

    Being scikit-learn estimators, recipes clone, print and nest: ``averaging__decay`` works in any search.
    None has a learning rate of its own, for an average never alters the trajectory that it is of: for the
    constant rate of the SWA paper give the estimator ``lr_schedule=None``.

    A subclass implements ``_build(tensors, n_members, n_epochs)``.
    """

    needs_validation = False  # whether after_step must be given a loss on held-out rows

    def build(
        self, module_or_params: Any, n_epochs: int | None = None, n_members: int | None = None
    ) -> Average:
        """Make the average of a model's weights, before training.

        Parameters
        ----------
        module_or_params : nn.Module, or iterable of Tensor or of parameter groups
            The weights under training. Buffers are not averaged: see :func:`update_batch_norm`.
        n_epochs : int, optional
            Epochs that the training will have; SWA needs them.
        n_members : int, optional
            Independent models stacked on the first axis of every tensor; 1 if None.

        Returns
        -------
        Average
            Call its ``after_step`` and ``after_epoch`` in the training loop, and ``copy_to`` after it.

        Raises
        ------
        ParameterError
            If a hyper-parameter is out of its range, or tensors do not stack ``n_members`` models.
        """
        target = Target.of(module_or_params, n_members)
        epochs = None if n_epochs is None else check_integer("n_epochs", n_epochs, low=1)
        return self._build(tensors_in(target.params), target.n_members, epochs)

    def _build(self, tensors: list[Tensor], n_members: int, n_epochs: int | None) -> Average:
        raise NotImplementedError(f"{type(self).__name__} must define _build.")
