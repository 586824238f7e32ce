"""Which feature each column behind a fitted transformer comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    PolynomialFeatures,
    SplineTransformer,
    TargetEncoder,
)

from flatcausal.exceptions import FeatureAlignmentError

_INDICATOR = "missingindicator_"  # the prefix of imputers' further columns


def trace(transformer: Any, n_features: int) -> list[int]:
    """Position of the source of each output column among the ``n_features`` columns that go in."""
    if transformer is None or transformer == "passthrough":
        return list(range(n_features))
    if transformer == "drop":
        return []
    if isinstance(transformer, Pipeline):
        return _through_steps([step for _, step in transformer.steps], n_features)
    if isinstance(transformer, ColumnTransformer):
        return _through_columns(transformer, n_features)
    if isinstance(transformer, FeatureUnion):
        parts = [step for _, step in transformer.transformer_list]
        return [source for part in parts for source in trace(part, n_features)]
    if hasattr(transformer, "get_support"):
        return [int(index) for index in np.flatnonzero(transformer.get_support())]
    widths = _widths(transformer, n_features)
    if widths is not None:
        return [feature for feature, width in enumerate(widths) for _ in range(width)]
    return _by_name(transformer, n_features)


def _through_steps(steps: list[Any], n_features: int) -> list[int]:
    sources = list(range(n_features))
    for step in steps:
        sources = [sources[index] for index in trace(step, len(sources))]
    return sources


def _through_columns(transformer: ColumnTransformer, n_features: int) -> list[int]:
    slices = transformer.output_indices_
    sources: dict[int, int] = {}
    for name, part, columns in transformer.transformers_:
        places = range(slices[name].start, slices[name].stop) if name in slices else range(0)
        if not places:  # dropped, or of no columns
            continue
        picked = _positions(columns, transformer, n_features)
        inner = trace(part, len(picked))
        _check_width(part, len(places), len(inner))
        sources.update(zip(places, (picked[index] for index in inner), strict=True))
    return [sources[place] for place in sorted(sources)]


def _positions(columns: Any, transformer: ColumnTransformer, n_features: int) -> list[int]:
    """Resolve a specification of columns: names, positions, slices of either, or a mask."""
    names: list[str] = list(getattr(transformer, "feature_names_in_", ()))
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):  # both ends belong to it
            start = None if columns.start is None else names.index(columns.start)
            stop = None if columns.stop is None else names.index(columns.stop) + 1
            columns = slice(start, stop, columns.step)
        return list(range(n_features))[columns]
    chosen = np.atleast_1d(np.asarray(columns))
    if chosen.dtype.kind in "biu":
        return [int(index) for index in np.arange(n_features)[chosen]]
    return [names.index(name) for name in chosen]


def _widths(transformer: Any, n_features: int) -> list[int] | None:
    """How many columns each feature becomes, where a transformer keeps features side by side."""
    if isinstance(transformer, OneHotEncoder):
        return _one_hot_widths(transformer)
    if isinstance(transformer, KBinsDiscretizer) and transformer.encode != "ordinal":
        return [int(n_bins) for n_bins in transformer.n_bins_]
    if isinstance(transformer, SplineTransformer):
        return [transformer.n_features_out_ // n_features] * n_features
    if isinstance(transformer, TargetEncoder) and transformer.target_type_ == "multiclass":
        classes: Any = transformer.classes_
        return [len(classes)] * n_features
    unchanged = isinstance(transformer, FunctionTransformer) and transformer.func is None
    if unchanged or isinstance(transformer, (OneToOneFeatureMixin, KBinsDiscretizer)):
        return [1] * n_features
    return None


def _one_hot_widths(encoder: Any) -> list[int]:
    # Infrequent categories share one column; the attribute exists only where they are asked for.
    rare = getattr(encoder, "infrequent_categories_", None) or [None] * len(encoder.categories_)
    dropped = [None] * len(encoder.categories_) if encoder.drop_idx_ is None else encoder.drop_idx_
    return [
        len(categories) - (0 if few is None else len(few) - 1) - (drop is not None)
        for categories, few, drop in zip(encoder.categories_, rare, dropped, strict=True)
    ]


def _by_name(transformer: Any, n_features: int) -> list[int]:
    kind = type(transformer).__name__
    if isinstance(transformer, (ClassNamePrefixFeaturesOutMixin, PolynomialFeatures)):
        raise FeatureAlignmentError(
            f"{kind} mixes columns, so that no importance behind it belongs to a single feature; "
            "score a pipeline whose steps keep features apart, or use importance='permutation'."
        )
    try:
        kept = [str(name) for name in transformer.get_feature_names_out()]
    except (AttributeError, ValueError) as error:
        raise FeatureAlignmentError(
            f"the columns behind {kind} cannot be traced to features ({error}); "
            "use transformers that implement get_feature_names_out, or importance='permutation'."
        ) from error
    names = getattr(transformer, "feature_names_in_", [f"x{index}" for index in range(n_features)])
    position = {str(name): index for index, name in enumerate(names)}
    sources = []
    for name in kept:
        source = position.get(name, position.get(name.removeprefix(_INDICATOR)))
        if source is None:
            raise FeatureAlignmentError(
                f"{kind} mixes columns: its output {name!r} is none of the features; score a pipeline "
                "whose steps keep features apart, or use importance='permutation'."
            )
        sources.append(source)
    return sources


def _check_width(transformer: Any, n_columns: int, n_traced: int) -> None:
    if n_columns != n_traced:
        raise FeatureAlignmentError(
            f"{type(transformer).__name__} puts out {n_columns} columns of which {n_traced} can be traced to "
            "features; use importance='permutation'."
        )
