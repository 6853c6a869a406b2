"""Scores as text."""

from __future__ import annotations

from jomold_dist.tables import category_table, spread


def test_a_category_that_is_nowhere_has_a_dash_and_no_score() -> None:
    table = category_table({"segment_audio": {"Dog": None, "Car": 0.0}}, {"audio": {"Dog": 0, "Car": 12}})
    assert table.splitlines()[2:] == [
        "| Dog      |             0 |             - |",
        "| Car      |            12 |           0.0 |",
    ]


def test_spread_of_none_one_and_several() -> None:
    assert (spread([]), spread([1.25], 2), spread([1.0, 3.0])) == ("-", "1.25", "2.0 ± 1.4")
