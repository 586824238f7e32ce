"""Every error that flatcausal raises on purpose; each class says what to mend."""

from __future__ import annotations


class FlatCausalError(Exception):
    """Root of all errors that flatcausal raises on purpose."""


class ParameterError(FlatCausalError, ValueError):
    """An argument has a value that it cannot have: pass another value."""


class ParameterTypeError(FlatCausalError, TypeError):
    """An argument is of a type that it cannot be: pass another object."""


class DataError(FlatCausalError, ValueError):
    """The data cannot be used as they are: mend the table."""


class FeatureAlignmentError(DataError):
    """Features do not match by name or number: pass the same columns."""


class GraphError(FlatCausalError, ValueError):
    """The graph is not a directed acyclic graph on the named nodes: mend the graph."""


class DesignError(FlatCausalError, ValueError):
    """A study's design cannot be carried out as written: mend the design."""


class StoreError(FlatCausalError, OSError):
    """A study's store cannot be used: choose another file or address."""


class WeightsError(FlatCausalError, OSError):
    """A file of weights cannot be used: choose another path, or save the model anew."""
