"""What a sweep takes as done: run folders and cells.json are compared with what is asked; none is taken for absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.errors import UnreadableError
from jomold_dist.labels import CategorySet
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.tuning.config import load_sweep
from jomold_dist.tuning.costs import Cost, add_time, cost_of, forecast
from jomold_dist.tuning.dry_run import dry_run
from jomold_dist.tuning.outcomes import Ended, outcomes, stopped_by_scheduler, val_scores, write_cells
from jomold_dist.tuning.plan import SweepPlan
from jomold_dist.tuning.rows import cells_of, rows_of
from jomold_dist.tuning.run_results import has_predictions, identity, is_finished, read_epochs
from jomold_dist.tuning.trials import Trial, keep_ratios, trials_of, with_ratios
from tests.run_fixtures import write_scores

UNREADABLE = Path("/proc/self/mem")  # to read it fails, for root too
SWEEP = "method: han\nsweep: {seeds: [0], scheduler: asha, variants: {one: {}, two: {train: {epochs: 3}}}}\n"


def plan_of(folder: Path, *overrides: str) -> SweepPlan:
    file = folder / "small.yaml"
    file.write_text(SWEEP)
    given = [f"sweep.dir={folder / 'sweep'}", *overrides]
    sweep = load_sweep(file, given)
    rows = rows_of(sweep)
    manifest = Manifest(name="tiny", segments=2, categories=CategorySet(("Dog",)), features={}, splits={})
    return SweepPlan(file, given, sweep, manifest, rows, cells_of(file, given, sweep, rows), rows[0].name)


def trials_in(plan: SweepPlan) -> list[Trial]:
    return trials_of(plan.cells, plan.manifest.digest, plan.sweep.trials)


def finish(trial: Trial, plan: SweepPlan, epochs: int | None = None) -> Path:
    """Write what a finished run leaves, as far as a sweep looks at it."""
    folder = RunFolder(Path(trial.config.run.dir))
    folder.path.mkdir(parents=True)
    (folder.path / "owner.json").write_text(json.dumps(folder.owner(trial.config, plan.manifest.digest)))
    folder.write_status("finished", exit_code=0)
    count = trial.config.train.epochs if epochs is None else epochs
    folder.write_history("model", [{"stage": "model", "epoch": n, "val/segment_type": n} for n in range(1, count + 1)])
    write_scores(folder.path, 50.0, trial.config.train.epochs)
    return folder.path


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    (tmp_path / "sweep").mkdir()
    return plan_of(tmp_path)


def test_a_finished_run_is_the_one_that_is_asked_for(plan: SweepPlan) -> None:
    trial, other = trials_in(plan)
    asked = identity(trial.config, plan.manifest.digest)
    folder = Path(trial.config.run.dir)
    assert not is_finished(folder, asked)
    finish(trial, plan)
    assert is_finished(folder, asked)
    assert not is_finished(folder, identity(trial.config, "0" * 64))
    assert not is_finished(folder, identity(other.config, plan.manifest.digest))
    longer = replace(trial.config, train=replace(trial.config.train, epochs=50))
    assert not is_finished(folder, identity(longer, plan.manifest.digest))
    seed = replace(trial.config, run=replace(trial.config.run, seed=7))
    assert not is_finished(folder, identity(seed, plan.manifest.digest))
    RunFolder(folder).write_status("running")
    assert not is_finished(folder, asked)


def test_scores_tell_for_how_many_epochs_they_are_the_result(plan: SweepPlan) -> None:
    """Whatever the history says of an early end: patience may have run out in just the last epoch of those asked."""
    trial = trials_in(plan)[0]
    folder = finish(trial, plan, epochs=3)

    def finished(epochs: int) -> bool:
        longer = replace(trial.config, train=replace(trial.config.train, epochs=epochs))
        return is_finished(folder, identity(longer, plan.manifest.digest))

    assert finished(25)
    lines = [json.loads(text) for text in RunFolder(folder).history.read_text().splitlines()]
    RunFolder(folder).write_history("model", [*lines[:-1], lines[-1] | {"ended_early": True}])
    assert finished(25)
    assert not finished(40)
    RunFolder(folder).scores.write_text("{")
    assert not finished(25)


def test_predictions_are_those_of_the_estimator_that_is_asked_for(plan: SweepPlan) -> None:
    trial, _ = trials_in(plan)
    asked = identity(trial.config, plan.manifest.digest)
    folder = finish(trial, plan)
    assert not has_predictions(folder, asked)
    RunFolder(folder).predictions.touch()
    assert has_predictions(folder, asked)
    assert not has_predictions(folder, identity(trial.config, "0" * 64))


@pytest.mark.parametrize("name", ["status.json", "owner.json", "scores.json"])
def test_a_run_that_cannot_be_read_is_neither_finished_nor_missing(name: str, plan: SweepPlan) -> None:
    trial, other = trials_in(plan)
    folder = finish(trial, plan)
    finish(other, plan)
    (folder / name).unlink()
    (folder / name).symlink_to(UNREADABLE)
    with pytest.raises(UnreadableError, match=f"{folder / name} cannot be read: Input/output error"):
        is_finished(folder, identity(trial.config, plan.manifest.digest))
    first, second = outcomes(plan, [trial, other], {}, {})
    assert first["state"] == "failed"
    assert "cannot be read" in first["problem"]
    assert second["state"] == "finished"


def test_what_became_of_every_cell(plan: SweepPlan) -> None:
    trial, other = trials_in(plan)
    finish(trial, plan)
    ended = {other.config.run.dir: Ended(None, 2)}
    one, two = outcomes(plan, [trial, other], ended, {})
    assert (one["state"], one["problem"]) == ("finished", None)
    assert (two["state"], two["epochs"]) == ("stopped", 2)
    assert "stopped by asha, after epoch 2" in two["problem"]
    assert val_scores(plan, [trial, other], ended) == {"one": 25.0, "two": None}
    one, two = outcomes(plan, [trial], {}, {("two", 0): "its estimator failed: a NaN"})
    assert (two["run"], two["state"], two["problem"]) == (None, "failed", "its estimator failed: a NaN")
    assert [result["state"] for result in outcomes(plan, [other, trial], {}, {})] == ["finished", "missing"]


def test_a_trial_that_the_scheduler_has_stopped_stays_so_as_long_as_nothing_else_is_asked(plan: SweepPlan) -> None:
    told: list[str] = []
    assert stopped_by_scheduler(plan, told.append) == {}  # there was no start before
    trial, other = trials_in(plan)
    ended = {other.config.run.dir: Ended(None, 2)}
    write_cells(plan, outcomes(plan, [trial, other], ended, {}))
    assert stopped_by_scheduler(plan, told.append) == ended
    folder = plan.path.parent
    for override in ("sweep.scheduler=fifo", "sweep.metric=event_audio", "sweep.grace_epochs=3"):
        assert stopped_by_scheduler(plan_of(folder, override), told.append) == {}
    assert stopped_by_scheduler(plan_of(folder, "sweep.grace_epochs=2"), told.append) == ended
    assert told == []
    stopped_by_scheduler(replace(plan, path=Path("large.yaml")), told.append)
    assert told == [f"{plan.sweep.folder} holds the tables of the sweep 'small'; they are replaced"]


def test_cells_that_cannot_be_read_end_the_start_and_damaged_ones_are_told(plan: SweepPlan) -> None:
    told: list[str] = []
    cells = plan.sweep.folder / "cells.json"
    cells.symlink_to(UNREADABLE)
    with pytest.raises(UnreadableError, match=f"{cells} cannot be read"):
        stopped_by_scheduler(plan, told.append)
    cells.unlink()
    for damage in ("{", "[]", '{"sweep": "small"}'):
        cells.write_text(damage)
        assert stopped_by_scheduler(plan, told.append) == {}
    assert len(told) == 3
    assert all(f"{cells} is damaged" in text for text in told)


def test_a_file_of_ratios_that_was_changed_is_written_anew(plan: SweepPlan, tmp_path: Path) -> None:
    ratios = NoiseRatios(torch.tensor([0.25], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64))

    def written() -> Path:
        keep_ratios(ratios, ("Dog",), tmp_path)
        return Path(str(with_ratios(plan.cells[0].config, ratios, ("Dog",), tmp_path).denoise.ratio_file))

    file = written()
    content = file.read_text()
    for change in (content.replace("0.25", "0.75"), "{"):
        file.write_text(change)
        assert written() == file
        assert file.read_text() == content
    file.unlink()
    file.symlink_to(UNREADABLE)
    with pytest.raises(UnreadableError, match=f"{file} cannot be read"):
        written()


def test_a_dry_run_tells_row_by_row_what_is_done_and_what_the_rest_may_cost(plan: SweepPlan) -> None:
    told = dry_run(plan)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()[2:4]]
    assert rows == [["one", "nothing", "1", "0", "1"], ["two", "train.epochs=3", "1", "0", "1"]]
    assert "2 trainings missing; time and disk are unknown, as none has finished: start the sweep" in told
    folder = finish(trials_in(plan)[0], plan)
    add_time(folder, 3600.0)
    add_time(folder, 60.0)  # of a second start
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "model.safetensors").write_bytes(bytes(88_000_000))
    told = dry_run(plan)
    assert [line.split("|")[4].strip() for line in told.splitlines()[2:4]] == ["1", "0"]
    assert told.splitlines()[-1] == (
        "1 training missing; one took 1:01:00 and 88 MB (mean of 1): 1:01:00; 88 MB more on disk"
    )


def test_trainings_that_are_missing_share_the_places() -> None:
    told = forecast("training", 9, [Cost(60.0, 10**6), Cost(180.0, 3 * 10**6)], 4)
    assert told == (
        "9 trainings missing; one took 0:02:00 and 2 MB (mean of 2): 0:18:00 one after another, 0:06:00 with 4 "
        "at once; 18 MB more on disk"
    )
    assert "at once" not in forecast("training", 9, [Cost(60.0, 10**6)], None)
    assert (
        forecast("training", 0, [Cost(60.0, 10**6)], 4) == "no training missing; one took 0:01:00 and 1 MB (mean of 1)"
    )


def test_a_time_that_cannot_be_noted_or_read_is_no_error(tmp_path: Path) -> None:
    add_time(tmp_path / "none", 1.0)
    assert not (tmp_path / "none").exists()
    (tmp_path / "trial.json").write_text("{")
    assert cost_of(tmp_path) is None


@pytest.mark.parametrize(("method", "kept"), [("han", 3.0), ("ma", 1.0)])
def test_further_draws_learn_from_the_epoch_that_a_method_keeps(method: str, kept: float, plan: SweepPlan) -> None:
    plan = replace(plan, cells=[replace(c, config=replace(c.config, method=method)) for c in plan.cells])
    trials = trials_in(plan)
    for trial in trials:
        scores = [{"stage": "model", "epoch": n, "val/segment_type": score} for n, score in ((1, 2), (2, 3), (3, 1))]
        RunFolder(finish(trial, plan)).write_history("model", scores)
    assert set(val_scores(plan, trials, {}).values()) == {kept}


def test_a_moment_within_an_epoch_may_be_the_best(plan: SweepPlan) -> None:
    trials = trials_in(plan)
    within = {"step": 4, "steps": 9, "scores": {"segment_type": 12.5}}
    lines = [{"epoch": 1, "val/segment_type": 8.2, "best_within": within}, {"epoch": 2, "val/segment_type": 9.0}]
    for trial in trials:
        RunFolder(finish(trial, plan)).write_history("model", [{"stage": "model", **line} for line in lines])
    assert set(val_scores(plan, trials, {}).values()) == {12.5}
    read = read_epochs(Path(trials[0].config.run.dir), "model", "segment_type")
    assert [epoch["score"] for epoch in read] == [12.5, 9.0]
    assert [epoch["val/segment_type"] for epoch in read] == [8.2, 9.0]
