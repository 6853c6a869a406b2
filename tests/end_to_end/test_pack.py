"""From features and labels of one's own to events in seconds, by commands alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from launchers_help import run_here

Capture = pytest.CaptureFixture[str]

NAMES = [f"event {c}, of kind {c % 7}" for c in range(28)]  # a comma in every name
SEGMENTS, SECONDS = 5, 2
SMALL = ("train.epochs=1", "estimator.epochs=1", "train.batch_size=8", "data.streams=2", "distributed.device=cpu",
         "tracking.enabled=false")  # fmt: skip


def clips(folder: Path) -> list[str]:
    """CLAP and CLIP features, narrow, of two clips of each of 20 videos; labels in one table, events in two others."""
    draw = np.random.default_rng(2)
    prototypes = draw.standard_normal((28, 8), dtype=np.float32)
    rows, events = ["key,label,split"], {"val": ["key,onset,offset,label,modality"]}
    events["test"] = list(events["val"])
    for number in range(40):
        key, split = (
            f"talk{number // 2:03d}_{10 * (number % 2)}",
            ["train", "train", "train", "val", "test"][number % 5],
        )
        own = sorted({number % 28, (5 * number + 3) % 28})
        rows += [f'{key},"{NAMES[c]}",{split}' for c in own]
        signal = prototypes[own].sum(axis=0)
        for name, count in (("clap", SEGMENTS), ("clip", 4 * SEGMENTS)):
            (folder / name).mkdir(exist_ok=True)
            np.save(folder / name / f"{key}.npy", signal + 0.1 * draw.standard_normal((count, 8), dtype=np.float32))
        for c in own if split != "train" else ():
            events[split].append(f'{key},0,{SECONDS * SEGMENTS},"{NAMES[c]}",both')
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for split, lines in events.items():
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return [
        *("--labels", f"{folder}/labels.csv", "--dense", f"val={folder}/val.csv", "--dense", f"test={folder}/test.csv"),
        *("--feature", f"audio={folder}/clap/{{key}}.npy", "--feature", f"frames={folder}/clip/{{key}}.npy"),
        *("--segments", str(SEGMENTS), "--segment-seconds", str(SECONDS)),
    ]


def test_a_set_of_ones_own_from_files_to_events(tmp_path: Path, capsys: Capture) -> None:
    def jomold(*words: str | Path) -> str:
        outcome = run_here(capsys, "jomold", *words)
        assert outcome.code == 0, outcome.err
        return outcome.out

    shards = tmp_path / "shards"
    told = jomold("pack", *clips(tmp_path), "--out", shards)
    assert "categories: the 28 labels that occur, sorted" in told
    assert "frames: the mean of the 4 rows of each segment" in told
    jomold("verify", shards)
    for method in ("han", "jomold"):
        run = tmp_path / method
        jomold("train", "--config", "llp", f"method={method}", f"data.shards={shards}", f"run.dir={run}", *SMALL)
        assert set(json.loads((run / "scores.json").read_text())["per_class"]["segment_audio"]) == set(NAMES)
        assert "segment" in jomold("evaluate", "--run", run, "--split", "val")

    out = tmp_path / "events.csv"
    asked = ("--shards", shards, "--split", "val", "--threshold", "0.01")
    jomold("predict", "--run", tmp_path / "jomold", *asked, "--out", out)
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["event_labels"] for row in found} <= set(NAMES)
    times = {float(row[end]) for row in found for end in ("onset", "offset")}
    assert times <= {float(SECONDS * t) for t in range(SEGMENTS + 1)}
    assert max(times) == SECONDS * SEGMENTS  # in seconds, not in segments

    again = tmp_path / "again"  # and what is found can be packed as what is there
    words = clips(tmp_path)
    words[words.index(f"val={tmp_path}/val.csv")] = f"val={out}"
    jomold("pack", *words, "--out", again)
