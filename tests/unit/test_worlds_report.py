"""The same methods on several data sets, side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jomold_dist.comparing.worlds import ratio_errors, worlds_report
from jomold_dist.config_files import load_config
from jomold_dist.errors import DataError
from jomold_dist.training.run_folder import RunFolder
from tests.run_fixtures import DATA, finished_run, write_run

OTHER = replace(DATA, name="other", manifest="1" * 64)
SCORES = {"han": 50.0, "jomold": 60.0, "true": 70.0}


def cells(text: str, row: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} ")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_each_data_set_is_compared_with_its_own_controls(tmp_path: Path) -> None:
    paths = []
    for number, data in enumerate((OTHER, DATA)):
        for method, score in SCORES.items():
            for seed in range(2):
                config = load_config(None, [f"method={method}", f"run.seed={seed}"])
                score_here = score + 5 * number * (method == "jomold") + seed
                folder = tmp_path / data.name / f"{method}-{seed}"
                paths.append(finished_run(folder, config, score_here, data=data))
    text = worlds_report([*paths, tmp_path], ["segment_type"])
    assert cells(text, "row") == ["other", "tiny"]
    assert cells(text, "han") == ["50.5 ± 0.7", "50.5 ± 0.7"]
    assert cells(text, "jomold") == ["60.5 ± 0.7 (50.0 ± 0.0)", "65.5 ± 0.7 (75.0 ± 0.0)"]
    assert "- tiny: Fewer than 5 seeds carry no claim" in text
    assert f"- no run's folder: {tmp_path}" in text


def test_settings_name_a_row_only_where_its_method_has_several(tmp_path: Path) -> None:
    paths = []
    for data, extra in ((OTHER, "Speech"), (DATA, "Dog")):
        config = load_config(None, ["method=static", f"denoise.static_labels.visual=[{extra}]"])
        paths.append(finished_run(tmp_path / f"{data.name}-static", config, 40.0, data=data))
    for rule in ("joint", "intra"):
        config = load_config(None, [f"denoise.rule={rule}"])
        paths.append(finished_run(tmp_path / rule, config, 60.0, data=DATA))
    text = worlds_report(paths, ["segment_type"])
    assert cells(text, "static") == ["40.0", "40.0"]
    assert cells(text, "jomold, denoise.rule=intra") == ["-", "60.0"]


def test_settings_that_differ_between_data_sets_are_told(tmp_path: Path) -> None:
    paths = []
    for data, epochs in ((OTHER, 2), (DATA, 3)):
        for method in ("han", "static"):
            settings = [f"method={method}", *([f"train.epochs={epochs}"] if method == "han" else [])]
            settings += [f"denoise.static_labels.visual=[{data.name}]"] if method == "static" else []
            paths.append(finished_run(tmp_path / f"{data.name}-{method}", load_config(None, settings), data=data))
    text = worlds_report(paths, ["segment_type"])
    assert "- not set alike on all data sets: train.epochs (of han)" in text
    assert "(of static" not in text


def test_data_sets_of_one_name_have_columns_of_their_own(tmp_path: Path) -> None:
    paths = [
        finished_run(tmp_path / digest, load_config(None, []), score, data=replace(DATA, manifest=digest * 64))
        for digest, score in (("a", 40.0), ("b", 60.0))
    ]
    text = worlds_report(paths, ["segment_type"])
    assert cells(text, "row") == ["tiny (aaaaaaaa)", "tiny (bbbbbbbb)"]
    assert cells(text, "jomold") == ["40.0", "60.0"]
    assert "- tiny (aaaaaaaa): Fewer than 5 seeds" in text


def test_a_row_is_measured_against_the_others_by_seed(tmp_path: Path) -> None:
    scores = {"han": (50.0, 55.0), "static": (52.0, 57.0), "mixture": (60.0, 67.0), "true": (70.0, 70.0)}
    paths = []
    for data in (OTHER, DATA):
        for method, by_seed in scores.items():
            if method == "static" and data is OTHER:
                continue
            for seed, score in enumerate(by_seed):
                settings = [f"method={method}", f"run.seed={seed}", "denoise.static_labels.visual=[Speech]"]
                folder = tmp_path / data.name / f"{method}-{seed}"
                paths.append(finished_run(folder, load_config(None, settings), score, data=data))
    text = worlds_report(paths, ["segment_type"])
    _, differences = text.split("seg Type: mixture minus another row")
    assert cells(differences, "mixture minus") == ["other", "tiny"]
    assert cells(differences, "han") == ["+11.0 ± 12.7", "+11.0 ± 12.7"]
    assert cells(differences, "static") == ["-", "+9.0 ± 12.7"]
    assert "| true" not in differences.split("\n\n")[1]
    _, differences = worlds_report(paths, ["segment_type"], "static").split("static minus another row")
    assert cells(differences, "han") == ["-", "+2.0 ± 0.0"]
    with pytest.raises(DataError, match="no row 'ma'; the rows are: han; "):
        worlds_report(paths, ["segment_type"], "ma")


def test_folders_without_scores_belong_to_no_data_set(tmp_path: Path) -> None:
    runs = [finished_run(tmp_path / data.name, load_config(None, []), data=data) for data in (OTHER, DATA)]
    begun = finished_run(tmp_path / "begun", load_config(None, []))
    RunFolder(begun).write_status("running")
    text = worlds_report([begun, tmp_path / "nowhere", *runs], ["segment_type"])
    assert f"- {begun} is left out: it is not finished, its state is 'running'" in text
    assert f"- {tmp_path / 'nowhere'} is left out: it does not exist" in text


def test_without_a_run_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished run"):
        worlds_report([tmp_path], ["segment_type"])


def test_how_rightly_labels_are_removed_is_told_where_the_truth_is_known(tmp_path: Path) -> None:
    config = load_config(None, [])
    folder = RunFolder(finished_run(tmp_path / "run", config, 60.0, removed=10))
    assert "precision / recall" not in worlds_report([folder.path], ["segment_type"])
    removals = json.loads(folder.removals.read_text())
    removals["total"]["visual"] |= {"precision": 0.75, "recall": 0.5}
    folder.removals.write_text(json.dumps(removals))
    assert cells(worlds_report([folder.path], ["segment_type"]), "jomold, visual") == ["75 / 50"]


def test_errors_of_noise_ratios_are_over_the_categories_with_labels(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 50)
    folder = RunFolder(tmp_path / "run")
    removals = json.loads(folder.removals.read_text())
    # audio .1 and 0 of 4/40 and 0/10 noise; visual .5 and .25 of 16/40 and 2/10
    assert ratio_errors(folder, removals) == pytest.approx((0.0, 0.075))
    removals["categories"]["Dog"]["visual"]["labels"] = 0
    assert ratio_errors(folder, removals) == pytest.approx((0.0, 0.1))
    for categories in removals["categories"].values():
        categories["visual"]["labels"] = 0
    assert ratio_errors(folder, removals) == (0.0, None)
    del removals["categories"]["Speech"]["audio"]["noise"]
    assert ratio_errors(folder, removals) is None
    folder.noise_ratios.unlink()
    assert ratio_errors(folder, removals) is None
