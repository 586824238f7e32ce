"""A data set as a document: its whole frozen state, as values that JSON holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from flatcausal.datasets._blueprint import Blueprint
from flatcausal.datasets._columns import Columns
from flatcausal.datasets._document_codec import Decoder, Encoder
from flatcausal.exceptions import DataError, ParameterTypeError

_FORMAT = "flatcausal.SyntheticDAGDataset"
#: Goes up when the fields of a stored type change their names or meaning.
VERSION = 1

_CONTENT = ("blueprint", "columns", "seed", "n_samples_drawn", "n_environments_drawn")


class Documented:
    """The part of a data set that writes it down and reads it back."""

    _blueprint: Blueprint
    _columns: Columns
    _root: np.random.SeedSequence
    _n_samples_drawn: int
    _n_environments_drawn: int
    _lay_out: Callable[[Blueprint, Columns, np.random.SeedSequence], None]

    def to_dict(self) -> dict[str, Any]:
        """Write the data set down: all weights, the names, and the seed of its samples.

        The document holds plain values only, so that ``json.dumps`` takes it, and each number comes back bit
        for bit. ``len(json.dumps(ds.to_dict())) / 20`` with 20 nodes is about 330 bytes a node if functions
        are linear, 1 kB by default and 3 kB with ``mechanisms="rff"`` (means of 10 models).

        Returns
        -------
        dict
            For :meth:`from_dict`.

        Examples
        --------
        >>> import json
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, random_state=0)
        >>> text = json.dumps(ds.to_dict())
        >>> again = SyntheticDAGDataset.from_dict(json.loads(text))
        >>> bool((again.sample(9, random_state=1).X == ds.sample(9, random_state=1).X).all())
        True
        """
        entropy = self._root.entropy
        words = [entropy] if isinstance(entropy, (int, np.integer)) else list(entropy or ())
        encoder = Encoder()
        content = {
            "blueprint": encoder.encode(self._blueprint),
            "columns": encoder.encode(self._columns),
            # Up to 128 bits, which not every reader of JSON keeps as a number.
            "seed": {
                "entropy": [str(int(word)) for word in words],
                "spawn_key": [str(key) for key in self._root.spawn_key],
            },
            "n_samples_drawn": self._n_samples_drawn,
            "n_environments_drawn": self._n_environments_drawn,
        }
        return {"format": _FORMAT, "version": VERSION, **content, "sha256": _digest(content)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read a data set that :meth:`to_dict` wrote: the same rows, environments, roles and names.

        Parameters
        ----------
        document : dict
            As ``to_dict`` returned it, or as it came back from JSON.

        Returns
        -------
        SyntheticDAGDataset
            Where the original stood: its next unseeded sample is the original's next.

        Raises
        ------
        ParameterTypeError
            If document is no dict.
        DataError
            If it is no such document, of another version, or changed since it was written.

        Examples
        --------
        >>> from flatcausal.datasets import SyntheticDAGDataset
        >>> ds = SyntheticDAGDataset(n_nodes=5, random_state=0)
        >>> SyntheticDAGDataset.from_dict(ds.to_dict()).roles_ == ds.roles_
        True
        """
        content = _check_document(document)
        decoder = Decoder()
        try:
            blueprint, columns = decoder.decode(content["blueprint"]), decoder.decode(content["columns"])
            words = [int(word) for word in content["seed"]["entropy"]]
            root = np.random.SeedSequence(
                words[0] if len(words) == 1 else words,
                spawn_key=tuple(int(key) for key in content["seed"]["spawn_key"]),
            )
            dataset = cls.__new__(cls)
            dataset._lay_out(blueprint, columns, root)
            dataset._n_samples_drawn = int(content["n_samples_drawn"])
            dataset._n_environments_drawn = int(content["n_environments_drawn"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"the document does not describe a data set ({error}); write it again with to_dict."
            ) from error
        return dataset


def _check_document(document: object) -> dict[str, Any]:
    """Return what the document holds, once it is known to be what was written."""
    if not isinstance(document, Mapping):
        raise ParameterTypeError(
            f"document must be a dict, as to_dict returns, got {type(document).__name__}; parse JSON first."
        )
    if document.get("format") != _FORMAT:
        raise DataError(
            f"document must have the format {_FORMAT!r}, got {document.get('format')!r}; "
            "pass what to_dict wrote."
        )
    if document.get("version") != VERSION:
        raise DataError(
            f"document has version {document.get('version')!r}, and this flatcausal reads version {VERSION}; "
            "read it with the flatcausal that wrote it."
        )
    missing = [name for name in (*_CONTENT, "sha256") if name not in document]
    if missing:
        raise DataError(f"the document lacks {missing[0]!r}; write it again with to_dict.")
    content = {name: document[name] for name in _CONTENT}
    if document["sha256"] != _digest(content):
        raise DataError("the document was changed since it was written: its sha256 differs; write it again.")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    """A hash of the values, whatever the order of keys, and whether 1.0 came back as 1."""
    try:
        text = json.dumps(_canonical(content), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the document holds what JSON does not ({error}); write it again with to_dict."
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(entry) for entry in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
