"""A run's table of labels is of that run's data set."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jomold_dist.errors import DataError
from jomold_dist.labels import MODALITIES, CategorySet
from jomold_dist.training.label_table import _schema, read_label_rows

CATEGORIES = CategorySet(("Dog", "Speech"))


def write(path: Path, category: str = "Dog") -> Path:
    numbers = {f"{modality}{what}": [0.5] for modality in MODALITIES for what in ("", "_logit", "_probit")}
    row = {"key": ["a"], "video": [0], "category": [category], "fold": [0], "verdict": ["both"], **numbers}
    pq.write_table(pa.table(row, schema=_schema("own")), path)
    return path


def test_a_table_is_read_with_the_data_set_that_it_is_of(tmp_path: Path) -> None:
    rows = read_label_rows(write(tmp_path / "labels.parquet"), CATEGORIES, "own")
    assert (rows.key.tolist(), rows.category.tolist(), rows.probability.tolist()) == ([b"a"], [0], [[0.5], [0.5]])


@pytest.mark.parametrize(("category", "digest"), [("Dog", "other"), ("Cat", "own")])
def test_a_table_of_another_data_set_is_refused_by_its_name(category: str, digest: str, tmp_path: Path) -> None:
    path = write(tmp_path / "labels.parquet", category)
    with pytest.raises(DataError, match=r"labels\.parquet cannot be used"):
        read_label_rows(path, CATEGORIES, digest)
