"""A run on several sets and a share of their training videos is one on a set that was packed of just these videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from launchers_help import run_here, run_process

from jomold_dist.data.packing.dataset_writer import DatasetWriter
from jomold_dist.data.packing.shard_writer import Video
from tests.end_to_end.conftest import Tiny
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS

SIZE = 7  # videos a shard


def pack(folder: Path, splits: dict[str, list[Video]]) -> Path:
    with DatasetWriter(
        folder, name="tiny", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES, videos_per_shard=SIZE
    ) as writer:
        for split, videos in splits.items():
            writer.write_split(split, videos, max_labels=len(CATEGORIES), dense=split != "train")
        writer.finish()
    return folder


def left_by(run: Path) -> dict[str, Any]:
    """What the run says of its data, its labels and its model."""
    read = {name: json.loads((run / f"{name}.json").read_text()) for name in ("scores", "noise_ratios", "removals")}
    return read | {"scores": read["scores"]["scores"], "ledger": (run / "removed_labels.csv").read_text()}


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_share_of_two_sets_is_as_good_as_packed(
    ranks: int, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """... and when the training goes on, on one rank."""
    videos, test = tiny.videos, {"test": tiny.videos["test"]}
    whole = pack(tmp_path / "whole", {"train": videos["train"][:42], "val": videos["val"]} | test)
    first = pack(tmp_path / "first", {"train": videos["train"][:35], "val": videos["val"][:7]} | test)
    second = pack(tmp_path / "second", {"train": videos["train"][35:], "val": videos["val"][7:]})
    common = ["train", "--config", tiny.config, "train.epochs=1"]
    joined = [f"data.shards=[{first}, {second}]", "data.fraction=0.7", f"run.dir={tmp_path / 'joined'}"]
    outcome = run_process("torchrun", *common, *joined) if ranks > 1 else run_here(capsys, *common, *joined)
    assert outcome.code == 0, outcome.err
    assert f"tiny in {first}, {second}: 42 train, 13 val, 15 test (data.fraction = 0.7" in outcome.err
    packed = [f"data.shards={whole}", f"run.dir={tmp_path / 'packed'}"]
    for more in ([], ["train.epochs=2"]):
        for own in (packed, *([joined] if more else [])):
            outcome = run_here(capsys, *common, *own, *more)
            assert outcome.code == 0, outcome.err
        assert left_by(tmp_path / "joined") == left_by(tmp_path / "packed")
    outcome = run_here(capsys, "evaluate", "--run", tmp_path / "joined", "--split", "val")
    assert outcome.code == 0, outcome.err
    outcome = run_here(capsys, "evaluate", "--run", tmp_path / "joined", "--shards", first, second)
    assert f"data set: tiny, {first}, {second}\n" in outcome.out
    for place in ([first, second], [first]):
        out = tmp_path / "events.csv"
        outcome = run_here(capsys, "predict", "--run", tmp_path / "joined", "--shards", *place, "--out", out)
        assert f"{88 if len(place) > 1 else 57} videos parsed" in outcome.out
