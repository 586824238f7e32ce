"""The TabNet classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from flatcausal._random import RandomState
from flatcausal.estimators._base import PopulationEstimator
from flatcausal.estimators._input import read_labels
from flatcausal.estimators._losses import CrossEntropy
from flatcausal.exceptions import DataError, ParameterError
from flatcausal.optim import Recipe
from flatcausal.optim.averaging import AveragingRecipe


class FlatMinimaTabNetClassifier(ClassifierMixin, PopulationEstimator):
    """TabNet classification, trained by an optimizer of your choice.

    One fit trains ``n_members`` independent networks; probabilities and importances are means over them.

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
    class_weight : "balanced", dict of class to weight, or None, default=None
        Factors of the rows' weights, greater than 0, and 1 for a class that the dict leaves out;
        ``"balanced"`` gives every class the same total.

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
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
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
    >>> from sklearn.datasets import load_iris
    >>> from flatcausal import FlatMinimaTabNetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> est = FlatMinimaTabNetClassifier(batch_size=32, max_epochs=40, random_state=0).fit(X, y)
    >>> est.score(X, y) > 0.9
    True
    >>> est.predict_proba(X).shape
    (150, 3)
    """

    _criterion = CrossEntropy
    _target_attributes = ("classes_",)

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
        class_weight: Any = None,
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
        self.class_weight = class_weight

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> FlatMinimaTabNetClassifier:
        """Train for one epoch at the full learning rate; the first call draws the weights.

        Categories are those of the first call or fit, and the statistics that normalise hidden features
        those of the last: pass a few hundred rows or more.
        Parameters set since the last call hold; another ``optimizer`` or ``weight_decay`` begins anew.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : array-like of shape (n_classes,), optional
            All classes that any call will hold; those of the first ``y`` if None. Later calls ignore it.

        Returns
        -------
        FlatMinimaTabNetClassifier
            The fitted estimator.
        """
        return self._partial_fit(X, y, sample_weight, classes=classes)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the class of the largest mean probability.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of shape (n,)
            Entries of ``classes_``.
        """
        codes = self.predict_proba(X).argmax(1)
        return self.classes_[codes]

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the probability of each class: mean over members.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            In the order of ``classes_``; rows sum to one.
        """
        return self._mean_prediction(X)

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithm of :meth:`predict_proba`.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _check_target(self, y: Any) -> np.ndarray:
        return read_labels(y)

    def _learn_target(self, y: np.ndarray, weight: np.ndarray | None, classes: Any = None) -> None:
        self.classes_ = np.unique(y if classes is None else read_labels(classes, "classes"))

    def _encode_target(self, y: np.ndarray) -> np.ndarray:
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = self.classes_[codes] != y
        if unknown.any():
            strange = y[unknown].tolist()[0]
            raise DataError(
                f"y holds the class {strange!r}, which is none of {self.classes_.tolist()}: drop such rows, "
                f"or fit anew (partial_fit: name all classes in the first call)."
            )
        return codes

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return weight
        codes = self._encode_target(y)
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            factors = 1 / np.bincount(codes, weight)[codes]
        else:
            factors = self._class_factors()[codes]
        return factors if weight is None else weight * factors

    def _class_factors(self) -> np.ndarray:
        """Weights of the classes that ``class_weight`` tells."""
        try:
            factors = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_)
        except (ValueError, TypeError) as error:
            raise ParameterError(
                f"class_weight must be 'balanced' or map classes to weights, got {self.class_weight!r}: "
                f"{error}"
            ) from error
        if not (np.isfinite(factors) & (factors > 0)).all():
            raise ParameterError(
                f"class_weight must be finite and greater than 0, got {self.class_weight!r}: "
                f"drop the rows of a class that shall not count."
            )
        return factors

    @property
    def _n_outputs(self) -> int:
        return max(len(self.classes_), 2)

    def _decode(self, outputs: Tensor) -> Tensor:
        return outputs[..., : len(self.classes_)].softmax(-1)
