"""Second moments of the inputs of all linear layers, against those that hooks on pytorch_tabnet see."""

import pytest
import torch

import flatcausal.nn._gradient as gradient_module
from flatcausal.nn import backpropagate
from tests.nn.test_tabnet_parity import N_ROWS, SHAPES, inputs, pair
from tests.reference.pytorch_tabnet_weights import encoder


@pytest.fixture(autouse=True)
def exact_scale(monkeypatch):
    # The reference writes sqrt(0.5) in float32 whatever its dtype; here it is to be exact.
    monkeypatch.setattr(torch, "FloatTensor", torch.DoubleTensor)


class Listener:
    """Keeps what a network tells."""

    def __init__(self, wanted=True):
        self.wanted = wanted
        self.told = []

    def __call__(self, moments, n_rows):
        self.told.append((moments, n_rows))


def linears(network, reference):
    """The reference's linear layers by our names."""
    inner = encoder(reference)
    found = {"output": getattr(reference, "tabnet", reference).final_mapping}
    for t, transformer in enumerate([inner.initial_splitter, *inner.feat_transformers]):
        if t:
            found[f"attention.{t}"] = inner.att_transformers[t - 1].fc
        blocks = [getattr(b, "glu_layers", []) for b in (transformer.shared, transformer.specifics)]
        for layer, glu in zip(network._transformers[t], [g for b in blocks for g in b], strict=True):
            found[layer.weight] = glu.fc
    return found


def explicit(network, reference, X):
    """Sums of the outer products of all inputs that the reference's layers meet, by our names."""
    totals = {}

    def watch(name):
        def hook(layer, args, output):
            outer = torch.einsum("ni,nj->ij", args[0], args[0]).detach()
            totals[name] = totals.get(name, 0) + outer

        return hook

    # A shared layer is one module, wrapped anew for each step.
    handles = [fc.register_forward_hook(watch(name)) for name, fc in linears(network, reference).items()]
    reference.train()
    reference(X)
    for handle in handles:
        handle.remove()
    return totals


def losses(output, sparsity, members):
    return output.square().mean((1, 2)) - 1e-3 * sparsity


def by_forward(network, X):
    losses(*network(X), slice(None)).sum().backward()


def by_hand(network, X):
    backpropagate(network, X, losses)


def told_by(network, X, run):
    listener = network.input_observer = Listener()
    run(network, X)
    [(moments, n_rows)] = listener.told
    assert n_rows == X.shape[-2]
    return moments


def assert_moments(network, moments, references, X):
    weights = [block.name for block in network.layout if block.kind == "weight"]
    assert sorted(moments) == sorted(weights)
    for k, reference in enumerate(references):
        expected = explicit(network, reference, X if X.dim() == 2 else X[k])
        for name in weights:
            torch.testing.assert_close(moments[name][k], expected[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("run", [by_forward, by_hand])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n_rows", N_ROWS)
def test_moments_are_those_of_explicit_inputs(shape, n_rows, run):
    network, references = pair(shape, dtype=torch.float64)
    X = inputs(shape, n_rows, torch.float64)
    assert_moments(network, told_by(network, X, run), references, X)


@pytest.mark.parametrize("run", [by_forward, by_hand])
def test_moments_of_members_with_rows_of_their_own_in_groups(run, monkeypatch):
    monkeypatch.setattr(gradient_module, "_GROUP_ELEMENTS", 1)
    network, references = pair(SHAPES[0], n_members=5, dtype=torch.float64)
    X = torch.stack([inputs(SHAPES[0], 51, torch.float64, seed=k) for k in range(5)])
    assert_moments(network, told_by(network, X, run), references, X)


def test_a_member_has_the_same_bits_in_any_company():
    for n_rows in (21, 64):
        network, _ = pair(SHAPES[0], n_members=5)
        two, _ = pair(SHAPES[0], n_members=2)
        two.population.data.copy_(network.population.data[[3, 1]])
        X = inputs(SHAPES[0], n_rows)
        for run in (by_forward, by_hand):
            all_five, of_two = told_by(network, X, run), told_by(two, X, run)
            for name, moment in of_two.items():
                assert torch.equal(moment, all_five[name][[3, 1]])


@pytest.mark.parametrize("run", [by_forward, by_hand])
def test_looking_changes_no_bit_of_the_gradient(run):
    X = inputs(SHAPES[0], 40)
    gradients = []
    for listener in (None, Listener(), Listener(wanted=False)):
        network, _ = pair(SHAPES[0])
        network.input_observer = listener
        run(network, X)
        gradients.append(network.population.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_only_passes_that_are_differentiated_in_training_are_told():
    network, _ = pair(SHAPES[0])
    X = inputs(SHAPES[0], 40)
    listener = network.input_observer = Listener()
    with torch.no_grad():
        network(X)
    network.reestimate_statistics([X])
    network.predict(X)
    network.eval()
    network(X)
    assert listener.told == []
    network.train()
    listener.wanted = False
    network(X)
    by_hand(network, X)
    assert listener.told == []


def test_rows_of_a_batch_that_goes_through_in_parts_count_once(monkeypatch):
    monkeypatch.setattr(gradient_module, "_HELD_ELEMENTS", 1)
    network, references = pair(SHAPES[5], dtype=torch.float64)
    X = inputs(SHAPES[5], 200, torch.float64)
    assert_moments(network, told_by(network, X, by_hand), references, X)
