"""Features and labels from what others have packed: plain WebDataset tars, or tables (parquet, Arrow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from jomold_dist.data.packing.feature_sources import FeatureSource
from jomold_dist.data.packing.foreign_labels import member_labels, table_labels
from jomold_dist.data.packing.member_index import MemberIndex, index_tars
from jomold_dist.data.packing.table_features import ColumnName, table_sources
from jomold_dist.data.packing.table_files import Tables, matching_files, open_tables, table_columns
from jomold_dist.data.packing.tar_features import tar_sources
from jomold_dist.data.packing.video_labels import LabelSet
from jomold_dist.labels import CategorySet
from jomold_dist.watching import progress

SPLIT = "split"  # the column of splits, where none is named

Patterns = Sequence[tuple[str, str]]
"""Patterns of files, each with the split that they belong to, or ""."""


class ForeignSet(Protocol):
    """What others have packed, opened."""

    @property
    def sources(self) -> Mapping[str, FeatureSource]:
        """Where each feature is from."""

    def labels(self, categories: CategorySet | None, separator: str | None) -> LabelSet:
        """The labels that lie beside the features. DataError with every harmful defect."""


@dataclass(frozen=True)
class TarSet:
    """Tars with features in members, and maybe labels in others."""

    index: MemberIndex
    sources: Mapping[str, FeatureSource]
    label_ending: str

    def labels(self, categories: CategorySet | None, separator: str | None) -> LabelSet:
        """As the protocol says."""
        return member_labels(self.index, self.label_ending, categories, separator)


@dataclass(frozen=True)
class TableSet:
    """Tables with features in columns, and maybe labels and splits in others."""

    tables: Tables
    sources: Mapping[str, FeatureSource]
    label_column: str
    split_column: str | None

    def labels(self, categories: CategorySet | None, separator: str | None) -> LabelSet:
        """As the protocol says."""
        return table_labels(self.tables.files, self.label_column, self.split_column, categories, separator)


def open_tars(patterns: Patterns, features: Mapping[str, str], label_field: str | None) -> TarSet:
    """Tars, with the endings of the features' members and that of labels. DataError as `index_tars` has it."""
    endings = {name: ending.lower().removeprefix(".") for name, ending in features.items()}
    labels = (label_field or "").lower().removeprefix(".")
    tars = matching_files(patterns, "--tars")
    with progress("members of tars", len(tars), "tar") as more:
        index = index_tars(tars, [*endings.values(), *([labels] if labels else [])], more)
    return TarSet(index, tar_sources(index, endings), labels)


def open_table_set(
    patterns: Patterns,
    features: Mapping[str, str],
    segments: int,
    *,
    label_field: str | None = None,
    key: str | None = None,
    split: str | None = None,
) -> TableSet:
    """Tables, with the columns of features, labels, keys and splits. DataError as `open_tables` has it."""
    columns = {name: ColumnName.parse(text) for name, text in features.items()}
    others = [name for name in (label_field, split) if name]
    files = matching_files(patterns, "--table")
    if label_field and split is None and all(SPLIT in table_columns(path) for _, path in files):
        others.append(split := SPLIT)
    tables = open_tables(files, [*(column.name for column in columns.values()), *others], key)
    return TableSet(tables, table_sources(tables, columns, segments), label_field or "", split)
