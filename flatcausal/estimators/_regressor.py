"""The TabNet regressor."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping
from torch import Tensor, nn

from flatcausal._members import member_generators
from flatcausal._random import RandomState, child, seed_sequence
from flatcausal._threads import pinned_threads
from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.estimators._batches import RowBatches, Table
from flatcausal.estimators._input import read_table, read_target, read_training_data
from flatcausal.estimators._net import LR_SCHEDULES, PopulationNet
from flatcausal.nn import TabNet
from flatcausal.optim import Recipe, get

ROWS_PER_PASS = 4096  # of predictions: bounds memory


class FlatMinimaTabNetRegressor(RegressorMixin, BaseEstimator):
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
        L2 penalty.
    lr_schedule : {"cosine", "linear"} or None, default="cosine"
        How the learning rate falls to zero over the fit; constant if None.
    max_epochs : int, default=100
        Passes over the training rows; Entropy-SGD rounds each up to whole steps of ``L`` mini-batches.
    batch_size : int, default=256
        Rows of a mini-batch.
    virtual_batch_size : int, default=128
        Rows of a ghost batch, by which hidden features are normalised.
    n_members : int, default=1
        Independent networks K: own initial weights, own order of rows.
    n_threads : int, default=1
        Threads of torch during fit and predict; the setting around them comes back. The same number gives
        the same bits.
    device : str or torch.device, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState, Generator or None, default=None
        Source of initial weights, order and noise. No global random state is read or written.
    callbacks : list of skorch callbacks, optional
        Called during the fit.
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
    member_importances_ : ndarray of shape (n_members, n_features)
        Importances of each member; NaN for one that diverged.
    diverged_ : ndarray of bool, shape (n_members,)
        Members whose weights are not finite. Predictions and importances leave them out.
    net_ : PopulationNet
        The fitted skorch net.
    history_ : dict of ndarray
        ``epoch``, ``train_loss`` (penalised loss, mean over members) and ``dur`` (seconds).
    n_iter_ : int
        Epochs trained.
    n_gradient_evaluations_ : int
        Mini-batch gradients that a member took; a full-batch gradient counts as many as the data have
        mini-batches, so that one pass of ``gd`` and of ``sgd`` count the same.
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of str
        Their names, if X had string column names.

    References
    ----------
    S. O. Arik and T. Pfister, "TabNet: Attentive Interpretable Tabular Learning", AAAI 2021.

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

    def __init__(
        self,
        *,
        optimizer: str | Recipe = "sam",
        lr: float | None = None,
        weight_decay: float = 0.0,
        lr_schedule: str | None = "cosine",
        max_epochs: int = 100,
        batch_size: int = 256,
        virtual_batch_size: int = 128,
        n_members: int = 1,
        n_threads: int = 1,
        device: str | torch.device = "auto",
        random_state: RandomState = None,
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
        scale_target: bool = True,
    ):
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.virtual_batch_size = virtual_batch_size
        self.n_members = n_members
        self.n_threads = n_threads
        self.device = device
        self.random_state = random_state
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
        self.scale_target = scale_target

    def set_params(self, **params: Any) -> FlatMinimaTabNetRegressor:
        """Set parameters; those of a recipe given by name are reached by ``optimizer__`` as well."""
        nested = any(key.startswith("optimizer__") for key in params)
        if nested and "optimizer" not in params and isinstance(self.optimizer, str):
            self.optimizer = get(self.optimizer)
        return super().set_params(**params)

    def fit(self, X: ArrayLike, y: ArrayLike) -> FlatMinimaTabNetRegressor:
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Finite numbers; a DataFrame's column names are kept.
        y : array-like of shape (n,)
            Finite numbers.

        Returns
        -------
        FlatMinimaTabNetRegressor
            The fitted estimator.

        Raises
        ------
        DataError, ValueError
            If the data hold NaN or infinity, or have the wrong shape.
        ParameterError, ParameterTypeError
            If a parameter is out of its range.
        FloatingPointError
            If every member diverged; the estimator then stays as it was.
        """
        header = type(self)(**self.get_params(deep=False))  # a failing fit leaves self as it was
        X, y = read_training_data(header, X, y)
        mean, scale = (float(y.mean()), float(y.std()) or 1.0) if self.scale_target else (0.0, 1.0)
        seeds = seed_sequence(self.random_state)
        net = self._make_net(X.shape[1], seeds)
        device = net.device
        target = torch.from_numpy((y - mean) / scale).float().unsqueeze(1)
        table = Table(torch.from_numpy(X).to(device), target.to(device))
        with pinned_threads(check_integer("n_threads", self.n_threads, low=1)):
            net.initialize()
            # Not net.fit: skorch would swallow a keyboard interrupt and keep a half-trained net.
            net.notify("on_train_begin", X=table, y=None)
            try:
                net.fit_loop(table)
            except KeyboardInterrupt:
                if not _stopped_early(net):
                    raise
            net.notify("on_train_end", X=table, y=None)
            network = net.module_
            network.reestimate_statistics(rows for rows, _ in net.one_pass(table))
            network.eval()
            diverged = ~_finite_members(network)
            if diverged.all():
                raise FloatingPointError(
                    f"Every member diverged with {self.optimizer!r} at lr={net.lr}: "
                    f"lower lr, or standardise the columns of X."
                )
            importances = np.where(diverged[:, None], np.nan, _mean_masks(network, table.X))
        if diverged.any():
            warnings.warn(
                f"{diverged.sum()} of {len(diverged)} members diverged at lr={net.lr} and are left out "
                f"of predictions: lower lr.",
                ConvergenceWarning,
                stacklevel=2,
            )
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(header, name):
                setattr(self, name, getattr(header, name))
        self.net_ = net
        self.diverged_ = diverged
        self.target_mean_, self.target_scale_ = mean, scale
        self.member_importances_ = importances
        self.causal_importances_ = importances[~diverged].mean(0)
        self.causal_importances_std_ = importances[~diverged].std(0)
        self.n_iter_ = len(net.history)
        self.n_gradient_evaluations_ = net.n_gradient_evaluations_
        self._fit_params = copy.deepcopy({**self.get_params(deep=False), "callbacks": None})
        self.history_ = {
            key: np.array([row[key] for row in net.history]) for key in ("epoch", "train_loss", "dur")
        }
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the target: mean over members, float32 of shape (n,)."""
        return self.predict_members(X)[~self.diverged_].mean(0)

    def predict_members(self, X: ArrayLike) -> np.ndarray:
        """Predict the target by each member, float32 of shape (n_members, n)."""
        outputs = self._over_rows(X, lambda rows: self.net_.module_(rows)[0][..., 0])
        return (outputs * np.float64(self.target_scale_) + self.target_mean_).astype(np.float32)

    def explain(self, X: ArrayLike) -> np.ndarray:
        """How much each row's prediction attends to each input, float32 of shape (n, n_features).

        Rows sum to one. ``causal_importances_`` is the mean of these rows over the training data.
        """
        masks = self._over_rows(X, lambda rows: self.net_.module_.explain(rows).transpose(1, 2))
        return masks[~self.diverged_].mean(0).T

    @property
    def feature_importances_(self) -> np.ndarray:
        """``causal_importances_`` under the name that scikit-learn's selectors look for."""
        check_is_fitted(self)
        return self.causal_importances_

    def data_loss(self, X: ArrayLike, y: ArrayLike) -> Callable[[nn.Module], Tensor]:
        """Mean squared error of each member on (X, y) as a function of the network.

        The target is standardised as in training and the sparsity penalty is left out. The function takes
        ``net_.module_`` or a copy of it, of any dtype, and returns a tensor of shape (n_members,).
        """
        check_is_fitted(self)
        X, y = read_table(self, X), read_target(y)
        if y.shape != (len(X),):
            raise ValueError(f"y must have shape ({len(X)},) as X has {len(X)} rows, got {y.shape}.")
        inputs = torch.from_numpy(X)
        target = torch.from_numpy((y - self.target_mean_) / self.target_scale_)

        def loss(network: nn.Module) -> Tensor:
            like = next(network.parameters())
            output = network(inputs.to(like))[0][..., 0]
            return (output - target.to(like)).square().mean(1)

        return loss

    def _over_rows(self, X: ArrayLike, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Apply ``function`` to batches of rows and join its results along their last axis."""
        check_is_fitted(self)
        table = Table(torch.from_numpy(read_table(self, X)))
        with pinned_threads(self.n_threads), torch.no_grad():
            parts = [
                function(rows.to(self.net_.device)).cpu() for rows, _ in RowBatches(table, ROWS_PER_PASS)
            ]
        return torch.cat(parts, dim=-1).numpy()

    def _make_net(self, n_features: int, seeds: np.random.SeedSequence) -> PopulationNet:
        recipe = get(self.optimizer)
        n_members = check_integer("n_members", self.n_members, low=1)
        if self.lr_schedule is not None:
            check_choice("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        verbose = int(self.verbose) if isinstance(self.verbose, bool) else self.verbose
        verbose = check_integer("verbose", verbose, low=0)
        return PopulationNet(
            TabNet,
            recipe=recipe,
            lr=recipe.default_lr if self.lr is None else check_real("lr", self.lr, low=0.0),
            weight_decay=check_real("weight_decay", self.weight_decay, low=0.0),
            lr_schedule=self.lr_schedule,
            lambda_sparse=check_real("lambda_sparse", self.lambda_sparse, low=0.0),
            noise_seed=child(seeds, 2),
            max_epochs=check_integer("max_epochs", self.max_epochs, low=1),
            batch_size=check_integer("batch_size", self.batch_size, low=2),
            device=device,
            callbacks=None if self.callbacks is None else list(self.callbacks),
            verbose=verbose,
            **({} if verbose else {"callbacks__print_log": None}),
            iterator_train__generators=member_generators(child(seeds, 1), n_members),
            iterator_train__batches_per_step=recipe.batches_per_step,
            iterator_train__full_batch=recipe.full_batch,
            module__n_features=n_features,
            module__n_members=n_members,
            module__n_d=self.n_d,
            module__n_a=self.n_a,
            module__n_steps=self.n_steps,
            module__gamma=self.gamma,
            module__n_independent=self.n_independent,
            module__n_shared=self.n_shared,
            module__virtual_batch_size=self.virtual_batch_size,
            module__bn_momentum=self.bn_momentum,
            module__generators=member_generators(child(seeds, 0), n_members),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def __getstate__(self) -> dict[str, Any]:
        # Arrays and plain values only: no torch object, no optimizer state.
        state: dict[str, Any] = dict(super().__getstate__())  # pyright: ignore
        if "net_" in state:
            network = state.pop("net_").module_
            state["_weights"] = {
                name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            # From the parameters of the fit: they may have been set to others since.
            trained = type(self)(**self._fit_params)
            net = trained._make_net(state["n_features_in_"], np.random.SeedSequence(0)).initialize()
            net.module_.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
            net.module_.eval()
            self.net_ = net


def _stopped_early(net: PopulationNet) -> bool:
    """Whether a skorch callback ended the training: they, too, raise KeyboardInterrupt."""
    stops = [callback for _, callback in net.callbacks_ if isinstance(callback, EarlyStopping)]
    return any(callback.misses_ >= callback.patience for callback in stops)


def _finite_members(network: TabNet) -> np.ndarray:
    finite = network.population.isfinite().all(1) & network.statistics.isfinite().all(1)
    return finite.cpu().numpy()


@torch.no_grad()
def _mean_masks(network: TabNet, X: Tensor) -> np.ndarray:
    """Mean attention of each member over the rows, float64 of shape (K, p)."""
    total = torch.zeros(network.n_members, X.shape[1], dtype=torch.float64, device=X.device)
    for rows, _ in RowBatches(Table(X), ROWS_PER_PASS):
        total += network.explain(rows).sum(1, dtype=torch.float64)
    return (total / len(X)).cpu().numpy()
