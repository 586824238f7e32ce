"""A nest of values taken apart into JSON and dense tensors, and put together again bit for bit.

None, bool, int, finite float, str and list stand for themselves in the JSON; anything else is an object
with one key, its tag. A dict is tagged as well, so that no key of a user's can be taken for a tag.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatcausal.exceptions import ParameterTypeError

# Held as they are, for other programs to read; what else has a fixed size is held as its bytes.
_PLAIN_TENSORS = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8),
        *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    }
)
_PLAIN_ARRAYS = frozenset("?bBhHiIlLqQefd")
_ARRAYS = _PLAIN_ARRAYS | set("FD")  # without long double, which differs between machines
_DTYPES = {
    str(dtype): dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
    and (dtype in _PLAIN_TENSORS or dtype.is_floating_point or dtype.is_complex)
}
_LABELS = (type(None), bool, int, float, str)


def pack(state: Mapping[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    """Take a nest apart into a tree for strict JSON and tensors by unique names."""
    packer = _Packer()
    return packer.node(dict(state), ()), packer.tensors


def unpack(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what :func:`pack` took apart; arrays and tensors are fresh copies."""
    match node:
        case list():
            return [unpack(item, tensors) for item in node]
        case {"tuple": items}:
            return tuple(unpack(item, tensors) for item in items)
        case {"dict": items}:
            return {key: unpack(value, tensors) for key, value in items}
        case {"float": digits}:
            return struct.unpack(">d", bytes.fromhex(digits))[0]
        case {"scalar": array}:
            return unpack(array, tensors)[()]
        case {"labels": [dtype, shape, items]}:
            return np.array(unpack(items, tensors), dtype=dtype).reshape(shape)
        case {"array": [name, dtype, shape]}:
            return tensors[name].numpy().view(dtype).reshape(shape).copy()
        case {"tensor": [name, dtype, shape]}:
            return tensors[name].view(_DTYPES[dtype]).reshape(shape).clone()  # aligned as torch aligns
        case dict():
            raise ValueError(f"unknown tag {', '.join(node)}")
    return node


class _Packer:
    """Walks a nest and collects copies of its tensors."""

    def __init__(self):
        self.tensors: dict[str, Tensor] = {}

    def node(self, value: Any, path: tuple[str | int, ...]) -> Any:
        """Turn the value at ``path`` into JSON; types are compared exactly, for subclasses hold more."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        if kind is list:
            return self._items(value, path)
        if kind is tuple:
            return {"tuple": self._items(value, path)}
        if kind in (dict, OrderedDict):
            return {"dict": [[_key(k, path), self.node(v, (*path, k))] for k, v in value.items()]}
        if kind in (np.ndarray, np.memmap):
            return self._array(value, path)
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), path)}
        if isinstance(value, Tensor):
            return self._tensor(value, path)
        raise _unsavable(path, f"a {kind.__module__}.{kind.__qualname__}")

    def _items(self, items: list | tuple, path: tuple[str | int, ...]) -> list[Any]:
        return [self.node(item, (*path, position)) for position, item in enumerate(items)]

    def _array(self, array: np.ndarray, path: tuple[str | int, ...]) -> dict[str, Any]:
        dtype = array.dtype
        about = [dtype.str, list(array.shape)]
        if dtype.kind in "UO":
            items = array.reshape(-1).tolist()
            for item in items:
                if type(item) not in _LABELS:
                    raise _unsavable(path, f"an array that holds a {type(item).__qualname__}")
            return {"labels": [*about, self._items(items, path)]}
        if dtype.char not in _ARRAYS:
            raise _unsavable(path, f"an array of dtype {dtype}")
        numbers = np.array(array, order="C")
        if not (dtype.char in _PLAIN_ARRAYS and dtype.isnative):
            numbers = numbers.reshape(-1).view(np.uint8)
        return {"array": [self._store(torch.from_numpy(numbers), path), *about]}

    def _tensor(self, tensor: Tensor, path: tuple[str | int, ...]) -> dict[str, Any]:
        is_dense = tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_meta)
        if not is_dense or str(tensor.dtype) not in _DTYPES:
            raise _unsavable(path, f"a tensor of dtype {tensor.dtype}, {tensor.layout}, on {tensor.device}")
        # A clone of its own, for safetensors refuses shared memory; it also resolves conjugate views.
        numbers = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        if tensor.dtype not in _PLAIN_TENSORS:
            numbers = numbers.reshape(-1).view(torch.uint8)
        return {"tensor": [self._store(numbers, path), str(tensor.dtype), list(tensor.shape)]}

    def _store(self, numbers: Tensor, path: tuple[str | int, ...]) -> str:
        name = "/".join(map(str, path)).encode("utf-8", "backslashreplace").decode()
        while name in self.tensors or name == "__metadata__":  # the format's own word
            name += "'"
        self.tensors[name] = numbers
        return name


def _key(key: Any, path: tuple[str | int, ...]) -> str | int:
    if type(key) in (str, int):
        return key
    raise ParameterTypeError(
        f"{_place(path)} has the key {key!r} of type {type(key).__qualname__}; use keys of type str or int."
    )


def _place(path: tuple[str | int, ...]) -> str:
    return "state" + "".join(f"[{key!r}]" for key in path)


def _unsavable(path: tuple[str | int, ...], what: str) -> ParameterTypeError:
    return ParameterTypeError(
        f"{_place(path)} is {what}, which cannot be saved; use None, numbers, text, dict, list, tuple, "
        "arrays of numbers or text, and dense tensors."
    )
