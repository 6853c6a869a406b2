"""`--dry-run`: the figures of a real run, the messages of a real start, and nothing written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Tiny
from launchers_help import files_below, run_here, run_process

from jomold_dist.config_files import load_config
from jomold_dist.data.reading.source import read_manifest
from jomold_dist.denoising import exchange
from jomold_dist.training.forecast import StageForecast, forecast
from jomold_dist.training.step import TrainStep

Capture = pytest.CaptureFixture[str]


def stages_of(tiny: Tiny, ranks: int, *overrides: str) -> dict[str, StageForecast]:
    config = load_config(tiny.config, list(overrides))
    return {stage.name: stage for stage in forecast(config, read_manifest(tiny.shards), ranks).stages}


def table_cells(text: str) -> dict[str, list[str]]:
    """The rows of all markdown tables, by their first cell."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_steps_and_exchanged_bytes_are_those_of_a_run(
    tiny: Tiny, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = []
    sent: list[int] = []
    take_step, gather = TrainStep.__call__, exchange.gather_rows

    def counted_step(self: TrainStep, *arguments: Any) -> Any:
        steps.append(None)
        return take_step(self, *arguments)

    def counted_gather(rows: Any, world: Any) -> Any:
        sent.append(rows.nbytes)
        return gather(rows, world)

    monkeypatch.setattr(TrainStep, "__call__", counted_step)
    monkeypatch.setattr(exchange, "gather_rows", counted_gather)
    command = ("train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}", "train.epochs=1")
    assert run_here(capsys, *command).code == 0
    stages = stages_of(tiny, 1, "train.epochs=1")
    assert stages["estimator"].steps == 6
    assert stages["train"].steps == 3
    assert len(steps) == sum(stages[name].steps for name in ("estimator", "train"))
    assert sent == [stages[name].sent for name in ("estimator", "train") for _ in range(stages[name].steps)]


def test_checkpoint_bytes_are_those_of_a_run(tiny: Tiny, finished: Finished) -> None:
    place = next((finished.folder / "checkpoints").glob("model-*"))
    written = sum(path.stat().st_size for path in place.glob("*.safetensors"))
    assert written == pytest.approx(stages_of(tiny, 1)["train"].checkpoint, rel=0.01)  # the rest is names
    estimator = finished.folder / "checkpoints" / "estimator.safetensors"
    parameters = stages_of(tiny, 1)["estimator"].checkpoint
    assert parameters == pytest.approx(4 * estimator.stat().st_size, rel=0.01)  # weights twice, and what Adam keeps


@pytest.mark.parametrize("method", ["han", "jomold"])
def test_it_prints_the_forecast_and_writes_nothing(method: str, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    before = files_below(tiny.shards.parent)
    command = (
        "train",
        "--config",
        tiny.config,
        f"run.dir={tmp_path / 'run'}",
        f"method={method}",
        "data.resident=true",
    )
    outcome = run_here(capsys, *command, "--dry-run", "--ranks", "6")
    assert (outcome.code, outcome.err) == (0, "")
    assert not files_below(tmp_path)
    assert files_below(tiny.shards.parent) == before
    assert f"{method} on 6 ranks" in outcome.out
    assert "resident files of a node" in outcome.out
    cells, stages = table_cells(outcome.out), stages_of(tiny, 6, f"method={method}")
    assert cells["train"][:4] == ["2", "3", "6", "80 B" if method == "han" else f"{stages['train'].sent} B"]
    assert cells["videos an epoch"] == ["10"]
    assert cells["videos a step"] == ["4"]
    assert ("estimator" in cells) == (method == "jomold")


@pytest.mark.parametrize("launcher", ["start torchrun", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_as_a_process_with_the_ranks_that_are_started(launcher: str, tiny: Tiny, tmp_path: Path) -> None:
    outcome = run_process(launcher, "train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("on 2 ranks") == 1
    assert not files_below(tmp_path)


def truncate(shards: Path) -> None:
    path = shards / "train" / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:-512])


def lose_a_split(shards: Path) -> None:
    text = (shards / "manifest.json").read_text()
    (shards / "manifest.json").write_text(text.replace('"val"', '"other"'))


def lose_the_manifest(shards: Path) -> None:
    (shards / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [truncate, lose_a_split, lose_the_manifest])
def test_problems_of_the_data_are_those_of_a_start(damage: Any, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    damage(shutil.copytree(tiny.shards, tmp_path / "data"))
    assert_same_refusal(capsys, tiny, tmp_path, f"data.shards={tmp_path / 'data'}")


@pytest.mark.parametrize(
    "override", ["train.epoch=3", "data.shards=nowhere", "method=static", "denoise.ratios=file", "data.verify=all"]
)
def test_problems_of_the_config_are_those_of_a_start(
    override: str, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    assert_same_refusal(capsys, tiny, tmp_path, override)


@pytest.mark.parametrize("what", ["foreign files", "a file in its place", "a file above it"])
def test_problems_of_the_run_folder_are_those_of_a_start(
    what: str, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "run"
    if what == "foreign files":
        run.mkdir()
        (run / "thesis.txt").write_text("my only copy")
    else:
        run.write_text("")
    below = "/below" if what == "a file above it" else ""
    assert_same_refusal(capsys, tiny, tmp_path, f"run.dir={run}{below}")


def test_a_run_folder_of_another_config(tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    assert_same_refusal(capsys, tiny, tmp_path, f"run.dir={run}", "run.seed=7")
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={run}", "train.epochs=3", "--dry-run")
    assert outcome.code == 0, outcome.err  # one's own may go on


def assert_same_refusal(capsys: Capture, tiny: Tiny, tmp_path: Path, *overrides: str) -> None:
    """A start and a dry run end with 2 and the same message, and write nothing."""
    folder = [] if any(text.startswith("run.dir=") for text in overrides) else [f"run.dir={tmp_path / 'run'}"]
    before = files_below(tmp_path)
    start, dry = (
        run_here(capsys, "train", "--config", tiny.config, *folder, *overrides, *more) for more in ([], ["--dry-run"])
    )
    assert files_below(tmp_path) == before
    assert (start.code, dry.code) == (2, 2), dry.err
    assert dry.err == start.err
    assert dry.out == ""


def test_ranks_that_cannot_be(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    command = ("train", "--config", tiny.config, f"run.dir={tmp_path / 'run'}")
    outcome = run_here(capsys, *command, "--dry-run", "--ranks", "5")
    assert outcome.code == 2
    assert "5 ranks cannot share data.streams = 12 evenly" in outcome.err
    for wrong in (["--ranks", "4"], ["--dry-run", "--ranks", "0"], ["--dry-run", "--ranks", "many"]):
        with pytest.raises(SystemExit) as ended:
            run_here(capsys, *command, *wrong)
        assert ended.value.code == 2
        assert re.search(r"--ranks|number of ranks", capsys.readouterr().err)
