"""The whole path from shards to scores and events, through the launchers."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Finished, Tiny
from launchers_help import Outcome, files_below, run_here, run_process
from results import same_results

from jomold_dist import load_network
from jomold_dist.config_files import load_config
from jomold_dist.data.packing.shard_writer import Video
from jomold_dist.evaluation.metrics import parsing_scores
from jomold_dist.models.weights import load_model
from jomold_dist.score_names import SCORE_NAMES
from tests.shard_fixtures import CATEGORIES, FEATURES, SEGMENTS, DatasetWriter, make_videos

Capture = pytest.CaptureFixture[str]


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def history(folder: Path, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def ledger(folder: Path) -> list[dict[str, str]]:
    with (folder / "removed_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def train(capsys: Capture, tiny: Tiny, folder: Path, *overrides: str) -> Outcome:
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", *overrides)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_run_folder_holds_everything(finished: Finished, tiny: Tiny) -> None:
    folder = finished.folder
    assert load(folder / "status.json").items() >= {"state": "finished", "exit_code": 0}.items()
    assert load_config(folder / "config.yaml") == load_config(tiny.config, [f"run.dir={folder}"])
    there = {p.name for p in (folder / "checkpoints").iterdir()}
    assert there == {"estimator.safetensors", "model.safetensors", "model-e0002-s00000000"}
    ratios = load(folder / "noise_ratios.json")
    assert ratios["categories"] == list(CATEGORIES.names)
    assert all(0 <= r <= 1 for name in ("audio", "visual") for r in ratios[name])
    scores = load(folder / "scores.json")
    assert scores["split"] == "test"
    assert set(scores["scores"]) == set(SCORE_NAMES)
    assert set(scores["per_class"]["segment_audio"]) == set(CATEGORIES.names)
    for stage in ("estimator", "model"):
        lines = history(folder, stage)
        assert [line["epoch"] for line in lines] == [1, 2]
        wanted = {"train/loss", "train/loss_contrastive", "denoise/removed_audio", "perf/videos_per_second"}
        wanted |= {f"perf/share_{name}" for name in ("data_wait", "ranking", "exchange")}
        assert all(set(line) >= wanted | {f"val/{name}" for name in SCORE_NAMES} for line in lines)
    model = history(folder, "model")
    removals = load(folder / "removals.json")["total"]
    for name in ("audio", "visual"):
        in_ledger = sum(int(row["epochs_removed"]) for row in ledger(folder) if row["modality"] == name)
        assert 0 < in_ledger == removals[name]["removed"] == sum(line[f"denoise/removed_{name}"] for line in model)
        assert removals[name]["removed"] <= removals[name]["candidates"] <= 2 * removals[name]["labels"]
    for score in scores["scores"].values():
        assert f"{score:.1f}" in finished.outcome.out
    assert f"report:     {folder / 'report.html'}" in finished.outcome.out
    report = (folder / "report.html").read_text()
    assert "<strong>Simulated data" not in report
    assert report.count("<li>Truth: ") == report.count('<figure class="tl"') == 8
    assert "warning" not in report.partition("<main")[2]
    assert "| jomold |" in finished.outcome.out


def test_removed_labels_are_labels_of_the_videos(finished: Finished, tiny: Tiny) -> None:
    labels = {(v.key, CATEGORIES.names[c]) for v in tiny.videos["train"] for c in v.labels}
    assert {(row["filename"], row["category"]) for row in ledger(finished.folder)} <= labels


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_two_ranks_and_micro_batches_give_the_same_run(
    launcher: str, finished: Finished, tiny: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    overrides = (f"run.dir={folder}", "train.micro_batch_size=5")
    outcome = run_process(launcher, "train", "--config", tiny.config, *overrides)
    assert outcome.code == 0, outcome.err
    for name in ("scores.json", "noise_ratios.json", "removed_labels.csv", "removals.json"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes(), name
    for stage in ("estimator", "model"):
        one, two = (load_model(f / "checkpoints" / f"{stage}.safetensors") for f in (finished.folder, folder))
        for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
            # Adam divides gradients by their own size, also those that are nothing but rounding, and makes 5e-9 of it
            torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=0)
    assert outcome.out.count("| jomold |") == 1


def test_a_finished_run_is_not_run_again(finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    outcome = train(capsys, tiny, folder)
    for stage in ("estimator", "noise_ratios", "train", "evaluation"):
        assert f"{stage}: done before, skipped" in outcome.err
    for name in ("scores.json", "history.jsonl", "checkpoints/model.safetensors"):
        assert (folder / name).read_bytes() == (finished.folder / name).read_bytes()
    assert "| jomold |" in outcome.out


def test_more_epochs_go_on_where_the_training_ended(
    finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    """... and end as if they had been asked for at once."""
    grown = shutil.copytree(finished.folder, tmp_path / "grown")
    outcome = train(capsys, tiny, grown, "train.epochs=3")
    assert "estimator: done before, skipped" in outcome.err
    assert "model: going on in epoch 3, after step 0 of 3" in outcome.err
    assert "evaluation: done before" not in outcome.err
    train(capsys, tiny, tmp_path / "at_once", "train.epochs=3")
    same_results(grown, tmp_path / "at_once")


def test_fewer_epochs_than_the_folder_has_are_refused(
    finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    before = files_below(folder)
    outcome = run_here(capsys, "train", "--config", tiny.config, f"run.dir={folder}", "train.epochs=1")
    assert outcome.code == 2
    assert "may grow but not shrink to 1" in outcome.err
    assert files_below(folder) == before


SHORT = ("train.epochs=1", "estimator.epochs=1")


def test_han_removes_nothing(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    train(capsys, tiny, tmp_path / "run", "method=han", *SHORT)
    assert ledger(tmp_path / "run") == []
    assert not (tmp_path / "run" / "noise_ratios.json").exists()


def test_static_removes_just_the_named_labels(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    train(capsys, tiny, tmp_path / "run", "method=static", "denoise.static_labels.visual=[Speech]", *SHORT)
    speaking = {v.key for v in tiny.videos["train"] if CATEGORIES.names.index("Speech") in v.labels}
    assert {(row["filename"], row["modality"], row["category"]) for row in ledger(tmp_path / "run")} == {
        (key, "visual", "Speech") for key in speaking
    }


def test_settings_of_jomold(tiny: Tiny, finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    given = ["denoise.ratios=file", f"denoise.ratio_file={finished.folder / 'noise_ratios.json'}", *SHORT]
    train(capsys, tiny, tmp_path / "joint", *given)
    train(capsys, tiny, tmp_path / "intra", *given, "denoise.rule=intra")
    train(capsys, tiny, tmp_path / "visual", *given, "denoise.modalities=visual")
    train(capsys, tiny, tmp_path / "audio", *given, "denoise.modalities=audio", "train.precision=bf16")
    assert load(tmp_path / "joint" / "noise_ratios.json") == load(finished.folder / "noise_ratios.json")
    assert not history(tmp_path / "joint", "estimator")
    rows = {name: ledger(tmp_path / name) for name in ("joint", "intra", "visual", "audio")}
    assert rows["intra"] != rows["joint"]
    assert len(rows["intra"]) > 0
    for name in ("visual", "audio"):
        assert {row["modality"] for row in rows[name]} == {name}


def test_constant_and_given_ratios(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    train(capsys, tiny, tmp_path / "constant", "denoise.ratios=constant", "denoise.ratio_constant=0.3", *SHORT)
    assert load(tmp_path / "constant" / "noise_ratios.json")["visual"] == [0.3] * 5
    ratios = {"audio": np.linspace(0, 1, 5), "visual": np.full(5, 0.5)}
    np.savez(tmp_path / "ratios.npz", **ratios)
    given = ("denoise.ratios=file", f"denoise.ratio_file={tmp_path / 'ratios.npz'}", "recipe=released")
    train(capsys, tiny, tmp_path / "file", *given, "denoise.warmup_epochs=null", *SHORT)
    assert load(tmp_path / "file" / "noise_ratios.json")["audio"] == ratios["audio"].tolist()


def test_a_tracked_run(tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    outcome = train(capsys, tiny, tmp_path / "runs" / "first", "tracking.enabled=true", *SHORT)
    assert "mlflow ui" in outcome.out
    assert "/#/experiments/1/runs?workflowType=machine_learning" in outcome.out
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parent = next(r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    nested = {r.info.run_name for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert nested == {f"first · {stage}" for stage in ("estimator", "noise_ratios", "train", "evaluation")}
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert parent.data.params["train.batch_size"] == "24"
    (found,) = client.search_runs(["1"], "params.method = 'jomold' and metrics.`test/segment_type` >= 0")
    assert found.info.run_id == parent.info.run_id
    scores = load(tmp_path / "runs" / "first" / "scores.json")["scores"]
    assert parent.data.metrics.items() >= {f"test/{name}": value for name, value in scores.items()}.items()
    assert {"val/best_segment_type", "best_epoch", "removals/removed_visual"} < parent.data.metrics.keys()
    curves = {metric.step for metric in client.get_metric_history(parent.info.run_id, "val/segment_type")}
    assert curves == {line["epoch"] for line in history(tmp_path / "runs" / "first", "model")}
    kept = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "scores.json", "removals.json", "removed_labels.csv", "report.html"} < kept
    model = client.get_logged_model(parent.outputs.model_outputs[0].model_id)
    assert (model.name, model.params["method"]) == ("first", "jomold")
    assert {metric.key for metric in model.metrics} >= {f"test/{name}" for name in scores}
    (uri,) = load(tmp_path / "runs" / "first" / "mlflow.json")["models"].values()
    with_store = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    try:
        model = mlflow.pyfunc.load_model(uri)
    finally:
        mlflow.set_tracking_uri(with_store)
    found = model.predict({name: np.zeros((2, *spec.shape), np.float32) for name, spec in FEATURES.items()})
    assert found["segment_prob"].shape == (2, SEGMENTS, 2, len(CATEGORIES))


def test_evaluate(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    outcome = run_here(capsys, "evaluate", "--run", folder, "--split", "val")
    assert outcome.code == 0, outcome.err
    found = load(folder / "scores_val.json")
    best = max(history(folder, "model"), key=lambda line: line["val/segment_type"])
    assert found["scores"] == pytest.approx({name: best[f"val/{name}"] for name in SCORE_NAMES})
    assert all(name in outcome.out for name in CATEGORIES.names)
    outcome = run_here(capsys, "evaluate", "--run", folder)
    assert load(folder / "scores_test.json")["scores"] == load(folder / "scores.json")["scores"]


def test_evaluate_a_run_that_is_still_training(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    checkpoint = folder / "checkpoints" / "model-e0002-s00000000"
    for weights, same in ((None, True), (checkpoint / "best.safetensors", True), (checkpoint, False)):
        (folder / "checkpoints" / "model.safetensors").unlink(missing_ok=True)
        given = () if weights is None else ("--weights", weights)
        outcome = run_here(capsys, "evaluate", "--run", folder, *given)
        assert outcome.code == 0, outcome.err
        assert str(checkpoint) in outcome.out
        if same:
            assert load(folder / "scores_test.json")["scores"] == load(folder / "scores.json")["scores"]
    best, present = (load_network(folder), load_network(checkpoint))
    epochs = [line["val/segment_type"] for line in history(folder, "model")]
    assert torch.equal(best.event_head.weight, present.event_head.weight) == (epochs[1] > epochs[0])


def events(path: Path, keys: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The file's events as bool (N, C, T) of audio and visual."""
    found = torch.zeros(2, len(keys), len(CATEGORIES), SEGMENTS, dtype=torch.bool)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            at = ("audio", "visual").index(row["modality"]), keys.index(row["filename"])
            found[*at, CATEGORIES.names.index(row["event_labels"]), int(row["onset"]) : int(row["offset"])] = True
    return found[0], found[1]


def test_predictions_of_labelled_videos_have_the_scores_of_the_run(
    finished: Finished, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "events.csv"
    outcome = run_here(
        capsys, "predict", "--run", finished.folder, "--shards", tiny.shards, "--split", "test", "--out", out
    )
    assert outcome.code == 0, outcome.err
    videos = tiny.videos["test"]
    truth = torch.from_numpy(np.stack([v.dense for v in videos if v.dense is not None])).bool()
    scores = parsing_scores(*events(out, [v.key for v in videos]), truth[:, 0], truth[:, 1])
    assert scores == pytest.approx(load(finished.folder / "scores.json")["scores"])


def test_predictions_of_unlabelled_videos(finished: Finished, tmp_path: Path, capsys: Capture) -> None:
    videos = [Video(v.key, v.features, ()) for v in make_videos(9, prefix="new")]
    with DatasetWriter(
        tmp_path / "new", name="new", categories=CATEGORIES, segments=SEGMENTS, features=FEATURES
    ) as writer:
        writer.write_split("all", videos, max_labels=0, dense=False)
        writer.finish()
    out = tmp_path / "events.csv"
    outcome = run_here(capsys, "predict", "--run", finished.folder, "--shards", tmp_path / "new", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "9 videos" in outcome.out
    audio, visual = events(out, [v.key for v in videos])
    assert (audio | visual).any()
