"""What the TabNet estimators share: from a table to a fitted population, and from there to predictions."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._threads import pinned_threads
from flatcausal._validation import check_boolean, check_choice, check_integer, check_real
from flatcausal.estimators._batches import Table
from flatcausal.estimators._categories import drop_unused, find_categories
from flatcausal.estimators._checkpoint import Checkpoint
from flatcausal.estimators._input import check_lengths, naming, read_features, read_weights
from flatcausal.estimators._mid_fit import MidFit
from flatcausal.estimators._net import LR_SCHEDULES, VALIDATION, PopulationNet
from flatcausal.estimators._persistence import PersistentPredictor
from flatcausal.estimators._predictor import mean_masks
from flatcausal.estimators._sklearn_callbacks import CallbackSupportMixin, with_callbacks
from flatcausal.estimators._split import hold_out
from flatcausal.estimators._training import EpochTasks, check_callbacks, train
from flatcausal.exceptions import DataError, ParameterError
from flatcausal.nn import TabNet
from flatcausal.optim import Recipe, get
from flatcausal.optim.averaging import AveragingRecipe
from flatcausal.optim.averaging import get as get_averaging

Self = TypeVar("Self", bound="PopulationEstimator")

NETWORK_PARAMETERS = (
    "n_d",
    "n_a",
    "n_steps",
    "gamma",
    "n_independent",
    "n_shared",
    "virtual_batch_size",
    "bn_momentum",
    "mask_type",
)


class PopulationEstimator(CallbackSupportMixin, PersistentPredictor):
    """Base of the estimators; a subclass says what a target is.

    Beside what ``PopulationPredictor`` asks for, it defines ``_learn_target`` and ``_n_outputs``.
    """

    _target_attributes: ClassVar[tuple[str, ...]]

    n_features_in_: int

    def __init__(
        self,
        *,
        optimizer: str | Recipe,
        lr: float | None,
        weight_decay: float,
        lr_schedule: str | None,
        clip_norm: float | None,
        averaging: str | AveragingRecipe | None,
        max_epochs: int,
        batch_size: int,
        virtual_batch_size: int,
        early_stopping: bool,
        validation_fraction: float,
        n_iter_no_change: int,
        n_members: int,
        n_threads: int,
        device: str | torch.device,
        random_state: RandomState,
        warm_start: bool,
        checkpoint_dir: str | Path | None,
        callbacks: Sequence[Any] | None,
        verbose: int,
        n_d: int,
        n_a: int,
        n_steps: int,
        gamma: float,
        n_independent: int,
        n_shared: int,
        lambda_sparse: float,
        bn_momentum: float,
        mask_type: str,
        categorical_features: Any,
        cat_emb_dim: int,
    ):
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.clip_norm = clip_norm
        self.averaging = averaging
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.virtual_batch_size = virtual_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.n_members = n_members
        self.n_threads = n_threads
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.checkpoint_dir = checkpoint_dir
        self.callbacks = callbacks
        self.verbose = verbose
        self.n_d = n_d
        self.n_a = n_a
        self.n_steps = n_steps
        self.gamma = gamma
        self.n_independent = n_independent
        self.n_shared = n_shared
        self.lambda_sparse = lambda_sparse
        self.bn_momentum = bn_momentum
        self.mask_type = mask_type
        self.categorical_features = categorical_features
        self.cat_emb_dim = cat_emb_dim

    def set_params(self: Self, **params: Any) -> Self:
        """Set parameters; those of a recipe given by name are reached by ``optimizer__`` as well."""
        for name, find in (("optimizer", get), ("averaging", get_averaging)):
            if any(key.startswith(f"{name}__") for key in params):
                params = {name: getattr(self, name), **params}
                params[name] = find(params[name])
        return super().set_params(**params)

    @with_callbacks
    def fit(self: Self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Finite numbers, and categories of any kind in categorical columns; a DataFrame's column names
            are kept.
        y : array-like of shape (n,) or, for a regressor, (n, n_targets)
            Target.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows' losses: not negative, not all zero. A row of weight zero counts as removed;
            the statistics that normalise hidden features do not know of weights.

        Returns
        -------
        FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
            The fitted estimator.

        Raises
        ------
        DataError
            If the data hold NaN or infinity, or have the wrong shape.
        ParameterError, ParameterTypeError
            If a parameter is out of its range.
        FloatingPointError
            If every member diverged; the estimator then stays as it was.
        """
        check_boolean("warm_start", self.warm_start)
        check_boolean("early_stopping", self.early_stopping)
        origin = self if self.warm_start and self.__sklearn_is_fitted__() else None
        trained, table = self._read(X, y, sample_weight, origin)
        seeds = seed_sequence(self.random_state)
        net = trained._make_net([seeds], origin)
        net.mid_fit_ = MidFit(trained, net, X, y)
        table, valid = trained._split(table, seeds)
        checkpoint = Checkpoint.of(self, net, table, valid)
        metadata = {} if sample_weight is None else {"metadata": {"sample_weight": sample_weight}}
        data = {"estimator": self, "X": X, "y": y, **metadata}
        task = self._init_callback_context(max_subtasks=net.max_epochs)
        task.call_on_fit_task_begin(**data)
        tasks = EpochTasks(task, data, lambda: trained._snapshot(net, table))
        with pinned_threads(check_integer("n_threads", self.n_threads, low=1)):
            train(net, table, valid, checkpoint, tasks)
            trained._conclude(net, table)
        trained._report_divergence()
        self._become(trained)
        task.call_on_fit_task_end(**data, reconstruction_attributes=self._fitted_attributes)
        if checkpoint is not None:
            checkpoint.remove()
        return self

    def _split(self, table: Table, seeds: np.random.SeedSequence) -> tuple[Table, Table | None]:
        """Rows to train on, and rows to judge by if the fit stops early or its average asks for them."""
        unit = {"low": 0.0, "high": 1.0, "open_low": True, "open_high": True}
        fraction = check_real("validation_fraction", self.validation_fraction, **unit)
        averaging = self._averaging()
        if self.early_stopping:
            asked_by = "early_stopping"
        elif averaging is not None and averaging.needs_validation:
            asked_by = f"averaging={self.averaging!r}"
        else:
            return table, None
        return hold_out(table, fraction, child(seeds, VALIDATION), is_classifier(self), asked_by)

    def _partial_fit(
        self: Self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, **learn: Any
    ) -> Self:
        if self.early_stopping:
            raise ParameterError("early_stopping=True needs whole fits: use fit, or early_stopping=False.")
        if self.averaging is not None:
            raise ParameterError(
                f"averaging={self.averaging!r} needs whole fits: use fit, or averaging=None."
            )
        origin = self if self.__sklearn_is_fitted__() else None
        trained, table = self._read(X, y, sample_weight, origin, **learn)
        # A net of its own: a failing call leaves the fitted one as it was.
        net = trained._make_net([seed_sequence(self.random_state)], origin)
        if origin is not None:
            net.continue_training(origin.net_)
        net.renew()
        net.mid_fit_ = MidFit(trained, net, X, y)
        with pinned_threads(check_integer("n_threads", self.n_threads, low=1)):
            net.train_epoch(net.batches(table))
            trained._conclude(net, table)
        trained._report_divergence()
        self._become(trained)
        return self

    def _read(
        self: Self,
        X: Any,
        y: Any,
        sample_weight: Any,
        origin: PersistentPredictor | None,
        **learn: Any,
    ) -> tuple[Self, Table]:
        """Training rows, and an estimator that knows how they were read: as ``origin`` does, if given."""
        trained = type(self)(**self.get_params(deep=False))  # a failing fit leaves self as it was
        if y is None:
            raise DataError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None."
            )
        if origin is None:
            with naming("X"):
                trained.categories_ = find_categories(X, self.categorical_features)
        else:
            known = ("n_features_in_", "feature_names_in_", "categories_", *self._target_attributes)
            vars(trained).update({name: value for name, value in vars(origin).items() if name in known})
        features = read_features(trained, X, trained.categories_, reset=origin is None, min_rows=2)
        y = trained._check_target(y)
        check_lengths(features, y)
        weight, rows = None, np.arange(len(features))
        if sample_weight is not None:
            weight = read_weights(sample_weight, len(features))
            rows = np.flatnonzero(weight)
            features, y, weight = features[rows], y[rows], weight[rows]
            if len(features) < 2:
                raise DataError("sample_weight leaves one row: give at least two rows a positive weight.")
        if origin is None:
            trained.categories_ = drop_unused(features, trained.categories_)
            trained._learn_target(y, weight, **learn)
        weight = trained._row_weights(y, weight)
        device = _device(self.device)
        return trained, Table(
            torch.from_numpy(features).to(device),
            _single(torch.from_numpy(trained._encode_target(y))).to(device),
            None if weight is None else torch.from_numpy(weight / weight.mean()).float().to(device),
            rows,
        )

    def _learn_target(self, y: np.ndarray, weight: np.ndarray | None, **learn: Any) -> None:
        """Take note of what the target is."""
        raise NotImplementedError

    @property
    def _n_outputs(self) -> int:
        """Outputs of the network."""
        raise NotImplementedError

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        return weight

    def _make_net(
        self, seeds: Sequence[np.random.SeedSequence], origin: PersistentPredictor | None = None
    ) -> PopulationNet:
        """An initialised net for the table that was read, with the weights of ``origin`` if given."""
        recipe = copy.deepcopy(get(self.optimizer))  # as it is now, whatever is set later
        n_members = check_integer("n_members", self.n_members, low=1)
        if self.lr_schedule is not None:
            check_choice("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        clip_norm = self.clip_norm
        if clip_norm is not None:
            clip_norm = check_real("clip_norm", clip_norm, low=0.0, open_low=True)
        patience = check_integer("n_iter_no_change", self.n_iter_no_change, low=1)
        verbose = int(self.verbose) if isinstance(self.verbose, (bool, np.bool_)) else self.verbose
        verbose = check_integer("verbose", verbose, low=0)
        dim = check_integer("cat_emb_dim", self.cat_emb_dim, low=1)
        network = {
            "n_features": self.n_features_in_,
            "n_outputs": self._n_outputs,
            "n_members": n_members * len(seeds),
            "embeddings": {column: (len(values), dim) for column, values in self.categories_.items()},
            **{name: getattr(self, name) for name in NETWORK_PARAMETERS},
        }
        net = PopulationNet(
            TabNet,
            criterion=self._criterion,
            recipe=recipe,
            seeds=seeds,
            lr=recipe.default_lr if self.lr is None else check_real("lr", self.lr, low=0.0),
            weight_decay=check_real("weight_decay", self.weight_decay, low=0.0),
            lr_schedule=self.lr_schedule,
            clip_norm=clip_norm,
            lambda_sparse=check_real("lambda_sparse", self.lambda_sparse, low=0.0),
            patience=patience if self.early_stopping else None,
            averaging=copy.deepcopy(self._averaging()),
            max_epochs=check_integer("max_epochs", self.max_epochs, low=1),
            batch_size=check_integer("batch_size", self.batch_size, low=2),
            device=_device(self.device),
            callbacks=check_callbacks(self.callbacks),
            verbose=verbose,
            **({} if verbose else {"callbacks__print_log": None}),
            **{f"module__{name}": value for name, value in network.items()},
        ).initialize()
        if origin is not None:
            net.adopt(origin.net_)
        return net

    def _averaging(self) -> AveragingRecipe | None:
        return None if self.averaging is None else get_averaging(self.averaging)

    def _home(self) -> torch.device:
        try:
            return _device(self.device)
        except ParameterError:  # a GPU that is not here, or a parameter set to nonsense since the fit
            return torch.device("cpu")

    def _conclude(self, net: PopulationNet, table: Table) -> None:
        """Take the fitted attributes from a trained net."""
        net.settle(table)
        diverged = net.monitor_.diverged.cpu().numpy()
        self.net_ = net
        self.diverged_ = diverged
        self.best_epoch_ = net.monitor_.kept_epoch(len(net.history)).cpu().numpy()
        importances = mean_masks(net.module_, table)
        self.member_importances_ = np.where(diverged[:, None], np.nan, importances)
        healthy = self.member_importances_ if diverged.all() else self.member_importances_[~diverged]
        self.causal_importances_ = healthy.mean(0)
        self.causal_importances_std_ = healthy.std(0)
        self.n_iter_ = len(net.history)
        self.n_gradient_evaluations_ = net.history.n_gradient_evaluations
        self.history_ = net.history.columns()

    def _report_divergence(self, stacklevel: int = 4) -> None:
        """Warn of members that diverged; ``stacklevel`` leads from here to who called the estimator."""
        monitor = self.net_.monitor_
        found = [
            f"member {k} in epoch {monitor.diverged_epoch[k]} at lr={monitor.diverged_lr[k]:.3g}"
            for k in np.flatnonzero(self.diverged_)
        ]
        if found and len(found) == len(self.diverged_):
            raise FloatingPointError(
                f"Every member diverged with {self.optimizer!r} ({found[0]}): lower lr, set clip_norm, or "
                f"scale columns of X and targets whose squares overflow."
            )
        if found:
            warnings.warn(
                f"{len(found)} of {len(self.diverged_)} members diverged and are left out of predictions: "
                f"{', '.join(found)}; lower lr or set clip_norm.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )

    def _snapshot(self, net: PopulationNet, table: Table) -> dict[str, Any] | None:
        """Fitted attributes as if the fit ended now, None without a healthy member; ``net`` is left alone."""
        twin = type(self)(**self.get_params(deep=False))
        vars(twin).update(vars(self))
        twin._conclude(net.twin(), table)
        return None if twin.diverged_.all() else twin._fitted_attributes()


def _device(device: str | torch.device) -> torch.device:
    """The device that a parameter names; ``"auto"`` is a GPU if there is one."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ParameterError(
            f"device must be 'auto', 'cpu', 'cuda' or a torch.device, got {device!r}."
        ) from error
    try:
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError) as error:  # the second is how torch says that it was built without
        raise ParameterError(
            f"device={device!r}, but torch finds no such device here: use 'auto' or 'cpu'."
        ) from error
    return found


def _single(target: Tensor) -> Tensor:
    return target.float() if target.is_floating_point() else target
