"""From features and labels of one's own to events in seconds, by commands alone."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from launchers_help import run_here

Capture = pytest.CaptureFixture[str]

SMALL = ("train.epochs=1", "estimator.epochs=1", "train.batch_size=8", "data.streams=2", "distributed.device=cpu",
         "tracking.enabled=false")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A feature set by its layout: rows by feature, so many categories, and how a video is cut."""

    rows: dict[str, int]
    categories: int
    segments: int
    seconds: float
    pooled: str

    @property
    def names(self) -> list[str]:
        """With a comma in every name."""
        return [f"event {c}, of kind {c % 7}" for c in range(self.categories)]


EIGHT, FOUR = "frames: the mean of the 8 rows of each segment", "frames: the mean of the 4 rows of each segment"
KINDS = {
    "of one's own": Kind({"audio": 5, "frames": 20}, 28, 5, 2.0, FOUR),
    "VGGish, ResNet, R(2+1)D": Kind({"audio": 10, "frames": 80, "motion": 10}, 28, 10, 1.0, EIGHT),
    "VGGish, CLIP, R(2+1)D": Kind({"audio": 10, "frames": 10, "motion": 10}, 309, 10, 1.0, "features: audio (10, 8)"),
    "CLAP, CLIP, R(2+1)D": Kind({"audio": 20, "frames": 20, "motion": 20}, 527, 20, 0.5, "features: audio (20, 8)"),
    "CLAP's maps": Kind({"audio": 64, "frames": 10, "motion": 10}, 527, 10, 1.0, "audio: of 64 rows to 10: segment t"),
    "CLIP B/16, no motion": Kind({"audio": 20, "frames": 80}, 309, 20, 0.5, FOUR),
}


def clips(folder: Path, kind: Kind) -> list[str]:
    """Narrow features of two clips of each of 20 videos; labels in one table, events in two others."""
    draw = np.random.default_rng(2)
    names, categories = kind.names, kind.categories
    prototypes = draw.standard_normal((categories, 8), dtype=np.float32)
    rows, events = ["key,label,split"], {"val": ["key,onset,offset,label,modality"]}
    events["test"] = list(events["val"])
    for number in range(40):
        key, split = (
            f"talk{number // 2:03d}_{10 * (number % 2)}",
            ["train", "train", "train", "val", "test"][number % 5],
        )
        own = sorted({number % categories, (5 * number + 3) % categories})
        rows += [f'{key},"{names[c]}",{split}' for c in own]
        signal = prototypes[own].sum(axis=0)
        for name, count in kind.rows.items():
            (folder / name).mkdir(exist_ok=True)
            np.save(folder / name / f"{key}.npy", signal + 0.1 * draw.standard_normal((count, 8), dtype=np.float32))
        for c in own if split != "train" else ():
            events[split].append(f'{key},0,{kind.seconds * kind.segments},"{names[c]}",both')
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "names.txt").write_text("\n".join(names) + "\n")
    for split, lines in events.items():
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return [
        *("--labels", f"{folder}/labels.csv", "--dense", f"val={folder}/val.csv", "--dense", f"test={folder}/test.csv"),
        *(word for name in kind.rows for word in ("--feature", f"{name}={folder}/{name}/{{key}}.npy")),
        *("--segments", str(kind.segments), "--segment-seconds", str(kind.seconds)),
        *(("--categories", f"{folder}/names.txt") if kind.categories > 28 else ()),
    ]


@pytest.mark.parametrize(
    "name", [name if number == 0 else pytest.param(name, marks=pytest.mark.slow) for number, name in enumerate(KINDS)]
)
def test_a_set_from_files_to_events(name: str, tmp_path: Path, capsys: Capture) -> None:
    kind = KINDS[name]

    def jomold(*words: str | Path) -> str:
        outcome = run_here(capsys, "jomold", *words)
        assert outcome.code == 0, outcome.err
        return outcome.out

    shards = tmp_path / "shards"
    words = clips(tmp_path, kind)
    told = jomold("pack", *words, "--out", shards)
    assert ("categories: the 28 labels that occur, sorted" in told) == (kind.categories == 28)
    assert kind.pooled in told
    jomold("verify", shards)
    for method in ("han", "jomold"):
        run = tmp_path / method
        jomold("train", "--config", "llp", f"method={method}", f"data.shards={shards}", f"run.dir={run}", *SMALL)
        assert set(json.loads((run / "scores.json").read_text())["per_class"]["segment_audio"]) == set(kind.names)
        assert "segment" in jomold("evaluate", "--run", run, "--split", "val")

    out = tmp_path / "events.csv"
    asked = ("--shards", shards, "--split", "val", "--threshold", "0.01")
    jomold("predict", "--run", tmp_path / "jomold", *asked, "--out", out)
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["event_labels"] for row in found} <= set(kind.names)
    times = {float(row[end]) for row in found for end in ("onset", "offset")}
    assert times <= {kind.seconds * t for t in range(kind.segments + 1)}
    assert max(times) == kind.seconds * kind.segments  # in seconds, not in segments

    again = tmp_path / "again"  # and what is found can be packed as what is there
    words[words.index(f"val={tmp_path}/val.csv")] = f"val={out}"
    jomold("pack", *words, "--out", again)
