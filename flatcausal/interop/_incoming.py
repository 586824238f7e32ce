"""From a pytorch_tabnet model to an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.exceptions import NotFittedError

from flatcausal.estimators import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.interop._border import refuse_one_class, tab_model
from flatcausal.interop._weights import pairs
from flatcausal.nn import TabNet

if TYPE_CHECKING:
    from pytorch_tabnet.tab_model import TabNetClassifier, TabNetRegressor


def from_pytorch_tabnet(
    model: TabNetRegressor | TabNetClassifier, X: ArrayLike | None = None
) -> FlatMinimaTabNetRegressor | FlatMinimaTabNetClassifier:
    """Take over a trained pytorch_tabnet model, for instance to measure its flatness.

    The estimator predicts what the model predicts, and holds a copy: the model stays as it is. Parameters
    of equal meaning are taken over: those of the network, ``lambda_sparse``, ``batch_size`` and
    ``clip_value`` (``clip_norm``). Others have their defaults: set them before you train on by
    ``partial_fit``. Embeddings of several widths make ``cat_emb_dim`` a list, with which it cannot train.
    Losses are squared error and cross-entropy, whatever ``loss_fn`` the model was trained with.

    Parameters
    ----------
    model : TabNetRegressor or TabNetClassifier
        A model that was fitted, or loaded by ``load_model``.
    X : array-like of shape (n, n_features), optional
        Rows whose mean explanation becomes ``causal_importances_``. Without it they are the model's own
        ``feature_importances_``, in which a row counts by the size of its decisions.

    Returns
    -------
    FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
        A fitted estimator of one member. Categorical columns keep their codes 0, 1, ...; a code that the
        model has no embedding for, an error there, counts as an unseen category here. ``history_`` holds
        the losses that the model recorded, none after ``load_model``; ``n_gradient_evaluations_`` is the
        number of batches that its normalisation has seen.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model has no weights yet.
    ParameterTypeError
        If it is not such a model, or one of several tasks.
    ParameterError
        If it uses what this TabNet lacks, ``grouped_features`` or ``gamma < 1``; if it knows one class only;
        or if it holds no importances and ``X`` is None.
    ImportError
        If pytorch_tabnet is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.flatness import sharpness
    >>> from flatcausal.interop import from_pytorch_tabnet, to_pytorch_tabnet
    >>> X = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    >>> model = to_pytorch_tabnet(FlatMinimaTabNetRegressor(max_epochs=2, random_state=0).fit(X, X[:, 0]))
    >>> est = from_pytorch_tabnet(model)
    >>> np.allclose(est.predict(X), model.predict(X)[:, 0], atol=1e-5)
    True
    >>> sharpness(est, X, X[:, 0]).value.shape
    (1,)
    """
    is_classifier = _is_classifier(model)
    if not hasattr(model, "network"):
        raise NotFittedError(f"This {type(model).__name__} is not fitted: call its fit or load_model first.")
    _refuse_unknown(model)
    theirs: Any = model.network
    shape, embeddings = _shape(theirs), _embedding_sizes(theirs)
    sizes = {"n_features": theirs.input_dim, "n_outputs": theirs.output_dim, "embeddings": embeddings}
    network = TabNet(**sizes, **shape)
    with torch.no_grad():
        for ours, tensor, part in pairs(network, 0, theirs):
            ours.copy_(tensor[part])
    parameters = _parameters(model, shape, embeddings)
    if is_classifier:
        estimator = FlatMinimaTabNetClassifier(**parameters)
    else:
        estimator = FlatMinimaTabNetRegressor(**parameters, scale_target=False)
    estimator._restore(
        {
            "attributes": {**_target(model, is_classifier), **_record(model), **_columns(theirs, embeddings)},
            "network": {**sizes, **shape, "n_members": 1},
            "weights": {name: tensor.numpy() for name, tensor in network.state_dict().items()},
        }
    )
    importances = _own_importances(model) if X is None else estimator.explain(X).mean(0, dtype=np.float64)
    estimator.member_importances_ = importances[None]
    estimator.causal_importances_ = importances
    estimator.causal_importances_std_ = np.zeros_like(importances)
    return estimator


def _is_classifier(model: Any) -> bool:
    known = tab_model()
    if not isinstance(model, (known.TabNetRegressor, known.TabNetClassifier)):
        raise ParameterTypeError(
            f"model must be a TabNetRegressor or a TabNetClassifier of pytorch_tabnet, "
            f"got {type(model).__name__}."
        )
    return isinstance(model, known.TabNetClassifier)


def _refuse_unknown(model: Any) -> None:
    if model.grouped_features:
        raise ParameterError(
            f"model has grouped_features={model.grouped_features!r}, which this TabNet lacks: "
            f"train it without groups."
        )


def _shape(theirs: Any) -> dict[str, Any]:
    # The network's own words: a model's attributes may have changed since, or been lost by load_model.
    encoder = theirs.tabnet.encoder
    names = ("n_d", "n_a", "n_steps", "gamma", "n_independent", "n_shared", "virtual_batch_size", "mask_type")
    momentum = encoder.att_transformers[0].bn.bn.momentum
    return {**{name: getattr(encoder, name) for name in names}, "bn_momentum": momentum}


def _embedding_sizes(theirs: Any) -> dict[int, tuple[int, int]]:
    embedder = theirs.embedder
    if embedder.skip_embedding:
        return {}
    columns = [j for j, is_continuous in enumerate(embedder.continuous_idx.tolist()) if not is_continuous]
    sizes = [(table.num_embeddings, table.embedding_dim) for table in embedder.embeddings]
    return dict(zip(columns, sizes, strict=True))


def _parameters(model: Any, shape: dict[str, Any], embeddings: dict[int, tuple[int, int]]) -> dict[str, Any]:
    dims = [dim for _, dim in embeddings.values()] or [1]
    return {
        **shape,
        "lambda_sparse": model.lambda_sparse,
        "batch_size": model.batch_size,
        "clip_norm": model.clip_value or None,
        "categorical_features": list(embeddings) or None,
        "cat_emb_dim": dims[0] if len(set(dims)) == 1 else dims,
    }


def _columns(theirs: Any, embeddings: dict[int, tuple[int, int]]) -> dict[str, Any]:
    categories = {column: np.arange(n_categories) for column, (n_categories, _) in embeddings.items()}
    return {"n_features_in_": theirs.input_dim, "categories_": categories}


def _target(model: Any, is_classifier: bool) -> dict[str, np.ndarray]:
    if is_classifier:  # load_model keeps preds_mapper alone
        classes = np.array([model.preds_mapper[str(code)] for code in range(len(model.preds_mapper))])
        refuse_one_class(classes)
        return {"classes_": classes}
    shape = () if model.network.output_dim == 1 else (model.network.output_dim,)
    return {"target_mean_": np.zeros(shape), "target_scale_": np.ones(shape)}


def _record(model: Any) -> dict[str, Any]:
    losses = np.array(model.history["loss"] if hasattr(model, "history") else [], dtype=np.float64)
    n_epochs = len(losses)
    history = {
        "epoch": np.arange(1, n_epochs + 1),
        "train_loss": losses,
        "member_train_loss": losses[:, None],
        "dur": np.full(n_epochs, np.nan),
    }
    return {
        "history_": history,
        "n_iter_": n_epochs,
        "best_epoch_": np.array([min(n_epochs, getattr(model, "best_epoch", n_epochs) + 1)]),
        "diverged_": np.array([False]),
        "n_gradient_evaluations_": int(model.network.tabnet.encoder.initial_bn.num_batches_tracked),
    }


def _own_importances(model: Any) -> np.ndarray:
    importances = np.asarray(getattr(model, "feature_importances_", np.nan), dtype=np.float64)
    if not np.isfinite(importances).all():
        raise ParameterError(
            "model holds no feature_importances_ (load_model and compute_importance=False leave them out): "
            "pass X, the rows to compute causal_importances_ on."
        )
    return importances / importances.sum()
