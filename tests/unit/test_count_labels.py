"""tools/count_labels.py: the table of a folder of label files, and the tables that the package has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path
from statistics import mean
from typing import Any

import count_labels
import numpy as np
import pytest

from jomold_dist.data.packing.lfav_labels import read_lfav
from jomold_dist.errors import DataError
from tests.unit.test_lfav_labels import REAL, lfav, needs_lfav
from tests.unit.test_vggsounder_labels import vggsounder

ROOT = Path(__file__).resolve().parents[2]


def packaged(name: str) -> dict[str, Any]:
    text = resources.files("jomold_dist.simulation").joinpath(f"{name}_statistics.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "count_labels.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=120)


def test_the_tool_writes_the_table_of_a_folder(tmp_path: Path) -> None:
    classes = ["index,mid,display_name", "0,x,dog barking", '1,x,"child speech, kid speaking"', "2,x,wind"]
    done = run("vggsounder", vggsounder(tmp_path / "set", classes=classes), tmp_path / "table.json")
    assert (done.returncode, done.stderr) == (0, "")
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["categories"] == ["dog barking", "child speech, kid speaking", "wind"]
    assert table["odds"] == {"audible": [0.5, 1, 1], "visible": [1, 1, 0], "both": [0.5, 1, 0]}
    assert table["events"] is None
    assert sum(split["videos"] for split in table["splits"].values()) == 3
    sets = [labels for split in table["splits"].values() for _, labels in split["sets"]]
    assert sorted(sets) in ([[0], [1, 2]], [[0], [0], [1, 2]])
    bad = run("lfav", tmp_path / "set", tmp_path / "table.json")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: 13 problems:")


def test_events_are_those_of_a_plain_count() -> None:
    dense = (np.random.default_rng(0).random((40, 2, 3, 10)) < 0.3).astype(np.uint8)
    dense[:, :, 2] *= np.arange(40)[:, None, None] < 5
    dense[:, 1, 0] = 0  # no event at all
    found = count_labels.event_figures(dense)
    for modality in range(2):
        per_event: Counter[str] = Counter()
        length: Counter[str] = Counter()
        segments: dict[int, list[int]] = {0: [], 1: [], 2: []}
        intervals: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for video in dense[:, modality]:
            for category, row in enumerate(video):
                runs = "".join(map(str, row)).replace("0", " ").split()
                if runs:
                    per_event[str(len(runs))] += 1
                    length.update(str(len(run)) for run in runs)
                    segments[category].append(int(row.sum()))
                    intervals[category].append(len(runs))
        assert found["histograms"][modality] == {"per_event": per_event, "length": length}
        for name, counted in (("segments", segments), ("intervals", intervals)):
            everything = [value for values in counted.values() for value in values]
            wanted = [round(mean(values or everything), 3) for values in counted.values()]
            assert found[name][modality] == pytest.approx(wanted, abs=1e-3)


def test_a_category_without_a_labelled_video_has_no_odds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every category needs a labelled video"):
        count_labels.count(read_lfav(lfav(tmp_path)), "")


@pytest.mark.parametrize(("name", "categories", "videos"), [("lfav", 35, 5175), ("vggsounder", 309, 15069)])
def test_the_packaged_tables_are_whole(name: str, categories: int, videos: int) -> None:
    table = packaged(name)
    assert len(table["categories"]) == categories
    assert sum(split["videos"] for split in table["splits"].values()) == videos
    for split in table["splits"].values():
        assert sum(count for count, _ in split["sets"]) == split["videos"]
        assert all(labels == sorted(set(labels)) and labels[-1] < categories for _, labels in split["sets"])
    audible, visible, both = (np.array(table["odds"][key]) for key in ("audible", "visible", "both"))
    np.testing.assert_allclose(audible + visible - both, 1, atol=2e-4)  # a label is true somewhere
    assert (audible > 0).all()
    assert (visible > 0).all()


@needs_lfav
def test_the_packaged_table_is_that_of_the_real_files() -> None:
    table = count_labels.count(read_lfav(REAL), count_labels.NOTES["lfav"])
    assert json.loads(count_labels.table_text(table)) == packaged("lfav")
