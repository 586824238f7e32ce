"""Files of state: exact round trips, refused damage, and writes that leave nothing half done."""

import json
import math
import os
import re
import resource
import signal
import struct
import threading
from collections import OrderedDict
from enum import IntEnum

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from flatcausal.estimators import _files
from flatcausal.estimators._files import read_state, write_state
from flatcausal.exceptions import ParameterTypeError, WeightsError
from flatcausal.optim import SAM, Adam, EntropySGD, Momentum

STATE = {"epoch": 3, "weights": torch.arange(4.0), "classes": np.array(["no", "yes"]), "best": math.nan}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def exact(value):
    """A nest as plain values that are equal only if the nests are: types, dtypes, shapes and bits."""
    kind = type(value)
    if kind is dict:
        return kind, [(type(k), k, exact(v)) for k, v in value.items()]
    if kind in (list, tuple):
        return kind, [exact(item) for item in value]
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is np.ndarray and value.dtype == object:
        return kind, value.shape, [exact(item) for item in value.reshape(-1).tolist()]
    if isinstance(value, (np.ndarray, np.number, np.bool_)):
        return kind, value.dtype.str, value.shape, value.tobytes()
    if kind is torch.Tensor:
        tensor = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return kind, value.dtype, value.shape, bytes(tensor.view(torch.uint8).tolist())
    return kind, str(value) if kind is np.str_ else value  # str() drops trailing NULs, as NumPy's arrays do


def round_trip(path, state, kind="checkpoint"):
    write_state(path, state, kind=kind)
    return read_state(path, kind=kind)


# Round trips

TEXT = st.text(st.characters(exclude_categories=[]), max_size=6)  # lone surrogates and NUL as well
FLOATS = st.floats() | st.binary(min_size=8, max_size=8).map(lambda bits: struct.unpack("<d", bits)[0])
PLAIN = st.none() | st.booleans() | st.integers() | FLOATS | TEXT
NUMBER_DTYPES = (
    npst.boolean_dtypes()
    | npst.integer_dtypes(endianness="?")
    | npst.unsigned_integer_dtypes(endianness="?")
    | npst.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | npst.complex_number_dtypes(endianness="?", sizes=(64, 128))
)
SHAPES = npst.array_shapes(min_dims=0, min_side=0, max_side=3)
TORCH_DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]


@st.composite
def arrays_of_bits(draw):
    dtype, shape = draw(NUMBER_DTYPES), draw(SHAPES)
    n_bytes = math.prod(shape) * dtype.itemsize
    bits = np.frombuffer(draw(st.binary(min_size=n_bytes, max_size=n_bytes)), np.uint8)
    return (bits % 2 if dtype.kind == "b" else bits).view(dtype).reshape(shape)


@st.composite
def arrays_of_labels(draw):
    shape = draw(SHAPES)
    n = math.prod(shape)
    if draw(st.booleans()):
        items = draw(st.lists(TEXT, min_size=n, max_size=n))
        return np.array(items, dtype=f"<U{draw(st.integers(1, 8))}").reshape(shape)
    array = np.empty(n, dtype=object)
    array[:] = draw(st.lists(PLAIN, min_size=n, max_size=n))
    return array.reshape(shape)


@st.composite
def tensors(draw):
    dtype, shape = draw(st.sampled_from(TORCH_DTYPES)), draw(SHAPES)
    n_bytes = math.prod(shape) * dtype.itemsize
    bits = torch.tensor(list(draw(st.binary(min_size=n_bytes, max_size=n_bytes))), dtype=torch.uint8)
    tensor = (bits % 2 if dtype == torch.bool else bits).view(dtype).reshape(shape)
    return tensor.mT if tensor.dim() > 1 and draw(st.booleans()) else tensor


def inner(children):
    keys = TEXT | st.integers()
    return (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(keys, children, max_size=3)
    )


SCALARS = arrays_of_bits().filter(lambda array: array.size).map(lambda array: array.reshape(-1)[0])
LEAVES = PLAIN | arrays_of_bits() | arrays_of_labels() | tensors() | SCALARS | TEXT.map(np.str_)
STATES = st.dictionaries(TEXT, st.recursive(LEAVES, inner, max_leaves=8), max_size=4)


@settings(max_examples=100)
@given(state=STATES)
def test_random_nests_come_back_bit_for_bit(state, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "nest"
    assert exact(round_trip(path, state)) == exact(state)


def test_keys_that_look_alike_stay_apart(path):
    state = {
        "a": {"b": torch.tensor(1), 0: torch.tensor(2), "0": torch.tensor(3)},
        "a/b": torch.tensor(4),
        "a/b'": torch.tensor(5),
        "__metadata__": torch.tensor(6),
        "": torch.tensor(7),
        "tensor": ["tensor"],
        "dict": {"tuple": {"float": "nan"}},
        "\ud800": torch.tensor(8),
        "\\ud800": torch.tensor(9),
        '"flatcausal":"{\\"sha256\\":\\"': np.array('"flatcausal":"{\\"sha256\\":\\"' + "0" * 64),
    }
    assert exact(round_trip(path, state)) == exact(state)


def test_values_that_are_easily_mistaken(path):
    nans = [struct.unpack(">d", bytes.fromhex(bits))[0] for bits in ("7ff8000000000abc", "fff8000000000000")]
    state = {
        "floats": [*nans, math.inf, -math.inf, -0.0, 0.0, 1.0, 5e-324],
        "not floats": [0, 1, True, False, None, 2**200],
        "text": [np.str_("a"), "a\0"],
        "numbers": [np.float64(1), np.float32("nan"), np.bool_(True), np.uint64(2**64 - 1)],
        "empty": [[], (), {}, "", torch.empty(0, 3, dtype=torch.complex128), np.empty((2, 0), ">f4")],
        "labels": np.array(["a", None, math.nan, 1, True], dtype=object),
        "wide": np.array(["a", "bc"], dtype="<U7"),
    }
    assert exact(round_trip(path, state)) == exact(state)


def test_tensors_come_back_detached_contiguous_and_unshared(path):
    base = torch.arange(6.0, requires_grad=True)
    state = {
        "whole": base,
        "rows": base.reshape(2, 3).T,
        "every second": base[::2],
        "expanded": base[:1].expand(4),
        "parameter": torch.nn.Parameter(base.detach()),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "negative": torch.tensor([1 + 2j]).conj().imag,
        "generator": torch.Generator().manual_seed(3).get_state(),
    }
    back = round_trip(path, state)
    for name, tensor in state.items():
        assert type(back[name]) is torch.Tensor
        assert torch.equal(back[name], tensor.detach()), name
        assert back[name].is_contiguous()
        assert not back[name].requires_grad
        assert not back[name].is_conj()
        assert back[name].data_ptr() % 64 == 0, "kernels may round otherwise on memory not aligned as torch's"
    assert len({tensor.untyped_storage().data_ptr() for tensor in back.values()}) == len(state)
    back["whole"].zero_()
    assert torch.equal(base.detach(), torch.arange(6.0))


def test_arrays_come_back_writable_and_owned(path):
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    state = {
        "frozen": frozen,
        "view": frozen.T,
        "constant": np.broadcast_to(1, (2, 2)),
        "text": np.array("a"),
    }
    for name, array in round_trip(path, state).items():
        np.testing.assert_array_equal(array, state[name])
        assert array.flags.writeable, name
        assert array.base is None or name == "text"


def test_memory_maps_and_ordered_dicts_come_back_as_what_they_hold(tmp_path, path):
    numbers = np.memmap(tmp_path / "numbers", dtype=np.float32, mode="w+", shape=(3,))
    numbers[:] = [1, 2, 3]
    state = {"numbers": numbers, "layers": torch.nn.BatchNorm1d(2).state_dict()}
    back = round_trip(path, state)
    assert type(back["numbers"]) is np.ndarray
    np.testing.assert_array_equal(back["numbers"], numbers)
    assert isinstance(state["layers"], OrderedDict)
    assert exact(back["layers"]) == exact(dict(state["layers"]))


def test_other_programs_read_the_tensors(path):
    write_state(path, {"net": {"weights": torch.arange(3.0), "count": np.int16(4)}}, kind="model")
    tensors = load_file(path)
    assert torch.equal(tensors["net/weights"], torch.arange(3.0))
    assert tensors["net/count"] == torch.tensor(4, dtype=torch.int16)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["flatcausal"])
    assert (about["format"], about["kind"]) == (1, "model")


def test_equal_states_give_equal_bytes(tmp_path):
    for name in "ab":
        write_state(tmp_path / name, STATE, kind="model")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# Optimizers go on as if never interrupted

RECIPES = {
    "adam": Adam(),
    "momentum": Momentum(),
    "nesterov": Momentum(nesterov=True),
    "sam over adam": SAM(base=Adam()),
    "sam over momentum": SAM(rho=0.2, base=Momentum()),
    "entropy_sgd": EntropySGD(L=3, noise=0.1),
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_optimizer_goes_on_bitwise(path, name):
    def build(weights, random_state):
        return RECIPES[name].build([weights], lr=0.05, n_members=3, random_state=random_state)

    def step(weights, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = ((weights - 1).cosh() * torch.arange(1, 5)).sum()
            loss.backward()
            return loss

        optimizer.step(closure)

    weights = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
    optimizer = build(weights, 0)
    for _ in range(2):
        step(weights, optimizer)
    state = {"weights": weights, "optimizer": optimizer.state_dict()}
    back = round_trip(path, state)
    assert exact(back["optimizer"]) == exact(state["optimizer"])
    resumed = back["weights"].requires_grad_()
    fresh = build(resumed, 1)
    fresh.load_state_dict(back["optimizer"])
    for _ in range(3):
        step(weights, optimizer)
        step(resumed, fresh)
        assert torch.equal(weights, resumed)


# What cannot be saved


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("state", "fragment"),
    [
        ({"a": [0, {"b": {1, 2}}]}, "state['a'][1]['b'] is a builtins.set,"),
        ({"a": b"x"}, "state['a'] is a builtins.bytes"),
        ({"a": 1j}, "builtins.complex"),
        ({"a": Colour.RED}, "Colour"),
        ({"a": torch.Size([2])}, "torch.Size"),
        ({"a": torch.float32}, "torch.dtype"),
        ({"a": torch.Generator()}, "torch._C.Generator"),
        ({"a": {3: {(1, 2): 4}}}, "state['a'][3] has the key (1, 2) of type tuple"),
        ({"a": {True: 4}}, "state['a'] has the key True of type bool"),
        ({"a": {np.int64(1): 4}}, "of type int64"),
        ({"a": np.array(["2020"], dtype="M8[D]")}, "state['a'] is an array of dtype datetime64[D]"),
        ({"a": np.datetime64("2020")}, "dtype datetime64[Y]"),
        ({"a": np.array([b"x"])}, "dtype |S1"),
        ({"a": np.ones(1, np.longdouble)}, "state['a'] is an array of dtype"),
        ({"a": np.ma.array([1], mask=[True])}, "MaskedArray"),
        ({"a": np.array(["x", object()])}, "state['a'] is an array that holds a object"),
        ({"a": torch.eye(2).to_sparse()}, "state['a'] is a tensor of dtype torch.float32, torch.sparse_coo"),
        ({"a": torch.empty(2, device="meta")}, "on meta"),
        ({"a": torch.empty(2, dtype=torch.int4)}, "torch.int4"),
    ],
)
def test_anything_else_is_refused_by_its_place(path, state, fragment):
    with pytest.raises(ParameterTypeError, match=re.escape(fragment)):
        write_state(path, state, kind="model")
    assert not path.exists()


# Damage


def refused(path, data, kind="model"):
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        read_state(path, kind=kind)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    return message


def test_every_flipped_bit_of_a_small_file_is_refused(path):
    write_state(path, {"a": torch.tensor([1.5]), "b": True}, kind="model")
    data = path.read_bytes()
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        message = refused(path, flipped)
        assert "is damaged: its SHA-256" in message or position >= 64, "also where the header's length stands"


def test_flipped_bits_of_a_larger_file_are_refused(path):
    rng = np.random.default_rng(0)
    numbers = {f"layer {i}": torch.from_numpy(rng.normal(size=(40, 50))) for i in range(5)}
    write_state(path, {**STATE, **numbers}, kind="model")
    data = path.read_bytes()
    header_end = 8 + int.from_bytes(data[:8], "little")
    for position in rng.integers(8 * len(data), size=200):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        message = refused(path, flipped)
        assert "is damaged: its SHA-256" in message or position < 8 * header_end


def test_every_truncation_and_any_appendix_is_refused(path):
    write_state(path, STATE, kind="model")
    data = path.read_bytes()
    for length in range(len(data)):
        refused(path, data[:length])
    assert "is damaged" in refused(path, data[:-1])
    assert "is damaged" in refused(path, data + b"\0")
    assert "is empty" in refused(path, b"")


def test_foreign_files_are_refused(path):
    foreign = {"weights": torch.ones(2)}
    assert "not written by flatcausal" in refused(path, save(foreign))
    assert "not written by flatcausal" in refused(path, save(foreign, {"flatcausal": "yes"}))
    assert "not written by flatcausal" in refused(path, b"PK\x03\x04 not at all")
    write_state(path, STATE, kind="model")
    save_file(load_file(path), path, {"format": "pt"})
    with pytest.raises(WeightsError, match="not written by flatcausal"):
        read_state(path, kind="model")


def test_another_kind_is_refused(path):
    write_state(path, STATE, kind="checkpoint")
    message = refused(path, path.read_bytes(), kind="model")
    assert message == f"{path} holds a checkpoint, not a model; pass a file with a model."


def test_a_later_format_is_refused(path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(_files, "FORMAT_VERSION", 2)
        write_state(path, STATE, kind="model")
    message = refused(path, path.read_bytes())
    assert re.search(r"by flatcausal \d\S* in format 2, .* formats up to 1; upgrade flatcausal\.$", message)


FORGERIES = [
    {"tensor": ["a", "load", [1]]},
    {"tensor": ["a", "torch.hub", [1]]},
    {"tensor": ["b", "torch.float32", [1]]},
    {"tensor": ["a", "torch.float32", [10**18]]},
    {"array": ["a", "O", [1]]},
    {"array": ["a", "<f4", [2]]},
    {"scalar": {"object": "os.system"}},
    {"labels": ["<U3", [3], ["x"]]},
    {"float": "7ff8"},
    {"object": "os.system"},
    {"dict": [["a"]]},
    {"dict": [[["a"], 1]]},
    {},
]


@pytest.mark.parametrize("forged", FORGERIES, ids=str)
def test_a_forged_file_with_a_true_seal_is_refused(path, forged):
    state = {"dict": [["x", forged]]}
    about = {"sha256": "0" * 64, "format": 1, "version": "0.1.0", "kind": "model", "state": state}
    text = json.dumps(about, separators=(",", ":"))
    data = save({"a": torch.zeros(1)}, {"flatcausal": text})
    start, stop = _files._seal_place(data)
    sealed = data[:start] + _files._seal(data, start, stop) + data[stop:]
    assert "was not written by flatcausal (" in refused(path, sealed)


# Reading and writing go wrong


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
        read_state(path, kind="model")


def test_a_folder_can_neither_be_read_nor_written(tmp_path):
    for refused_by in (lambda: read_state(tmp_path, kind="m"), lambda: write_state(tmp_path, {}, kind="m")):
        with pytest.raises(WeightsError, match=re.escape(str(tmp_path))):
            refused_by()
    assert list(tmp_path.parent.glob(".*.part")) == []


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "nowhere" / "model"
    with pytest.raises(WeightsError, match=re.escape(f"{path} cannot be written: No such file")):
        write_state(path, STATE, kind="model")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path):
    write_state(path, {"old": 1}, kind="model")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # writing beyond fails as on a full disk
        with pytest.raises(WeightsError, match=re.escape(f"{path} cannot be written: File too large")):
            write_state(path, {"new": torch.zeros(10_000)}, kind="model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert read_state(path, kind="model") == {"old": 1}
    assert os.listdir(path.parent) == [path.name]


def test_a_state_too_large_for_the_format_is_refused(path):
    with pytest.raises(WeightsError, match=r"header too large; keep less in the state\.$"):
        write_state(path, {"text": "\0" * 14_300_000}, kind="model")
    assert not path.exists()


def test_what_is_no_file_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(WeightsError, match=re.escape(f"{path} is not a regular file")):
        write_state(path, STATE, kind="model")
    assert path.is_fifo()


def test_a_link_goes_on_pointing_to_its_file(tmp_path, path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    write_state(link, STATE, kind="model")
    assert link.is_symlink()
    assert exact(read_state(path, kind="model")) == exact(STATE)


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path, path):
    write_state(path, STATE, kind="model")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_reader_sees_whole_files_while_they_are_replaced(path):
    def write(i):
        write_state(path, {"a": torch.full((50_000,), float(i)), "i": i}, kind="model")

    write(0)
    writer = threading.Thread(target=lambda: [write(i) for i in range(1, 60)])
    writer.start()
    seen = set()
    while writer.is_alive():
        state = read_state(path, kind="model")
        assert torch.equal(state["a"], torch.full((50_000,), float(state["i"])))
        seen.add(state["i"])
    writer.join()
    assert len(seen) > 3
