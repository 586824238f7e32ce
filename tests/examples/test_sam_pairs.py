"""Pairs of runs of the example on SAM: alike but for SAM, and read where their losses are."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sharpness_with_and_without_sam import pairs
from sharpness_with_and_without_sam.images import load, split
from sharpness_with_and_without_sam.measures import MEASURES, Measure
from sharpness_with_and_without_sam.models import build
from sharpness_with_and_without_sam.pairs import HALF, LONG, SHORT, WITH, Pair, data_of, run_pair
from sharpness_with_and_without_sam.training import Schedule, train
from torch.utils.data import DataLoader, TensorDataset

from flatcausal.flatness import compare_at_matched_loss
from flatcausal.optim import SAM, SGD

PAIR = Pair("clean", "vgg3", "SGD", seed=0, n_epochs=5, batch_size=20, n_rows=20, rho=1.0)


@pytest.fixture(scope="module")
def images():
    return load("digits", 60)


@pytest.fixture(scope="module")
def records(images):
    before = torch.get_rng_state()
    found = run_pair(PAIR, images)
    assert torch.equal(before, torch.get_rng_state())
    return {(record["where"], record["run"]): record for record in found.records}


def test_a_pair_differs_by_sam_alone(records):
    ends = {("end", run) for run in (HALF, SHORT, LONG, WITH)}
    assert set(records) == ends | {(w, run) for w in ("matched", "annealed") for run in (SHORT, WITH)}
    without, with_sam, twice = (records["end", run] for run in (SHORT, WITH, LONG))
    assert len({run["start_hash"] for run in records.values()}) == 1
    assert without["batches_hash"] == with_sam["batches_hash"] != twice["batches_hash"]
    assert without["train_loss"] != with_sam["train_loss"]


def test_gradient_evaluations_are_counted(records):
    steps = 5 * (60 // 20)
    assert records["end", SHORT]["n_gradients"] == steps
    assert records["end", WITH]["n_gradients"] == records["end", LONG]["n_gradients"] == 2 * steps


def test_the_same_pair_gives_the_same_bits(records, images):
    torch.set_num_threads(2)
    try:
        again = run_pair(replace(PAIR, twice=False), images).records
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for record in again:
        if record["where"] != "annealed":  # which reads the longer run too
            assert record == records[record["where"], record["run"]]


def test_matched_values_are_those_of_all_checkpoints(records, images):
    """Only the checkpoints beside the level are measured; here, slowly, all of them are."""
    data = split(images, 0)
    measure, tracks = Measure(data, PAIR.n_rows, PAIR.seed), {}
    for label, recipe in {SHORT: SGD(momentum=0.9), WITH: SAM(rho=PAIR.rho, base=SGD(momentum=0.9))}.items():
        run = train(
            build("vgg3", images.shape, 10, 0), recipe, data.X, data.y, Schedule(0.05, 5e-4, 20, 0), 5
        )
        assert len(run.checkpoints) == 6
        states = [measure.all(run.at(i)) for i in range(6)]
        tracks[label] = {name: [state[name] for state in states] for name in MEASURES}
        tracks[label]["epochs"] = run.epochs
    assert records["matched", SHORT]["epochs"] < 4  # before its last stretch
    for name in ("epochs", "lambda_max", "adaptive_linf", "weight_norm", "test_accuracy"):
        slow = compare_at_matched_loss(tracks, name, loss="train_loss").set_index("run")
        for label in (SHORT, WITH):
            found = records["matched", label]
            assert found[name] == pytest.approx(slow.at[label, name], rel=1e-6)
            assert found["train_loss"] == pytest.approx(slow.at[label, "loss"], rel=1e-6)


def test_ended_runs_are_read_on_the_lines_between_their_ends(records):
    with_sam, read = records["annealed", WITH], records["annealed", SHORT]
    assert {name: with_sam[name] for name in MEASURES} == {n: records["end", WITH][n] for n in MEASURES}
    level = with_sam["train_loss"]
    assert read["train_loss"] == level
    ends = [records["end", run] for run in (HALF, SHORT, LONG)]
    after = next(i for i, end in enumerate(ends) if end["train_loss"] <= level)
    before, here = ends[after - 1], ends[after]
    share = (before["train_loss"] - level) / (before["train_loss"] - here["train_loss"])
    for name in ("epochs", "lambda_max", "test_accuracy"):
        assert read[name] == pytest.approx((1 - share) * before[name] + share * here[name])


def test_runs_without_a_common_loss_are_not_read():
    state = {"epochs": 1, **dict.fromkeys(MEASURES, 1.0)}
    tracks = {SHORT: [{**state, "train_loss": x} for x in (3.0, 2.0)], WITH: [{**state, "train_loss": 1.0}]}
    assert np.isnan(pairs._at_one_loss(tracks)[SHORT]["trace"])


@pytest.mark.parametrize("rho", [None, 0.05])
def test_training_is_what_a_plain_loop_does(images, rho):
    """Momentum, L2 penalty, a cosine to 0, and with rho a second gradient uphill; by hand."""
    data, start = split(images, 0), build("vgg3", images.shape, 10, 0)
    base = SGD(momentum=0.9)
    run = train(
        copy.deepcopy(start),
        base if rho is None else SAM(rho=rho, base=base),
        *(data.X, data.y),
        Schedule(0.05, 5e-4, 25, 7),
        n_epochs=3,
    )
    model, buffers, step = start.train(), {}, 0
    loader = DataLoader(
        TensorDataset(torch.tensor(data.X), torch.tensor(data.y)),
        batch_size=25,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(7),
    )
    named = dict(model.named_parameters())

    def gradients(x, y):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    for _ in range(3):
        for x, y in loader:
            slopes = gradients(x, y)
            if rho is not None:
                length = math.sqrt(sum(float(g.square().sum()) for g in slopes.values()))
                kept = {name: p.detach().clone() for name, p in named.items()}
                with torch.no_grad():
                    for name, p in named.items():
                        p += rho * slopes[name] / length
                slopes = gradients(x, y)
                with torch.no_grad():
                    for name, p in named.items():
                        p.copy_(kept[name])
            lr = 0.05 * (1 + math.cos(math.pi * step / 6)) / 2
            step += 1
            with torch.no_grad():
                for name, p in named.items():
                    buffers[name] = 0.9 * buffers.get(name, 0.0) + slopes[name] + 5e-4 * p
                    p -= lr * buffers[name]
    assert step == 6
    for name, p in run.module.named_parameters():
        torch.testing.assert_close(p, named[name], rtol=1e-4, atol=1e-6)
    # Running statistics move once a batch, SAM's second pass notwithstanding.
    assert {int(b) for name, b in run.module.named_buffers() if name.endswith("tracked")} == {6}


def test_the_training_loss_is_that_of_recalibrated_networks(images):
    data = split(images, 0)
    model = build("vgg3", images.shape, 10, 0)
    X, y = torch.tensor(data.X[:20]), torch.tensor(data.y[:20])
    twin = copy.deepcopy(model).double()
    for layer in twin.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    twin(X.double())
    expected = torch.nn.functional.cross_entropy(twin.eval()(X.double()), y).item()
    assert Measure(data, 20, 0).loss(model) == pytest.approx(expected, rel=1e-5)
    assert Measure(data, 20, 0).all(model)["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_labels_of_the_control_are_wrong_in_training_only(images):
    clean, noisy = (data_of(replace(PAIR, label_noise=share), images) for share in (0.0, 0.5))
    assert (clean.y != noisy.y).sum() == 30
    for name in ("X", "X_test", "y_test"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(noisy, name))


def test_a_run_that_diverges_is_a_record(monkeypatch, images):
    monkeypatch.setitem(pairs._BASES, "SGD", (SGD(), 1e30))
    found = run_pair(replace(PAIR, n_epochs=2, twice=False, resolution=3), images)
    assert {record["status"] for record in found.records} == {"diverged"}
    assert np.isnan([record["lambda_max"] for record in found.records]).all()
    assert found.surfaces == {}
