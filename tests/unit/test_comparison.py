"""Runs side by side: what is averaged, what is told apart, and what is refused."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.comparing.report import report
from jomold_dist.comparing.rows import compare_runs, row_names
from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.errors import UserError
from jomold_dist.files import write_json
from jomold_dist.training.run_folder import RunFolder
from tests.run_fixtures import DATA, finished_run

HAN = ("method=han",)
STATIC = ("method=static", "denoise.static_labels.visual=[Speech]")
RATIOS = ("denoise.ratios=file", "denoise.ratio_file=ratios.json")


def run(folder: Path, *overrides: str, seed: int = 0, score: float = 50.0, **more: Any) -> Path:
    return finished_run(folder, load_config(None, [*overrides, f"run.seed={seed}"]), score, **more)


def names(*runs: Path) -> list[tuple[str, int]]:
    return [(row.name, len(row.runs)) for row in compare_runs(runs).rows]


def test_seeds_are_one_row_and_other_settings_another(tmp_path: Path) -> None:
    joint = [run(tmp_path / f"joint{n}", seed=n, score=60 + 2 * n, removed=10) for n in range(2)]
    intra = run(tmp_path / "intra", "denoise.rule=intra", score=70)
    han = run(tmp_path / "han", *HAN)
    found = compare_runs([*joint, intra, han])
    text = report(found)
    assert [(row.name, len(row.runs)) for row in found.rows] == [
        ("jomold", 2),
        ("jomold, denoise.rule=intra", 1),
        ("han", 1),
    ]
    cells = [re.split(r" *\| *", line) for line in text.splitlines()]
    assert ["", "jomold", "2", "61.0 ± 1.4"] in [line[:4] for line in cells]
    assert ["", "jomold, audio", "10.0 ± 0.0", "1.00 ± 0.00", "50.0 ± 0.0", "-", ""] in cells
    assert text.startswith("F-scores on test of tiny, simulated data, in percent, mean ± standard deviation over seeds")
    assert "what a row does not name has its default, or is the same in all" in text
    assert found.notes == []


def cells_of(text: str) -> dict[str, dict[str, str]]:
    """The first table of a page: cells by row and header."""
    lines = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    end = next((n for n, line in enumerate(lines) if line[0] == "removed labels"), len(lines))
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:end]}


def test_rows_are_paired_with_the_controls_by_seed(tmp_path: Path) -> None:
    paths = []
    for seed in range(5):
        made = {"han": 60.0 + seed, "static": 66.0 + seed, "jomold": 65.0 + seed, "intra": 60.0 + seed + (-1) ** seed}
        for name, score in made.items():
            method = {"han": HAN, "static": STATIC, "intra": ("denoise.rule=intra",)}.get(name, ())
            paths.append(run(tmp_path / f"{name}{seed}", *method, seed=seed, score=score, removed=100))
    cells = cells_of(report(compare_runs(paths)))
    assert cells["jomold"]["Δ han"] == "+5.0 ± 0.0"
    assert cells["jomold"]["than han"] == "above"
    assert cells["jomold"]["Δ static"] == "−1.0 ± 0.0"
    assert cells["jomold, denoise.rule=intra"]["than han"] == "open"  # +1 and -1 by turns
    assert cells["jomold, denoise.rule=intra"]["Δ han"] == "+0.2 ± 1.4"
    han = next(cells[name] for name in cells if name.startswith("han"))
    assert (han["Δ han"], han["than han"], han["Δ static"]) == ("-", "-", "−6.0 ± 0.0")
    assert "gap closed %" not in han  # no run of the true labels is among them
    other = report(compare_runs(paths[:8]), "event_visual")
    assert "Δ: difference of ev V" in other
    assert "Fewer than 5 seeds carry no claim, and every row has 2." in other


def test_the_placebo_is_a_control(tmp_path: Path) -> None:
    methods = {"han": HAN, "random": ("method=random",), "jomold": ()}
    found = compare_runs([run(tmp_path / name, *given, removed=100) for name, given in methods.items()])
    assert found.controls == ["han", "random"]
    assert {name: line["Δ random"] for name, line in cells_of(report(found)).items()} == {
        "han": "+0.0", "random": "-", "jomold": "+0.0"
    }  # fmt: skip


def test_the_control_of_a_row_is_the_one_that_shares_its_other_settings(tmp_path: Path) -> None:
    for epochs in (6, 25):
        run(tmp_path / f"han{epochs}", *HAN, f"train.epochs={epochs}", score=epochs)
        run(tmp_path / f"jomold{epochs}", f"train.epochs={epochs}", score=epochs + 1, removed=100)
    run(tmp_path / "wide", "train.batch_size=64", score=30, removed=100)
    run(tmp_path / "between", "train.epochs=7", score=30, removed=100)
    found = compare_runs(sorted(tmp_path.iterdir()))
    cells = cells_of(report(found))
    assert {name: line["Δ han"] for name, line in cells.items() if name.startswith("jomold")} == {
        "jomold, train.batch_size=64": "+5.0",
        "jomold, train.epochs=7": "-",
        "jomold, train.epochs=6": "+1.0",
        "jomold": "+1.0",
    }
    between, wide = found.notes
    assert between == ("jomold, train.epochs=7 is not compared with han: han and han, train.epochs=6 are as near")
    assert wide == ("jomold, train.batch_size=64 differs from han in more than its method: train.batch_size")


def test_a_row_that_removes_next_to_nothing_is_told_to_be_han(tmp_path: Path) -> None:
    runs = [run(tmp_path / "han", *HAN), run(tmp_path / "some", removed=5), run(tmp_path / "few", *STATIC, removed=4)]
    text = report(compare_runs(runs))  # of 25 epochs x 40 labels
    assert '- static, denoise.static_labels.visual=["Speech"] is han in effect: it took out less than 0.5 %' in text
    assert text.count("in effect") == 1


def test_a_network_of_one_modality_has_dashes_and_no_difference(tmp_path: Path) -> None:
    audio = run(tmp_path / "audio", "model.layers=2", *HAN, score=40, names=("segment_audio", "event_audio"))
    both = [run(tmp_path / "han", *HAN, score=60), run(tmp_path / "jomold", score=61, removed=100)]
    cells = cells_of(report(compare_runs([audio, *both])))
    assert [cells["han, model.layers=2"][name] for name in ("seg A", "seg V", "seg Type", "ev A")] == [
        "40.0", "-", "-", "40.0"
    ]  # fmt: skip
    for damaged in ("segment_type", "segment_audio"):
        scores = json.loads((audio / "scores.json").read_text())
        write_json(audio / "scores.json", scores | {"scores": {damaged: 1.0}})
        with pytest.raises(UserError, match=f"{damaged} is not the scores of one modality or of both"):
            compare_runs([audio])


def test_comma_separated_and_latex(tmp_path: Path) -> None:
    found = compare_runs([run(tmp_path / "a", seed=3, score=61.5, removed=7), run(tmp_path / "han", *HAN)])
    first, second, third = report(found, form="csv").splitlines()
    assert first.startswith("data,simulated,row,seed,segment_audio,")
    assert second.startswith("tiny,True,jomold,3,61.5,")
    assert second.endswith(",7,0.5,,7,0.5,")
    assert third.startswith("tiny,True,han,0,50.0,")
    tex = report(found, form="tex")
    assert tex.startswith("% Fewer than 5 seeds carry no claim, and every row has 1.")
    assert r"jomold & 1 & 61.5" in tex


def test_the_folder_of_a_sweep_s_trials(tmp_path: Path) -> None:
    """Estimators, their ratios, logs and configs are no runs to compare; nothing of them ends the command."""
    runs = [run(tmp_path / name, seed=n) for n, name in enumerate(("0a", "0b"))]
    for number in range(2):
        estimator = run(tmp_path / f"estimator-{number}", seed=number)
        (estimator / "scores.json").unlink()
        (estimator / "removals.json").unlink()
    for name in ("logs", "configs", "ratios"):
        (tmp_path / name).mkdir()
    found = compare_runs(sorted(tmp_path.iterdir()))
    assert [[run.folder.path for run in row.runs] for row in found.rows] == [runs]
    assert [note.split(" ")[0] for note in found.notes] == [
        f"{tmp_path / 'estimator-0'}", f"{tmp_path / 'estimator-1'}", "no"
    ]  # fmt: skip


def test_real_data_are_not_called_simulated(tmp_path: Path) -> None:
    text = report(compare_runs([run(tmp_path / "a", data=replace(DATA, simulated=False))]))
    assert "simulated" not in text
    assert "default" not in text


def test_settings_that_do_not_matter_make_no_row(tmp_path: Path) -> None:
    """Neither those that decide nothing, nor those that the method does not look at, nor the recipe's name."""
    plain = run(tmp_path / "a", *HAN, seed=0)
    other = run(
        tmp_path / "b", *HAN, "denoise.rule=intra", "data.threads=1", "train.engine=deepspeed", "run.dir=c", seed=1
    )
    assert names(plain, other) == [("han", 2)]


def test_what_decides_nothing_in_a_row_is_not_told_of_it(tmp_path: Path) -> None:
    """Without an estimator its epochs are of no matter, whatever the config says; nor are defaults told."""
    given = ("denoise.ratios=constant", "denoise.ratio_constant=0.2", "estimator.epochs=2")
    runs = [run(tmp_path / "constant", *given), run(tmp_path / "estimated", "estimator.epochs=3", "train.patience=2")]
    assert names(*runs) == [
        ("jomold, denoise.ratios=constant, denoise.ratio_constant=0.2", 1),
        ("jomold, estimator.epochs=3, train.patience=2", 1),
    ]


def test_lengths_of_training_are_told_apart(tmp_path: Path) -> None:
    short = run(tmp_path / "a", "train.epochs=1", seed=0)
    longer = run(tmp_path / "b", "train.epochs=2", seed=1)
    assert names(short, longer) == [("jomold, train.epochs=1", 1), ("jomold, train.epochs=2", 1)]


def test_scores_are_of_the_epochs_that_were_scored(tmp_path: Path) -> None:
    """A run that is to be longer now, and ended before its training."""
    config = load_config(None, ["train.epochs=1"])
    folder = finished_run(tmp_path / "a", config)
    with RunFolder(folder).claimed(replace(config, train=replace(config.train, epochs=9)), DATA.manifest):
        pass
    other = run(tmp_path / "b", "train.epochs=9", seed=1)
    assert names(folder, other) == [("jomold, train.epochs=1", 1), ("jomold, train.epochs=9", 1)]


def test_an_early_end_is_one_that_the_history_tells_of(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", "train.epochs=9", "train.patience=2")
    removals = json.loads((folder / "removals.json").read_text())
    write_json(folder / "removals.json", removals | {"epochs": 4})
    lines = [{"stage": "model", "epoch": epoch} for epoch in range(1, 5)]
    RunFolder(folder).write_history("model", lines)
    with pytest.raises(UserError, match=r"removals\.json is of 4 epochs, and scores\.json of 9"):
        names(folder)
    RunFolder(folder).write_history("model", [*lines[:-1], lines[-1] | {"ended_early": True}])
    assert names(folder) == [("jomold", 1)]


def test_orders_are_told_apart(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, seed=n) for n, name in enumerate("ab")]
    owner = json.loads((runs[1] / "owner.json").read_text())
    write_json(runs[1] / "owner.json", owner | {"plan": owner["plan"] + 1})
    assert names(*runs) == [("jomold", 1), (f"jomold, plan={owner['plan'] + 1}", 1)]


def test_ratio_files_are_told_apart_by_what_they_held(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, *RATIOS, seed=n) for n, name in enumerate("abc")]
    for folder, ratio in zip(runs, (0.1, 0.1, 0.2), strict=True):
        write_json(folder / "noise_ratios.json", {"categories": ["Dog"], "audio": [ratio], "visual": [ratio]})
    (first, two), (second, one) = names(*runs)
    assert (two, one) == (2, 1)
    assert first != second
    assert all(name.startswith("jomold, denoise.ratio_file=ratios.json#") for name in (first, second))


def test_what_differs_between_methods_is_named_where_it_is_not_the_default(tmp_path: Path) -> None:
    han = run(tmp_path / "han", *HAN, "train.epochs=6")
    static, jomold = run(tmp_path / "static", *STATIC), run(tmp_path / "jomold")
    assert names(han, static, jomold) == [
        ("han, train.epochs=6", 1),
        ('static, denoise.static_labels.visual=["Speech"]', 1),
        ("jomold", 1),
    ]


ROWS = st.fixed_dictionaries(
    {
        "method": st.sampled_from("ab"),
        "train.epochs": st.sampled_from([1, 25]),
        "denoise.rule": st.sampled_from(["joint", "intra"]),
    }
)


@given(st.lists(ROWS, min_size=1, unique_by=lambda row: json.dumps(row, sort_keys=True)))
def test_no_two_rows_have_one_name(rows: list[dict[str, Any]]) -> None:
    assert len(set(row_names(rows))) == len(rows)


def test_different_data_sets_are_refused(tmp_path: Path) -> None:
    other = replace(DATA, name="llp", manifest="1" * 64, simulated=False)
    runs = [run(tmp_path / "a"), run(tmp_path / "b", seed=1), run(tmp_path / "c", data=other)]
    with pytest.raises(UserError) as refused:
        compare_runs(runs)
    assert f"tiny, simulated (manifest {'0' * 12}): {runs[0]}, {runs[1]}\n" in str(refused.value)
    assert f"llp (manifest {'1' * 12}): {runs[2]}" in str(refused.value)


def test_a_folder_counts_once(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    link, around = tmp_path / "link", folder / ".." / "a"
    link.symlink_to("a")
    found = compare_runs([folder, around, link])
    assert [len(row.runs) for row in found.rows] == [1]
    assert found.notes == [f"{around} is {folder}: counted once", f"{link} is {folder}: counted once"]


def test_a_copy_counts_once_and_another_result_of_the_seed_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    copy = shutil.copytree(folder, tmp_path / "b")
    found = compare_runs([folder, copy])
    assert [len(row.runs) for row in found.rows] == [1]
    assert found.notes == [f"{copy} has the settings and the seed of {folder}, and its scores: counted once"]
    again = run(tmp_path / "c", score=51)
    with pytest.raises(UserError, match=f"{again} has the settings and the seed of {folder}, but other scores"):
        compare_runs([folder, again])


def test_what_is_no_finished_run_is_left_out_with_a_line(tmp_path: Path) -> None:
    folders = [run(tmp_path / name, seed=n) for n, name in enumerate(("good", "failed", "running", "until", "new"))]
    RunFolder(folders[1]).write_status("failed", exit_code=1)
    RunFolder(folders[2]).write_status("running", stage="train")
    (folders[3] / "scores.json").unlink()
    (folders[4] / "status.json").unlink()
    (tmp_path / "mlflow.db").write_bytes(b"SQLite")
    (tmp_path / "mlartifacts").mkdir()
    found = compare_runs(sorted(tmp_path.iterdir()))
    assert [len(row.runs) for row in found.rows] == [1]
    assert found.notes == [
        f"{tmp_path / 'failed'} is left out: it is not finished, its state is 'failed'",
        f"{tmp_path / 'new'} is left out: it has not begun",
        f"{tmp_path / 'running'} is left out: it is not finished, its state is 'running'",
        f"{tmp_path / 'until'} is left out: it has no scores, as a sweep's estimator, a run that ended with --until, "
        "or one whose data set has no dense labels in test",
        f"no run's folder: {tmp_path / 'mlartifacts'}, {tmp_path / 'mlflow.db'}",
    ]
    with pytest.raises(UserError, match="no finished run"):
        compare_runs(folders[1:])
    with pytest.raises(UserError) as refused:
        compare_runs([tmp_path])
    assert str(refused.value) == f"no run's folder: {tmp_path} (did you mean {tmp_path}/*?)"


def test_a_training_that_ended_early_is_told(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", "train.patience=2")
    removals = json.loads((folder / "removals.json").read_text())
    write_json(folder / "removals.json", removals | {"epochs": 7})
    with (folder / "history.jsonl").open("w") as history:
        history.write(json.dumps({"stage": "model", "epoch": 7, "ended_early": True}) + "\n")
    (note,) = compare_runs([folder]).notes
    assert note == f"{folder} ended after epoch 7 of 25, as no epoch got better (train.patience)"


def test_videos_that_could_not_be_used_are_told(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    (folder / "bad_videos.csv").write_text("split,shard,number,key,problem\n")
    (note,) = compare_runs([folder]).notes
    assert note == f"{folder} could not use all videos of its data set, see its bad_videos.csv"


def test_versions_are_told(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, seed=n) for n, name in enumerate("ab")]
    scores = json.loads((runs[1] / "scores.json").read_text())
    write_json(runs[1] / "scores.json", scores | {"jomold_dist": "0.2.0"})
    assert compare_runs(runs).notes == ["scored by different versions of jomold_dist: 0.1.0, 0.2.0"]


READ = ("config.yaml", "owner.json", "removals.json", "scores.json", "status.json")
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2] + b": [",  # defaults alone may lie behind a cut
    "a list": lambda content: b"[]",
    "another mapping": lambda content: b'{"seed": 0}',
    "binary": lambda content: bytes(range(256)),
    "deep": lambda content: b"[" * 100_000,
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("file", READ)
def test_a_damaged_file_is_one_message(file: str, how: str, tmp_path: Path) -> None:
    good, bad = run(tmp_path / "good"), run(tmp_path / "bad", seed=1)
    (bad / file).write_bytes(DAMAGE[how]((bad / file).read_bytes()))
    with pytest.raises(UserError, match=file):
        compare_runs([good, bad])


@settings(max_examples=200)
@given(file=st.sampled_from(READ), at=st.floats(0, 1), content=st.binary(max_size=3))
def test_any_damage_is_refused_or_changes_nothing(
    file: str, at: float, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file that is cut off anywhere, and goes on with other bytes: no traceback, and no other row."""
    folder = run(tmp_path_factory.mktemp("runs") / "a")
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: int(at * len(whole))] + content)
    with suppress(UserError):
        assert names(folder) == [("jomold", 1)]


def test_a_result_of_an_older_form_says_what_to_do(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    scores = json.loads((folder / "scores.json").read_text())
    del scores["data"]
    write_json(folder / "scores.json", scores)
    with pytest.raises(UserError, match=r"of another version .* training command scores the finished model anew"):
        compare_runs([folder])


def test_scores_of_another_data_set_are_not_the_run_s(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    scores = json.loads((folder / "scores.json").read_text())
    write_json(folder / "scores.json", scores | {"data": scores["data"] | {"manifest": "1" * 64}})
    with pytest.raises(UserError, match="another data set than the run"):
        compare_runs([folder])


def test_a_config_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("rule: joint", "rule: intra"))
    with pytest.raises(UserError, match="is not the config that owner"):
        compare_runs([folder])


@pytest.mark.parametrize("file", READ)
def test_a_file_that_cannot_be_read_is_not_called_damaged(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, read = run(tmp_path / "a"), io.open

    def failing(path: Any, *arguments: Any, **named: Any) -> Any:
        if path == folder / file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path, *arguments, **named)

    monkeypatch.setattr(io, "open", failing)
    with pytest.raises(UserError, match=f"{file}.*: Input/output error") as refused:
        compare_runs([folder])
    assert "damaged" not in str(refused.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UserError, match="2 problems") as refused:
        compare_runs([tmp_path / "none", tmp_path / "circle"])
    assert f"{tmp_path / 'none'} cannot be read: No such file or directory" in str(refused.value)


def test_configs_of_every_method_can_be_compared() -> None:
    assert row_names([Config(method=m).flat() | {"plan": 1} for m in ("han", "jomold")]) == ["han", "jomold"]
