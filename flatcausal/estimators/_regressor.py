"""The TabNet regressor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from flatcausal._random import RandomState
from flatcausal._validation import check_boolean
from flatcausal.estimators._base import PopulationEstimator
from flatcausal.estimators._input import read_numbers
from flatcausal.estimators._losses import SquaredError
from flatcausal.exceptions import DataError
from flatcausal.optim import Recipe
from flatcausal.optim.averaging import AveragingRecipe


class FlatMinimaTabNetRegressor(RegressorMixin, PopulationEstimator):
    """TabNet regression, trained by an optimizer of your choice.

    One fit trains ``n_members`` independent networks; predictions and importances are means over them.

    Parameters
    ----------
    optimizer : str or Recipe, default="sam"
        A name (``flatcausal.optim.names()``) or a recipe such as ``SAM(rho=0.1, base=Adam())``. The
        parameters of a recipe can be searched: ``optimizer__rho``, ``optimizer__base__momentum``.
    lr : float, optional
        Learning rate; the recipe's default if None.
    weight_decay : float, default=0.0
        L2 penalty; with ``"adamw"`` the factor of its decoupled decay.
    lr_schedule : {"cosine", "linear"} or None, default="cosine"
        How the learning rate falls to zero over the fit; constant if None.
    clip_norm : float, optional
        Longest gradient of a member: a longer one, of a mini-batch, is shortened to it.
    averaging : str or AveragingRecipe, optional
        Mean of the weights along the fit that each member keeps in place of its last ones: a name
        (``flatcausal.optim.averaging.names()``) or a recipe such as ``EMA(decay=0.99)``, whose parameters can
        be searched as ``averaging__decay``. Training and its losses are the same without. With
        ``early_stopping`` the mean of a member ends with its last epoch. A member that has none yet, and one
        that diverged, keeps the weights that it would keep without. ``"swad"`` asks for a loss on
        ``validation_fraction`` of the rows, which are held out without ``early_stopping``, too. A warm start
        goes on from the mean and takes one anew; ``partial_fit`` knows of none.
    max_epochs : int, default=100
        Passes over the training rows; Entropy-SGD rounds each up to whole steps of ``L`` mini-batches.
    batch_size : int, default=256
        Rows of a mini-batch.
    virtual_batch_size : int, default=128
        Rows of a ghost batch, by which hidden features are normalised.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the rows. Each member stops after ``n_iter_no_change`` epochs
        without a lower loss there, and keeps the weights of its own best epoch. Judging an epoch costs
        a pass over the training rows that re-estimates the running statistics.
    validation_fraction : float, default=0.1
        Share of rows held out, if any are; the same rows for all members, by class in classification.
    n_iter_no_change : int, default=10
        Epochs of patience.
    n_members : int, default=1
        Independent networks K: own initial weights, own order of rows.
    n_threads : int, default=1
        Threads of torch during fit and predict; the setting around them comes back. The same number gives
        the same bits.
    device : str or torch.device, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState, Generator or None, default=None
        Source of initial weights, order and noise. No global random state is read or written.
    warm_start : bool, default=False
        Start a further fit from the present weights. Optimizer and schedule begin anew; the scale of the
        target, classes and categories stay those of the first fit.
    checkpoint_dir : str or Path, optional
        Folder for the state of the fit after every epoch. A fit that was interrupted, if repeated with the
        same parameters, rows and integer ``random_state``, goes on from there, and ends bitwise as
        if it had not been; then the file is deleted. The state of ``callbacks`` is not kept.
    callbacks : list of skorch callbacks, optional
        Called during the fit; one that changes the learning rate needs ``lr_schedule=None``. Callbacks of
        scikit-learn are given by ``set_callbacks``.
    verbose : int or bool, default=0
        1 prints a line an epoch.
    n_d, n_a : int, default=8
        Width of the decision and of the attention part of a step.
    n_steps : int, default=3
        Decision steps.
    gamma : float, default=1.3
        Relaxation of the rule that a feature is used in one step only (1 enforces it).
    n_independent, n_shared : int, default=2
        Gated layers that a step has to itself, and that all steps share.
    lambda_sparse : float, default=1e-3
        Weight of the masks' entropy in the loss.
    bn_momentum : float, default=0.02
        Share of a new ghost batch in the running statistics that callbacks see during the fit. Afterwards
        the statistics are re-estimated by a pass over the training rows, because how far running ones lag
        depends on the optimizer's number of steps.
    mask_type : "sparsemax" or "entmax", default="sparsemax"
        What turns a step's attention into its mask: "entmax" is the 1.5-entmax, which leaves more features
        in and whose slope is continuous.
    categorical_features : "from_dtype", list of str, int or bool, or None, default="from_dtype"
        Columns whose values are categories, each of which gets an embedding that is learnt:
        those of pandas' ``category`` type, those named, or none. A category that the fit did not see
        takes the mean embedding of the training rows.
    cat_emb_dim : int, default=1
        Dimension of each embedding.
    scale_target : bool, default=True
        Train on the standardised target.

    Attributes
    ----------
    causal_importances_ : ndarray of shape (n_features,)
        How much the predictions attend to each input; sums to one. It *ranks inputs as candidate causes*:
        whether the ranking finds causes must be measured, on data whose graph is known. From one i.i.d.
        sample the best predictor uses the target's Markov blanket, effects included, and hidden common
        causes are not ruled out.
    causal_importances_std_ : ndarray of shape (n_features,)
        Standard deviation over members; 0 with one member.
    feature_importances_ : ndarray of shape (n_features,)
        ``causal_importances_`` under the name that scikit-learn's selectors look for.
    member_importances_ : ndarray of shape (n_members, n_features)
        Importances of each member; NaN for one that diverged.
    diverged_ : ndarray of bool, shape (n_members,)
        Members whose loss or weights ceased to be finite. They stopped and keep their last best finite
        weights, which ``predict_members`` shows; means and importances leave them out.
    best_epoch_ : ndarray of int, shape (n_members,)
        Epoch whose weights each member keeps: the last, unless it stopped early or diverged. Of a mean
        by ``averaging``, the last epoch that the member trained.
    net_ : PopulationNet
        The fitted skorch net.
    history_ : dict of ndarray
        By epoch: ``epoch``, ``train_loss`` (penalised loss, mean over members), with early stopping
        ``valid_loss``, both as ``member_train_loss`` and ``member_valid_loss`` of shape (n_epochs, n_members)
        too, and ``dur`` (seconds).
    n_iter_ : int
        Epochs trained.
    n_gradient_evaluations_ : int
        Mini-batch gradients that a member took; a full-batch gradient counts as many as the data have
        mini-batches, so that one pass of ``gd`` and of ``sgd`` count the same.
    target_mean_, target_scale_ : float or ndarray of shape (n_targets,)
        What the target was standardised by.
    categories_ : dict of int to ndarray
        Categories of each categorical column, by its position.
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of str
        Their names, if X had string column names.

    References
    ----------
    S. O. Arik and T. Pfister, "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021.

    Notes
    -----
    Importances are the masks of TabNet's steps, weighted by what each step adds to the decision, as in
    :meth:`explain`: one formula for rows and for the whole.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> X, y = make_regression(300, 5, n_informative=2, random_state=0)
    >>> est = FlatMinimaTabNetRegressor(max_epochs=60, random_state=0).fit(X, y)
    >>> est.score(X, y) > 0.9
    True
    >>> est.causal_importances_.shape
    (5,)
    """

    _criterion = SquaredError
    _target_attributes = ("target_mean_", "target_scale_")

    def __init__(
        self,
        *,
        optimizer: str | Recipe = "sam",
        lr: float | None = None,
        weight_decay: float = 0.0,
        lr_schedule: str | None = "cosine",
        clip_norm: float | None = None,
        averaging: str | AveragingRecipe | None = None,
        max_epochs: int = 100,
        batch_size: int = 256,
        virtual_batch_size: int = 128,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        n_members: int = 1,
        n_threads: int = 1,
        device: str | torch.device = "auto",
        random_state: RandomState = None,
        warm_start: bool = False,
        checkpoint_dir: str | Path | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        n_d: int = 8,
        n_a: int = 8,
        n_steps: int = 3,
        gamma: float = 1.3,
        n_independent: int = 2,
        n_shared: int = 2,
        lambda_sparse: float = 1e-3,
        bn_momentum: float = 0.02,
        mask_type: str = "sparsemax",
        categorical_features: Any = "from_dtype",
        cat_emb_dim: int = 1,
        scale_target: bool = True,
    ):
        super().__init__(
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            lr_schedule=lr_schedule,
            clip_norm=clip_norm,
            averaging=averaging,
            max_epochs=max_epochs,
            batch_size=batch_size,
            virtual_batch_size=virtual_batch_size,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            n_members=n_members,
            n_threads=n_threads,
            device=device,
            random_state=random_state,
            warm_start=warm_start,
            checkpoint_dir=checkpoint_dir,
            callbacks=callbacks,
            verbose=verbose,
            n_d=n_d,
            n_a=n_a,
            n_steps=n_steps,
            gamma=gamma,
            n_independent=n_independent,
            n_shared=n_shared,
            lambda_sparse=lambda_sparse,
            bn_momentum=bn_momentum,
            mask_type=mask_type,
            categorical_features=categorical_features,
            cat_emb_dim=cat_emb_dim,
        )
        self.scale_target = scale_target

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> FlatMinimaTabNetRegressor:
        """Train for one epoch at the full learning rate; the first call draws the weights.

        Scale of the target and categories are those of the first call or fit, and the statistics that
        normalise hidden features those of the last: pass a few hundred rows or more.
        Parameters set since the last call hold; another ``optimizer`` or ``weight_decay`` begins anew.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.

        Returns
        -------
        FlatMinimaTabNetRegressor
            The fitted estimator.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the target: mean over members.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of float32, shape (n,), or of float64, shape (n, n_targets)
            scikit-learn's contract asks for float64 where there are several targets. One target takes it,
            too, if it lies so far from zero that float32 would not tell its values apart.
        """
        return self._mean_prediction(X)

    def _precision(self) -> torch.dtype:
        check_is_fitted(self)
        coarse = np.abs(self.target_mean_) * np.finfo(np.float32).eps > 1e-3 * self.target_scale_
        return torch.float64 if np.ndim(self.target_mean_) or coarse else torch.float32

    def _check_target(self, y: Any) -> np.ndarray:
        return read_numbers(y)

    def _learn_target(self, y: np.ndarray, weight: np.ndarray | None) -> None:
        check_boolean("scale_target", self.scale_target)
        mean = np.average(y, axis=0, weights=weight)
        scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
        if not self.scale_target:
            mean, scale = np.zeros_like(mean), np.ones_like(scale)
        rounding = 10 * np.finfo(np.float64).eps * np.abs(mean)  # all the spread that a constant has
        self.target_mean_, self.target_scale_ = mean, np.where(scale > rounding, scale, 1.0)

    def _encode_target(self, y: np.ndarray) -> np.ndarray:
        if y.shape[1:] != np.shape(self.target_mean_):
            expected = ("n", *np.shape(self.target_mean_))
            raise DataError(f"y must have the shape {expected} of the fit, got {y.shape}.")
        return ((y - self.target_mean_) / self.target_scale_).reshape(len(y), -1)

    @property
    def _n_outputs(self) -> int:
        return np.size(self.target_mean_)

    def _decode(self, outputs: Tensor) -> Tensor:
        mean, scale = (torch.as_tensor(v).to(outputs) for v in (self.target_mean_, self.target_scale_))
        return (outputs if np.ndim(self.target_mean_) else outputs[..., 0]) * scale + mean

    def __sklearn_tags__(self) -> Any:
        """Several targets at once are welcome."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
