"""The checker finds nothing wrong with a measure that is right, and names what is wrong with the rest."""

from functools import partial

import pytest
import torch

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.testing import check_measure, measure_checks
from tests.testing import own_measures
from tests.testing.own_measures import Steep, WithoutKeywords

KEYWORDS = ("random_state", "n_rows", "batch_size", "bn", "dtype", "n_threads")
FAULTS = {
    "gives_a_number_for_each_member": {
        "GivesNoRecord": "returns ndarray without an attribute value",
        "GivesOneNumber": r"gives a value of shape \(\) for one model",
        "GivesWholeNumbers": "gives a value of dtype int64",
        "GivesGraphs": "fails gives_a_number_for_each_member: it raised RuntimeError: Can't call numpy",
    },
    "tells_models_apart": {"Blind": r"gives \[1.\] whatever the weights"},
    "repeats_itself": {
        "DrawsAnew": "gives two values for one random_state",
        "DrawsGlobally": "follows a global random state",
        "DrawsGloballyAndPutsBack": "follows a global random state",
    },
    "leaves_the_model_alone": {
        "WritesGradients": "changes gradient of 0.weight",
        "LeavesEvaluationMode": "changes training flag of the model, training flag",
        "MovesStatistics": "changes buffer 1.num_batches_tracked: measure a copy",
        "RebindsParameters": "changes parameter 0.weight",
        "Unfreezes": "changes requires_grad of 1.bias: measure",
        "LeavesAHook": "changes hooks of the model",
        "DrawsGlobally": "changes torch's global random state",
        "StandardisesRows": "changes the caller's X: measure a copy",
    },
    "leaves_it_alone_when_interrupted": {
        "MovesWeightsForAWhile": "changes parameter 0.weight, .* when the loss raises RuntimeError in call 1",
        "HidesErrors": "hides the error when the loss raises RuntimeError in call 1",
    },
    "sees_no_dropout": {"DropsOut": r"gives \[.*\] in training mode and \[.*\] in evaluation mode"},
    "keeps_to_its_threads": {
        "IgnoresItsThreads": r"computes with \[1\] threads at n_threads=2",
        "KeepsItsThreads": "changes torch's number of threads at n_threads=2",
    },
    "normalises_batches_as_it_is_told": {
        "NeverRecalibrates": r"gives \[.*\] at bn='frozen' and at bn='recalibrated', where",
        "TreatsBatchesInTrainingAsRecalibrated": r"gives \[.*\] at bn='recalibrated' and at bn='train'",
        "RecalibratesByTheFirstRows": r"gives \[.*\] at bn='recalibrated', and \[.*\] where running",
    },
    "does_not_depend_on_batches": {
        "WeighsBatchesAlike": r"gives \[.*\] at batch_size=7 and .*rows, the last"
    },
    "does_not_depend_on_the_order_of_rows": {"LooksAtTheFirstRowsMore": "gives .*in another order"},
    "takes_the_mean_over_rows": {"SumsOverRows": "gives .* for each row twice, .*take a mean over rows"},
    "takes_no_more_rows_than_it_may": {
        "TakesAllRows": "looks at 24 of 24 rows at n_rows=10, not at 10",
        "TakesOtherRowsEachTime": "looks at other rows in a second call at n_rows=10",
    },
    "computes_in_the_dtype_it_is_told": {"ConvertsTooLate": "gives .* for a float32 model at dtype"},
    "raises_at_numbers_that_are_not_finite": {
        "LetsNaNThrough": r"gives \[nan\] where a weight is NaN: raise a FloatingPointError",
        "RaisesSomethingElse": r"raises ValueError \(bad loss\) where a weight is NaN",
    },
    "measures_members_apart": {
        "MeasuresAllAsOne": r"gives a value of shape \(1,\) for 3 members",
        "GivesAllTheMean": "gives two members of other weights the same value",
        "DividesByTheNormOfAll": "gives a member .* beside another and .* beside two others; take norms",
        "DrawsFromOneGenerator": "gives a member .* beside another and .* beside two others",
    },
    "loses_sick_members_only": {
        "SickAlone": r"gives 0.0 for a member whose weights are NaN",
        "SpreadsSickness": "lets a member whose weights are NaN change the others",
    },
    "survives_rescaled_layers": {
        "InUnitsOfNothing": r"changes by a factor of \[.*\] where a layer before a ReLU is times 5",
        "Level": "is 0 before anything is rescaled at bn='frozen'",
    },
    "survives_rescaled_weights_before_normalisation": {
        "InUnitsOfNothing": r"changes by a factor of .* the weights before a BatchNorm .* at bn='frozen'",
        "RightForLayersOnly": r"changes by a factor of \[5.\] where the weights before a BatchNorm",
    },
}


def cases():
    return [(check, kind, text) for check, kinds in FAULTS.items() for kind, text in kinds.items()]


def checks_of(measure, **claims):
    return dict(measure_checks(measure, **claims))


@pytest.fixture(autouse=True)
def same_state():
    """Broken measures leave what the checks find."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", checks_of(Steep(), survives_rescaling=True))
def test_nothing_is_wrong_with_what_is_right(name):
    checks_of(Steep(), survives_rescaling=True)[name]()


@pytest.mark.parametrize(("name", "kind", "fault"), cases())
def test_a_fault_is_named(name, kind, fault):
    measure = getattr(own_measures, kind)()
    with pytest.raises(AssertionError, match=rf"^{kind} {fault}"):
        checks_of(measure, survives_rescaling=True)[name]()


def test_every_check_has_a_fault_that_it_finds():
    assert set(checks_of(Steep(), survives_rescaling=True)) == set(FAULTS)


@pytest.mark.parametrize("kind", ["WritesGradients", "SumsOverRows", "SpreadsSickness"])
def test_the_whole_contract_stops_at_a_fault(kind):
    texts = [text for kinds in FAULTS.values() for k, text in kinds.items() if k == kind]
    with pytest.raises(AssertionError, match="|".join(texts)):
        check_measure(getattr(own_measures, kind)())


def test_a_claim_that_is_not_made_is_not_checked():
    names = list(checks_of(Steep()))
    assert not any(name.startswith("survives") for name in names)
    check_measure(own_measures.InUnitsOfNothing())


def test_keywords_that_are_not_taken_are_never_passed():
    check_measure(WithoutKeywords(), survives_rescaling=True, without=KEYWORDS)
    left = set(checks_of(Steep())) - set(checks_of(Steep(), without=KEYWORDS))
    assert left == {
        "keeps_to_its_threads",
        "normalises_batches_as_it_is_told",
        "does_not_depend_on_batches",
        "takes_no_more_rows_than_it_may",
        "computes_in_the_dtype_it_is_told",
    }
    with pytest.raises(
        AssertionError, match=r"WithoutKeywords fails .*unexpected keyword argument 'random_state'"
    ):
        check_measure(WithoutKeywords())


def test_checks_are_left_out_by_name():
    check_measure(
        own_measures.SumsOverRows(), skip=["takes_the_mean_over_rows", "does_not_depend_on_batches"]
    )
    assert "repeats_itself" not in checks_of(Steep(), skip=["repeats_itself"])


def test_a_partial_function_is_called_by_its_name():
    def flat(model, X, y, **protocol):
        return None

    with pytest.raises(AssertionError, match=r"^flat returns NoneType without"):
        check_measure(partial(partial(flat, rho=1), m=2))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"measure": 3}, ParameterTypeError, "measure must be a function .*got 3"),
        ({"without": ["loss"]}, ParameterError, "without must be one of 'random_state', .*got 'loss'"),
        ({"skip": ["repeats"]}, ParameterError, "skip must be one of .*got 'repeats'"),
    ],
)
def test_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        check_measure(**{"measure": Steep(), **arguments})
