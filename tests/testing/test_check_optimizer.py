"""The checker finds nothing wrong with what is right, and names what is wrong with the rest."""

import pytest

from flatcausal.exceptions import ParameterError, ParameterTypeError
from flatcausal.optim import SAM, SGD, AdamW
from flatcausal.testing import check_optimizer, optimizer_checks
from tests.testing import own_optimizers
from tests.testing.own_optimizers import Own

FAULTS = {
    "trains_a_sequential": {"Uphill": "trains a small network to a loss of"},
    "takes_bare_tensors": {"OtherPathForTensors": "trains bare tensors otherwise than the module"},
    "takes_parameter_groups": {
        "FirstGroupOnly": "goes elsewhere when its parameters are split into two groups",
        "OneRateForAll": "moves a parameter group whose learning rate is 0",
    },
    "takes_the_promised_gradients": {"Miscounting": "has gradients_per_step=2, but a step took 1"},
    "returns_its_first_loss": {
        "Silent": r"returns None from step\(closure\)",
        "SaysTheLossUphill": "returns [0-9.]+ from a step whose first loss was",
    },
    "moves_running_statistics_once": {
        "MovesStatisticsTwice": "moves BatchNorm's running statistics 2 times in a step, not once",
        "MovesStatisticsUphill": "moves BatchNorm's running_mean to other values than its first pass",
        "LeavesFrozen": "leaves BatchNorm's statistics frozen after its step",
    },
    "says_whether_it_needs_a_closure": {
        "DeniesItsClosure": "fails says_whether_it_needs_a_closure: it raised TypeError: step needs",
        "ClaimsAClosure": r"has needs_closure, but step\(\) raises no TypeError",
        "Curt": "does not say that step needs a closure, but: No",
    },
    "gives_weights_back_when_interrupted": {
        "StaysUphill": "leaves other weights than those of the last completed step when its closure raises "
        "RuntimeError in pass 2 of 2",
        "FreezesForGood": "leaves BatchNorm's statistics frozen when its closure raises RuntimeError",
        "HidesErrors": "hides the error when its closure raises KeyboardInterrupt in pass 1 of 1",
    },
    "stands_still_without_a_slope": {"DividesByZero": "makes NaN of weights whose gradient is zero"},
    "keeps_weights_in_place": {
        "DriftsByRounding": "moves weights at a learning rate of 0",
        "RebindsStorage": "puts weights into other storage",
    },
    "survives_bad_gradients": {"RaisesOnNaN": "raises FloatingPointError.* where a gradient is nan"},
    "leaves_unused_parameters_alone": {
        "NeedsAllGradients": "fails leaves_unused_parameters_alone: it raised TypeError",
        "DecaysUnused": "moves parameters that have no gradient",
    },
    "resumes_bitwise": {"Forgetful": "goes elsewhere after load_state_dict than without a break"},
    "goes_on_after_pickle": {
        "CannotBePickled": "fails goes_on_after_pickle: it raised AttributeError",
        "CopiesItsWrappedStep": "fails goes_on_after_pickle: it raised PicklingError",
    },
    "goes_on_after_deepcopy": {
        "CopiesHalf": "goes elsewhere after deepcopy",
        "CopiesItsWrappedStep": "goes elsewhere after deepcopy",
    },
    "follows_a_scheduler": {
        "RemembersItsRate": "does not follow a learning-rate scheduler",
        "HoldsOldGroups": "loses its learning-rate scheduler in load_state_dict",
    },
    "repeats_itself": {
        "DrawsGlobally": "draws from a global random state",
        "DrawsAnew": "gives two paths for one random_state",
    },
    "goes_alone_as_in_company": {"GlobalNorm": "leads a member .* away from where it goes alone"},
    "keeps_sick_members_apart": {
        "SkipsForAll": "lets a member whose gradient is nan change the others",
        "MasksByMultiplying": "lets a member whose gradient is nan change the others",
    },
    "takes_members_in_any_company": {
        "OneGeneratorForAll": "lets a member of 5 weights depend on its neighbours or its place"
    },
    "takes_tabnets_in_any_company": {
        "GlobalNorm": "lets a member of a TabNet depend on its neighbours or its place"
    },
}
OF_RECIPES = {
    "takes_bare_tensors": {
        "TakesWhatItRefuses": "has needs_layers, but build takes bare tensors without a TypeError",
        "RefusesWhatItTakes": "fails takes_bare_tensors: it raised TypeError: a module is needed",
    },
    "is_left_as_it_was": {
        "Changing": "is changed by building or training",
        "Converting": "cannot be copied by scikit-learn's clone",
    },
    "trains_as_SGD(momentum=0.4)_at_Own()": {
        "WrongLimit": r"limiting_cases that Own\(\) trains as SGD\(momentum=0.4\) does, but it does not"
    },
}


def cases(faults):
    return [(check, kind, text) for check, kinds in faults.items() for kind, text in kinds.items()]


@pytest.mark.parametrize("kind", ["Plain", "Climbing"])
def test_nothing_is_wrong_with_what_is_right(kind):
    check_optimizer(Own(kind))


@pytest.mark.parametrize(("name", "kind", "fault"), cases(FAULTS))
def test_a_fault_is_named(name, kind, fault):
    with pytest.raises(AssertionError, match=rf"^Own\(kind='{kind}'\) {fault}"):
        dict(optimizer_checks(Own(kind)))[name]()


@pytest.mark.parametrize(("name", "kind", "fault"), cases(OF_RECIPES))
def test_a_fault_of_the_recipe_is_named(name, kind, fault):
    with pytest.raises(AssertionError, match=rf"^{kind}\(.*\) .*{fault}"):
        dict(optimizer_checks(getattr(own_optimizers, kind)()))[name]()


@pytest.mark.parametrize("kind", ["Uphill", "StaysUphill", "Forgetful", "GlobalNorm"])
def test_the_whole_contract_stops_at_a_fault(kind):
    texts = [text for kinds in FAULTS.values() for k, text in kinds.items() if k == kind]
    with pytest.raises(AssertionError, match="|".join(texts)):
        check_optimizer(Own(kind))


def test_every_check_has_a_fault_that_it_finds():
    every = {name for name, _ in optimizer_checks(Own())}
    assert every - set(FAULTS) - set(OF_RECIPES) == {"descends_a_convex_bowl"}  # which Uphill fails as well


def test_limits_that_hold_are_checked_and_pass():
    checks = dict(optimizer_checks(own_optimizers.RightLimit()))
    checks["trains_as_SGD(momentum=0.5)_at_Own()"]()


def test_checks_have_names_of_their_own_and_include_the_limits():
    names = [name for name, _ in optimizer_checks(SAM())]
    assert len(set(names)) == len(names)
    assert "trains_as_SGD()_at_SAM(rho=0.0)" in names
    assert [n for n, _ in optimizer_checks(AdamW())][-1] == "trains_as_Adam()_at_AdamW()"
    assert [n for n, _ in optimizer_checks("sgd")] == [n for n, _ in optimizer_checks(SGD())]


def test_only_recipes_and_their_names_are_checked():
    with pytest.raises(ParameterError, match="'sma'"):
        check_optimizer("sma")
    with pytest.raises(ParameterTypeError, match="recipe"):
        check_optimizer(object())
