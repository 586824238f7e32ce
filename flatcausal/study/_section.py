"""A section of a design file: a frozen dataclass whose fields know their own check."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Self

from flatcausal._validation import check_choice, check_integer, check_real
from flatcausal.exceptions import DesignError


def checked(default: Any, check: Callable[[str, object], Any]) -> Any:
    """Declare a field with its default and ``check(name, value) -> value``."""
    return field(default=default, metadata={"check": check})


def integer(default: int, **limits: int) -> Any:
    """Declare an integer field."""
    return checked(default, partial(check_integer, **limits))


def real(default: float, **limits: Any) -> Any:
    """Declare a field that holds a finite number."""
    return checked(default, partial(check_real, **limits))


def choice(default: str, *choices: str) -> Any:
    """Declare a field that holds one of a few words."""
    return checked(default, partial(check_choice, choices=choices))


def optional(check: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    """Let None through a check."""
    return lambda name, value: None if value is None else check(name, value)


def check_text(name: str, value: object) -> str:
    """Return ``value`` if it is a string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise DesignError(f"{name} must be a text that is not empty, got {value!r}.")
    return value


def check_sequence(name: str, value: object, check: Callable[[str, object], Any]) -> tuple:
    """Return ``value`` as a tuple whose entries all passed ``check``; it may not be empty."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise DesignError(f"{name} must be a list, got {value!r}.")
    entries = tuple(check(f"{name}[{i}]", entry) for i, entry in enumerate(value))
    if not entries:
        raise DesignError(f"{name} must not be empty; leave the key out to get its default.")
    return entries


def check_mapping(name: str, value: object) -> Mapping:
    """Return ``value`` if it is a mapping (in TOML: a table)."""
    if not isinstance(value, Mapping):
        raise DesignError(f"{name} must be a table of keys, got {value!r}.")
    return value


def refuse_unknown(where: str, keys: Iterable[str], known: Iterable[str]) -> None:
    """Raise for the first key that is not known, and name the closest one that is."""
    known = list(known)
    for key in keys:
        if key not in known:
            raise DesignError(f"{where} has no key {key!r}; {closest(str(key), known)}")


def closest(word: str, known: Iterable[str]) -> str:
    """End a message about an unknown word: the closest known one, or all of them."""
    known = list(known)
    match = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known)}."


@dataclass(frozen=True)
class Section:
    """Base of all sections: checks every field, refuses unknown keys, turns into plain data."""

    SECTION: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for spec in fields(self):
            check = spec.metadata.get("check")
            if check is not None:
                value = check(f"{self.SECTION}.{spec.name}", getattr(self, spec.name))
                object.__setattr__(self, spec.name, value)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the section from a mapping of its keys."""
        check_mapping(cls.SECTION, values)
        refuse_unknown(f"[{cls.SECTION}]", values, [spec.name for spec in fields(cls)])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that ``from_dict`` and JSON understand."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
