"""From an estimator to a pytorch_tabnet model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from flatcausal._validation import check_integer
from flatcausal.estimators import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.interop._border import refuse_one_class, tab_model
from flatcausal.interop._weights import carry_by_constant, pairs

if TYPE_CHECKING:
    from pytorch_tabnet.tab_model import TabNetClassifier, TabNetRegressor


def to_pytorch_tabnet(
    estimator: FlatMinimaTabNetRegressor | FlatMinimaTabNetClassifier, member: int | None = None
) -> TabNetRegressor | TabNetClassifier:
    """Make a pytorch_tabnet model that predicts what a member of a fitted estimator predicts.

    The scale of the target is folded into the model's output. Its mean cannot be, for that output has no
    bias: where ``scale_target`` took a mean away, the model has one decision unit more, ``n_d + 1``, which is
    constant and carries it.

    Parameters
    ----------
    estimator : FlatMinimaTabNetRegressor or FlatMinimaTabNetClassifier
        A fitted estimator.
    member : int, optional
        Which member becomes the model; needed if there are several.

    Returns
    -------
    TabNetRegressor or TabNetClassifier
        As ``load_model`` would give it: without optimizer and history. It takes a float array, with codes
        in categorical columns, and has no embedding for an unseen category. ``feature_importances_`` are
        the member's importances.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ParameterTypeError
        If it is not an estimator of this package.
    ParameterError
        If ``member`` is missing or out of range, or the estimator knows one class only.
    ImportError
        If pytorch_tabnet is not installed.

    Examples
    --------
    Categories are coded by their place in ``categories_``:

    >>> import numpy as np
    >>> import pandas as pd
    >>> from flatcausal import FlatMinimaTabNetRegressor
    >>> from flatcausal.interop import to_pytorch_tabnet
    >>> X = pd.DataFrame({"dose": np.arange(60.0), "ward": pd.Categorical(["a", "b", "c"] * 20)})
    >>> est = FlatMinimaTabNetRegressor(max_epochs=2, random_state=0).fit(X, X["dose"])
    >>> model = to_pytorch_tabnet(est)
    >>> coded = X.copy()
    >>> for column, values in est.categories_.items():
    ...     coded.isetitem(column, pd.Categorical(X.iloc[:, column], categories=values).codes)
    >>> np.allclose(model.predict(coded.to_numpy(dtype=float))[:, 0], est.predict(X), rtol=1e-5)
    True
    """
    if not isinstance(estimator, (FlatMinimaTabNetRegressor, FlatMinimaTabNetClassifier)):
        raise ParameterTypeError(
            f"estimator must be a FlatMinimaTabNetRegressor or a FlatMinimaTabNetClassifier, "
            f"got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    network = estimator.net_.module_
    member = _chosen_member(member, network.n_members)
    mean, scale = np.zeros(1), np.ones(1)
    if isinstance(estimator, FlatMinimaTabNetClassifier):
        refuse_one_class(estimator.classes_)
    else:
        mean, scale = np.atleast_1d(estimator.target_mean_), np.atleast_1d(estimator.target_scale_)
    model = _new_model(estimator, extra_units=int(mean.any()))
    theirs = model.network
    with torch.no_grad():
        for module in theirs.modules():
            if isinstance(module, nn.Linear):  # what has no part in ours is to add nothing
                module.weight.zero_()
        for ours, tensor, part in pairs(network, member, theirs):
            tensor[part] = ours.to(tensor)
        output = theirs.tabnet.final_mapping.weight
        output.copy_(output.double() * torch.from_numpy(scale).to(output.device)[:, None])
        if mean.any():
            carry_by_constant(theirs, torch.from_numpy(mean))
    theirs.eval()
    model.feature_importances_ = estimator.member_importances_[member].copy()
    model.preds_mapper = None
    if isinstance(estimator, FlatMinimaTabNetClassifier):
        labels = estimator.classes_.tolist()
        model.classes_ = estimator.classes_.copy()
        model.preds_mapper = {str(code): label for code, label in enumerate(labels)}
        model.target_mapper = {label: code for code, label in enumerate(labels)}
    return model


def _chosen_member(member: int | None, n_members: int) -> int:
    if member is None and n_members > 1:
        raise ParameterError(
            f"member is needed, as the estimator has {n_members} and a pytorch_tabnet model is one network: "
            f"pass a number from 0 to {n_members - 1}."
        )
    return check_integer("member", 0 if member is None else member, low=0, high=n_members - 1)


def _new_model(estimator: Any, extra_units: int) -> Any:
    """A model with a network of the right shape and any weights; no random state is moved."""
    known = tab_model()
    network, sizes = estimator.net_.module_, estimator.net_.module_.embeddings.sizes
    is_classifier = isinstance(estimator, FlatMinimaTabNetClassifier)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        model = (known.TabNetClassifier if is_classifier else known.TabNetRegressor)(
            n_d=network.n_d + extra_units,
            n_a=network.n_a,
            n_steps=network.n_steps,
            gamma=network.gamma,
            cat_idxs=list(sizes),
            cat_dims=[n_categories for n_categories, _ in sizes.values()],
            cat_emb_dim=[dim for _, dim in sizes.values()],
            n_independent=network.n_independent,
            n_shared=network.n_shared,
            momentum=network.bn_momentum,
            mask_type=network.mask_type,
            lambda_sparse=estimator.lambda_sparse,
            clip_value=estimator.clip_norm,
            verbose=0,
            input_dim=network.n_features,
            output_dim=network.n_outputs,
            device_name=network.population.device.type,
        )
        model.virtual_batch_size = network.virtual_batch_size
        model._set_network()
    return model
