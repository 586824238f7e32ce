"""Designs that ship with the package: one TOML file each, in the folder ``presets``."""

from __future__ import annotations

from importlib import resources

from flatcausal.exceptions import DesignError
from flatcausal.study._section import closest


def preset_names() -> list[str]:
    """Names of the designs that ship with flatcausal.

    Examples
    --------
    >>> from flatcausal.study import preset_names
    >>> preset_names()
    ['dlcausal', 'quick']
    """
    folder = resources.files("flatcausal.study") / "presets"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def preset_text(name: str) -> str:
    """Return the TOML text of a preset."""
    if name not in preset_names():
        raise DesignError(f"there is no preset {name!r}; {closest(name, preset_names())}")
    return (resources.files("flatcausal.study") / "presets" / f"{name}.toml").read_text("utf-8")
