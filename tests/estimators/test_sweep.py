"""The sweep over ratios of learning rate to batch size."""

import numpy as np
import pytest

from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor, SyntheticDAGDataset
from flatcausal.estimators import lr_batch_sweep
from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim import GD, SAM, SGD


def regressor(**params):
    return FlatMinimaTabNetRegressor(**{"optimizer": "sgd", "virtual_batch_size": 16, **params})


def test_rates_are_ratio_times_batch_and_all_else_is_kept():
    base = regressor(max_epochs=7, weight_decay=0.1, random_state=3, lr=9.0)
    sweep = lr_batch_sweep(base, [1e-3, 1e-2], [16, 64])
    assert [(est.lr, est.batch_size) for est in sweep] == [
        (1e-3 * 16, 16),
        (1e-3 * 64, 64),
        (1e-2 * 16, 16),
        (1e-2 * 64, 64),
    ]
    for est in sweep:
        changed = {name for name, value in est.get_params().items() if value != base.get_params()[name]}
        assert changed == {"lr", "batch_size"}
    assert base.lr == 9.0


def test_clones_spend_the_same_row_gradients_and_normalise_over_the_same_rows():
    X, y = SyntheticDAGDataset(n_nodes=5, random_state=0).sample(256, return_X_y=True)
    sweep = lr_batch_sweep(regressor(max_epochs=2, random_state=0), [1e-3], [16, 32, 64])
    for est in sweep:
        est.fit(X, y)
    assert {est.n_gradient_evaluations_ * est.batch_size for est in sweep} == {2 * 256}
    assert {est.net_.module_.virtual_batch_size for est in sweep} == {16}
    rates = [est.net_.optimizer_.param_groups[0]["initial_lr"] for est in sweep]
    np.testing.assert_allclose(rates, [0.016, 0.032, 0.064], rtol=1e-12)


def test_takes_classifiers_and_recipes():
    base = FlatMinimaTabNetClassifier(optimizer=SAM(base=SGD(momentum=0.9)), virtual_batch_size=16)
    (only,) = lr_batch_sweep(base, [1e-3], [32])
    assert isinstance(only, FlatMinimaTabNetClassifier)
    assert only.optimizer.base.momentum == 0.9
    assert only.optimizer is not base.optimizer


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((regressor(), [0.0], [16]), ParameterError, "ratios must be finite and greater than 0"),
        ((regressor(), ["a"], [16]), ParameterTypeError, "ratios must be a number"),
        ((regressor(), [1e-3], [16.5]), ParameterTypeError, "batch_sizes must be an integer"),
        ((regressor(), [1e-3], [24]), ParameterError, "multiples of virtual_batch_size=16.*got 24"),
        ((regressor(clip_norm=1.0), [1e-3], [16]), ParameterError, "clip_norm must be None"),
        ((regressor(optimizer=GD()), [1e-3], [16]), ParameterError, "mini-batches"),
        (("sgd", [1e-3], [16]), ParameterTypeError, "estimator must be"),
    ],
)
def test_what_would_break_the_law_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        lr_batch_sweep(*arguments)
