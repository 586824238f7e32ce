"""scikit-learn's own checks of an estimator, each a test."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from flatcausal import FlatMinimaTabNetClassifier, FlatMinimaTabNetRegressor

# The checks want short fits that score well, not this network.
SMALL = {"n_steps": 1, "n_shared": 1, "n_independent": 1, "batch_size": 32, "random_state": 0}
ESTIMATORS = [
    FlatMinimaTabNetRegressor(**SMALL, optimizer="adam", max_epochs=20),
    FlatMinimaTabNetRegressor(**SMALL, optimizer="sam", max_epochs=30, lr=0.3),
    FlatMinimaTabNetClassifier(**SMALL, optimizer="adam", max_epochs=20),
]
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "a row of weight two is one row of a mini-batch, a row "
    "that stands twice is two: order and normalising statistics differ; test_weights.py tests what holds"
}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=lambda estimator: EXPECTED, xfail_strict=True)
def test_conforms(estimator, check):
    check(estimator)
