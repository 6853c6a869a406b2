"""Verdicts on labels against the truth of a simulated set."""

from __future__ import annotations

from pathlib import Path

import judge_labels
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jomold_dist.commands import simulate as simulate_llp
from jomold_dist.config import Config, DataConfig
from jomold_dist.config_files import dump_config
from jomold_dist.data.reading.source import as_source, read_manifest
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judged") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["simulate_llp.py", "--out", str(folder), "--videos", "20"])
        assert simulate_llp.main() == 0
    return folder


def write_run(folder: Path, shards: Path, sure: float, wrong: int) -> RunFolder:
    """A run whose P is `sure` of the truth, but of the first `wrong` visual labels as sure of the opposite."""
    manifest = read_manifest(shards)
    truth = read_truth(as_source(shards), manifest, "train")
    assert truth is not None
    video, category = np.nonzero(truth.present.any(1))
    present = truth.present[video, :, category]
    probability = np.where(present > 0, sure, 1 - sure)
    probability[:wrong, 1] = 1 - probability[:wrong, 1]
    names = [manifest.categories.names[c] for c in category]
    columns = {"video": video, "category": names, "audio": probability[:, 0], "visual": probability[:, 1]}
    run = RunFolder(folder)
    folder.mkdir()
    run.config.write_text(dump_config(Config(method="mixture", data=DataConfig(shards=str(shards)))))
    pq.write_table(pa.table(columns), run.labels())
    return run


def test_precision_recall_and_brier_score(shards: Path, tmp_path: Path) -> None:
    audio, visual = judge_labels.judge(write_run(tmp_path / "run", shards, 0.9, wrong=0))
    assert audio[1] == "1"
    assert audio[0].endswith("/run, audio")
    assert visual[2:5] == ["100.0", "100.0", "0.0100"]
    audio, visual = judge_labels.judge(write_run(tmp_path / "wrong", shards, 1.0, wrong=4))
    assert float(visual[4]) > 0.05
    assert float(visual[3]) < 100 or float(visual[2]) < 100
    assert audio[4] == "0.0000"


def test_a_run_without_labels_is_told(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["judge_labels.py", str(tmp_path)])
    assert judge_labels.main() == 2
    assert "has no labels.parquet" in capsys.readouterr().err
