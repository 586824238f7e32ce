"""Frozen objects to plain values that JSON holds, and back, bit for bit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from flatcausal.datasets._assignments import Functional, LocationScale, Spread, Transformed, Unscaled
from flatcausal.datasets._blueprint import Blueprint
from flatcausal.datasets._categories import Categorised, NoisyLabel
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._distractors import Published, Shadow
from flatcausal.datasets._fourier import FourierFeatures
from flatcausal.datasets._functions import MLP, Linear, Polynomial, Tree
from flatcausal.datasets._mechanisms import Link, Mixture
from flatcausal.datasets._noise_laws import NoiseLaw
from flatcausal.datasets._published import Elementwise, Positive, UntrainedNet
from flatcausal.datasets._scm import StructuralModel
from flatcausal.exceptions import DataError

#: Every type that a data set is made of. A document may name no other: reading one runs no other code.
TYPES: dict[str, type] = {
    each.__name__: each
    for each in (
        Blueprint,
        Categorised,
        Columns,
        Elementwise,
        FourierFeatures,
        Functional,
        Linear,
        Link,
        LocationScale,
        MLP,
        Mixture,
        NoiseLaw,
        NoisyLabel,
        Polynomial,
        Positive,
        Published,
        Shadow,
        Spread,
        StructuralModel,
        Transformed,
        Tree,
        Unscaled,
        UntrainedNet,
    )
}

_DTYPES = ("float64", "int64")


class Encoder:
    """Writes each object once: where it occurs again, its number stands, counted as objects are completed."""

    def __init__(self) -> None:
        self._number: dict[int, int] = {}

    def encode(self, value: Any) -> Any:
        """Plain values of a frozen object, array, dict, sequence, number, string or None."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, (float, np.floating)):
            return float(value)
        if isinstance(value, (tuple, list)):
            return [self.encode(entry) for entry in value]
        if isinstance(value, dict):
            return {"type": "dict", "items": [[key, self.encode(entry)] for key, entry in value.items()]}
        if isinstance(value, np.ndarray):
            return {
                "type": "array",
                "dtype": value.dtype.name,
                "shape": list(value.shape),
                "values": value.ravel().tolist(),
            }
        return self._encode_object(value)

    def _encode_object(self, value: Any) -> dict[str, Any]:
        name = type(value).__name__
        if TYPES.get(name) is not type(value) or not is_dataclass(value):
            raise TypeError(f"{name} is not registered in TYPES, so a document cannot hold it.")
        if id(value) in self._number:
            return {"type": "again", "number": self._number[id(value)]}
        content = {entry.name: self.encode(getattr(value, entry.name)) for entry in fields(value)}
        self._number[id(value)] = len(self._number)
        return {"type": name, **content}


class Decoder:
    """Reads what :class:`Encoder` wrote, one object shared where it was shared."""

    def __init__(self) -> None:
        self._objects: list[Any] = []

    def decode(self, value: Any) -> Any:
        """The object again; sequences become tuples."""
        if isinstance(value, list):
            return tuple(self.decode(entry) for entry in value)
        if not isinstance(value, dict):
            return value
        content = dict(value)
        name = content.pop("type")
        if name == "dict":
            return {key: self.decode(entry) for key, entry in content["items"]}
        if name == "array":
            if content["dtype"] not in _DTYPES:
                raise DataError(f"the document has an array of the unknown dtype {content['dtype']!r}.")
            return np.array(content["values"], dtype=content["dtype"]).reshape(content["shape"])
        if name == "again":
            return self._objects[content["number"]]
        if name not in TYPES:
            raise DataError(
                f"the document holds the unknown type {name!r}; read it with the version of flatcausal that "
                "wrote it."
            )
        decoded = TYPES[name](**{key: self.decode(entry) for key, entry in content.items()})
        self._objects.append(decoded)
        return decoded
