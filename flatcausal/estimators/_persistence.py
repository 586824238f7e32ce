"""Fitted estimators as files: pickles without torch objects, and files of weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from flatcausal.estimators._files import read_state, write_state
from flatcausal.estimators._history import MemberHistory
from flatcausal.estimators._net import PopulationNet
from flatcausal.estimators._predictor import PopulationPredictor
from flatcausal.exceptions import ParameterError, WeightsError
from flatcausal.nn import TabNet

Self = TypeVar("Self", bound="PersistentPredictor")


class PersistentPredictor(PopulationPredictor):
    """The part of the estimators that writes and reads files."""

    history_: dict[str, np.ndarray]
    n_gradient_evaluations_: int

    def _make_net(
        self, seeds: Sequence[np.random.SeedSequence], origin: PersistentPredictor | None = None
    ) -> PopulationNet:
        """An initialised net that can train, with the weights of ``origin`` if given."""
        raise NotImplementedError

    def save_weights(self, path: str | Path, *, optimizer_state: bool = False) -> None:
        """Write the fitted model to a file that no loading can execute.

        The file is in the safetensors format and holds a version stamp and a SHA-256 of all it says.
        Parameters of the estimator are not part of it.

        Parameters
        ----------
        path : str or Path
            The file; one that exists is replaced in one step.
        optimizer_state : bool, default=False
            Keep what the optimizer has gathered as well, so that ``partial_fit`` goes on as if never saved.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there is nothing to save.
        ParameterError
            If the optimizer's state is asked for and was not kept by the file that the model came from.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        state = self._fitted_state()
        if optimizer_state:
            if self.net_.recipe is None:
                raise ParameterError(
                    "optimizer_state=True, but this model holds none, as it was read from a file or fitted "
                    "together with others: call partial_fit first, or save without it."
                )
            state["training"] = self.net_.training_state()
        write_state(path, {"class": type(self).__name__, **state}, kind="model")

    def load_weights(self: Self, path: str | Path) -> Self:
        """Take over the model of a file that :meth:`save_weights` wrote.

        Parameters
        ----------
        path : str or Path
            The file. Nothing in it is executed.

        Returns
        -------
        FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
            The estimator, fitted as the saved one was; its own parameters stay.

        Raises
        ------
        WeightsError
            If the file is damaged, of another class, or from a newer version.
        ParameterError
            If the file holds an optimizer's state, and this estimator's optimizer or network is another.
        FileNotFoundError
            If there is no file.
        """
        state = read_state(path, kind="model")
        if state["class"] != type(self).__name__:
            raise WeightsError(f"{path} holds a {state['class']}: load it with that class.")
        trained = type(self)(**self.get_params(deep=False))
        trained._restore(state)
        if "training" in state:
            trained.net_ = trained._make_net([np.random.SeedSequence(0)], trained)
            saved, ours = state["training"]["method"], trained.net_.method
            if saved != ours:
                raise ParameterError(
                    f"{path} holds the optimizer state of {saved}: set optimizer and weight_decay so, "
                    f"got {ours}."
                )
            trained.net_.load_training_state(state["training"])
            trained.net_.module_.eval()
        self._become(trained)
        return self

    def _fitted_state(self) -> dict[str, Any]:
        """The fit in arrays and plain values: no torch object, no optimizer state."""
        attributes = self._fitted_attributes()
        net = attributes.pop("net_")
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in net.module_.state_dict().items()}
        return {
            "version": version("flatcausal"),
            "attributes": attributes,
            "network": net.get_params_for("module"),
            "weights": weights,
        }

    def _home(self) -> torch.device:
        """Where a loaded net lives: on the device of the parameters if it is here."""
        raise NotImplementedError

    def _restore(self, state: dict[str, Any]) -> None:
        vars(self).update(state["attributes"])
        net = PopulationNet(
            TabNet,
            criterion=self._criterion,
            device=self._home(),
            callbacks__print_log=None,
            **{f"module__{name}": value for name, value in state["network"].items()},
        ).initialize()
        weights = {name: torch.from_numpy(np.array(values)) for name, values in state["weights"].items()}
        net.module_.load_state_dict(weights)
        net.module_.eval()
        net.history = MemberHistory.from_columns(self.history_, self.n_gradient_evaluations_)
        self.net_ = net

    def __getstate__(self) -> dict[str, Any]:
        """Return parameters and the fit, without the net itself."""
        state: Any = super().__getstate__()
        if "net_" not in state:
            return state
        fitted = self._fitted_state()
        return {
            **{k: v for k, v in state.items() if k not in (*fitted["attributes"], "net_")},
            "_fitted": fitted,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the net from its arrays."""
        state = dict(state)
        fitted = state.pop("_fitted", None)
        # A parameter that is younger than the pickle has its default.
        parameters = signature(type(self)).parameters.items()
        defaults = {name: p.default for name, p in parameters if p.default is not p.empty}
        super().__setstate__({**defaults, **state})
        if fitted is None:
            return
        if fitted["version"] != version("flatcausal"):
            warnings.warn(
                f"This {type(self).__name__} was pickled by flatcausal {fitted['version']} and is read by "
                f"{version('flatcausal')}: compare its predictions, or fit it again.",
                UserWarning,
                stacklevel=2,
            )
        self._restore(fitted)
