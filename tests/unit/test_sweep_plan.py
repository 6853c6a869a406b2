"""What a sweep file asks for: rows, draws, and trainings that are the same."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.denoising.noise_ratio import NoiseRatios
from jomold_dist.errors import ConfigError
from jomold_dist.methods.registry import essential
from jomold_dist.tuning.config import load_sweep
from jomold_dist.tuning.plan import plan_sweep
from jomold_dist.tuning.rows import Cell, Row, baseline_of, cells_of, departures, extreme_rows, rows_of
from jomold_dist.tuning.trials import estimator_config, run_name, trials_of, with_ratios
from tests.shard_fixtures import write_dataset

DATA = "0" * 64

GRID = """
sweep:
  seeds: [3, 4]
  space:
    denoise.audio_threshold: [0.5, 0.6]
    denoise: {visual_threshold: [1.7, 1.8, 1.9]}
  controls:
    han: {method: han}
    static: {method: static, denoise: {static_labels: {visual: [Dog]}}}
"""


def rows(tmp_path: Path, text: str, *overrides: str) -> list[Row]:
    return rows_of(load_sweep(written(tmp_path, text), overrides))


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return file


def test_a_grid_is_the_product_of_its_lists_after_the_controls(tmp_path: Path) -> None:
    found = rows(tmp_path, GRID)
    assert [row.name for row in found] == [
        "han",
        "static",
        *(f"audio_threshold={a}, visual_threshold={v}" for a in (0.5, 0.6) for v in (1.7, 1.8, 1.9)),
    ]
    assert found[1].settings == {"method": "static", "denoise.static_labels.visual": ["Dog"]}
    assert found[-1].settings == {"denoise.audio_threshold": 0.6, "denoise.visual_threshold": 1.9}
    assert baseline_of(load_sweep(tmp_path / "sweep.yaml"), found) == "han"
    cells = cells_of(tmp_path / "sweep.yaml", [], load_sweep(tmp_path / "sweep.yaml"), found)
    assert [(cell.row, cell.seed) for cell in cells[:3]] == [("han", 3), ("han", 4), ("static", 3)]
    assert cells[-1].config.denoise.visual_threshold == 1.9
    assert cells[-1].config.run.seed == 4


SYSTEMS = """
train: {epochs: 8}
sweep:
  seeds: [0]
  controls:
    han: {method: han}
  variants:
    one: {config: systems/one.yaml}
    one without video loss: {config: systems/one.yaml, loss: {video: 0}, train.batch_size: 7}
"""
ONE = """
base: base.yaml
method: static
run: {dir: runs/one}
denoise: {static_labels: {visual: [Dog]}}
train: {epochs: 25, learning_rate: 0.001}
"""


def systems(tmp_path: Path, text: str = SYSTEMS, one: str = ONE) -> Path:
    """A sweep file with a row that takes its settings from a system's config."""
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "one.yaml").write_text(one)
    (tmp_path / "systems" / "base.yaml").write_text("loss: {audio: 5.0}")
    return written(tmp_path, text)


def test_a_row_takes_its_settings_from_a_config_and_the_sweep_s_file_wins(tmp_path: Path) -> None:
    file = systems(tmp_path)
    found = rows_of(load_sweep(file))
    assert [row.name for row in found] == ["han", "one", "one without video loss"]
    han, one, without = (cell.config for cell in cells_of(file, ["model.layers=2"], load_sweep(file), found))
    assert (one.method, one.denoise.static_labels.visual, one.loss.audio) == ("static", ("Dog",), 5.0)
    assert (one.train.learning_rate, one.train.epochs, one.model.layers) == (0.001, 8, 2)
    assert (without.loss.video, without.loss.audio, without.train.batch_size) == (0, 5.0, 7)
    assert han.loss.audio == Config().loss.audio  # nothing of it is another row's
    asked = {"train.epochs": (25, 8), "model.layers": (1, 2)}
    assert [departures(row, file, config) for row, config in zip(found, (han, one, without), strict=True)] == [
        {}, asked, asked
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "one", "part"),
    [
        (
            f"method: jomold{SYSTEMS}",
            ONE,
            "row 'one': systems/one.yaml is of the method 'static', and the sweep's",
        ),
        (SYSTEMS.replace("one.yaml", "two.yaml"), ONE, "two.yaml: No such file or directory"),
        (SYSTEMS.replace("systems/one.yaml", "3"), ONE, "sweep.variants.one: config = 3 must name the config file"),
        (SYSTEMS, "train: {epoch: 3}", "systems/one.yaml:1: unknown setting 'train.epoch'"),
    ],
)
def test_a_config_under_a_row_that_cannot_be_used_is_told(tmp_path: Path, text: str, one: str, part: str) -> None:
    file = systems(tmp_path, text, one)
    with pytest.raises(ConfigError) as error:
        cells_of(file, [], load_sweep(file), rows_of(load_sweep(file)))
    assert part in str(error.value)


def test_draws_stay_in_their_bounds_and_come_again(tmp_path: Path) -> None:
    text = """
sweep:
  samples: 40
  space:
    train.learning_rate: {loguniform: [1e-4, 1e-2]}
    denoise.warmup_epochs: {uniform: [0.5, 1]}
    train.batch_size: {choice: [16, 32]}
    denoise.rule: [joint, intra]
"""
    found = rows(tmp_path, text)
    assert len(found) == 80
    assert found == rows(tmp_path, text)
    rates = [row.settings["train.learning_rate"] for row in found]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 10 < sum(rate < 1e-3 for rate in rates) / 2 < 30  # even on the logarithm's scale
    assert all(0.5 <= row.settings["denoise.warmup_epochs"] <= 1 for row in found)
    assert {row.settings["train.batch_size"] for row in found} == {16, 32}
    assert rows(tmp_path, text, "sweep.draw_seed=1") != found
    assert rows(tmp_path, text, "sweep.samples=10") == found[:20]  # more draws do not change the first ones


OPTUNA = """
sweep:
  search: optuna
  samples: 24
  draws_at_once: 6
  space:
    train.learning_rate: {loguniform: [1e-4, 1e-2]}
    denoise.audio_threshold: {uniform: [0.5, 1]}
    denoise.rule: {choice: [joint, intra]}
"""


def test_optuna_draws_a_round_once_the_last_one_has_scores_and_learns(tmp_path: Path) -> None:
    def score(row: Row) -> float | None:
        return -off(row) if row.settings["train.learning_rate"] < 5e-3 else None  # as if those had failed

    def off(row: Row) -> float:
        return float(abs(row.settings["denoise.audio_threshold"] - 0.6))

    sweep = load_sweep(written(tmp_path, OPTUNA))
    told: dict[str, float | None] = {}
    counts, found = [], rows_of(sweep)
    while len(found) > len(told):
        counts.append(len(found))
        told |= {row.name: score(row) for row in found}
        earlier, found = found, rows_of(sweep, told)
        assert found[: len(earlier)] == earlier
    assert counts == [6, 12, 18, 24]
    assert rows_of(sweep, told) == found  # from nothing but the scores
    assert len({row.name for row in found}) == 24
    assert all(1e-4 <= row.settings["train.learning_rate"] <= 1e-2 for row in found)
    assert all(0.5 <= row.settings["denoise.audio_threshold"] <= 1 for row in found)
    assert {row.settings["denoise.rule"] for row in found} == {"joint", "intra"}
    assert sum(map(off, found[12:])) < 0.7 * sum(map(off, found[:12]))
    assert rows(tmp_path, OPTUNA, "sweep.draw_seed=1") != found[:6]


def test_what_optuna_draws_twice_is_one_row(tmp_path: Path) -> None:
    text = "sweep: {search: optuna, samples: 9, draws_at_once: 3, space: {denoise.rule: {choice: [joint, intra]}}}"
    sweep = load_sweep(written(tmp_path, text))
    told = {row.name: float(len(row.name)) for row in rows_of(sweep)} | {"rule=joint": 1.0, "rule=intra": 2.0}
    assert sorted(row.name for row in rows_of(sweep, told)) == ["rule=intra", "rule=joint"]


def test_bounds_of_what_optuna_may_draw_are_checked_beforehand(tmp_path: Path) -> None:
    text = (
        "sweep: {search: optuna, space: {train.batch_size: {choice: [16, -3]}, train.learning_rate: {uniform: [0, 1]}}}"
    )
    sweep = load_sweep(written(tmp_path, text))
    with pytest.raises(ConfigError) as error:
        cells_of(tmp_path / "sweep.yaml", [], sweep, extreme_rows(sweep))
    assert "train.batch_size = -3 must be at least 1" in str(error.value)
    assert "train.learning_rate = 0" in str(error.value)


def test_trials_that_are_judged_need_the_score(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"train": 6, "val": 2, "test": 2})
    text = f"""
data: {{shards: {tmp_path / "data"}}}
train: {{batch_size: 2}}
method: han
sweep:
  dir: {tmp_path / "sweep"}
  controls: {{both: {{}}}}
  variants: {{audio: {{model.network: talnet, train.selection: segment_audio}}}}
"""
    file = written(tmp_path, text)
    assert len(plan_sweep(file, [], load_sweep(file)).rows) == 2
    asked = ["sweep.scheduler=asha"]
    with pytest.raises(ConfigError, match="row 'audio': its network talnet has no segment_type"):
        plan_sweep(file, asked, load_sweep(file, asked))
    asked += ["sweep.metric=event_audio"]
    assert len(plan_sweep(file, asked, load_sweep(file, asked)).rows) == 2


def test_without_optuna_its_search_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs the package optuna: pip install 'jomold_dist\[optuna\]'"):
        rows(tmp_path, OPTUNA)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("space: {denoise.audio_treshold: [1]}", "unknown setting 'denoise.audio_treshold' (did you mean"),
        ("space: {denoise.audio_threshold: []}", "a grid must be a list of at least one value"),
        ("space: {denoise.audio_threshold: [1, 1]}", "a grid has a value twice"),
        ("space: {denoise.audio_threshold: 0.5}", "must be a list (a grid) or one of {choice"),
        ("space: {denoise.audio_threshold: {normal: [0, 1]}}", "must be a list (a grid) or one of {choice"),
        ("space: {denoise.audio_threshold: {uniform: [1, 0]}}", "must have its lower number first"),
        ("space: {denoise.audio_threshold: {uniform: [1]}}", "must have two numbers"),
        ("space: {train.learning_rate: {loguniform: [0, 1]}}", "loguniform must be above 0"),
        ("space: {run.seed: [1, 2]}", "run.seed is varied by sweep.seeds"),
        ("space: {run.dir: [a, b]}", "run.dir is the sweep's to set"),
        ("variants: {a: 3}", "'a' must be a mapping of settings"),
        ("variants: {a: {method: han}}, controls: {a: {method: static}}", "two rows are called 'a'"),
        ("variants: {a: {method: han}}, baseline: b", "sweep.baseline = 'b' is no row"),
        ("seeds: [one]", "sweep.seeds = ['one'] must be a list of different whole numbers"),
        ("seeds: [1, 1]", "must be a list of different whole numbers"),
        ("seeds: []", "must be a list of different whole numbers"),
        ("samples: 3", "nothing is varied"),
        ("search: optuna, space: {denoise.rule: [joint]}", "denoise.rule is a grid, and sweep.search = 'optuna' draws"),
        ("search: optuna, variants: {a: {method: han}}", "sweep.space: is empty, and sweep.search = 'optuna' needs"),
    ],
)
def test_a_space_that_cannot_be_is_told(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        rows(tmp_path, f"sweep: {{{text}}}")
    assert part in str(error.value)


def test_a_value_that_no_run_takes_is_told_with_its_row(tmp_path: Path) -> None:
    file = written(tmp_path, "sweep: {space: {train.batch_size: [16, -3]}}")
    with pytest.raises(ConfigError, match=r"row 'batch_size=-3': .*train.batch_size = -3 must be at least 1"):
        cells_of(file, [], load_sweep(file), rows_of(load_sweep(file)))


@pytest.mark.parametrize(
    "space",
    [
        "data.storage: [{key: hUnter2x}]",
        "data.storage: {key: hUnter2x}",
        "data.storage: {choice: [{headers: {token: hUnter2x}}]}",
        "data.shards: ['s3://me:hUnter2x@b/x']",
        "data.shards: ['https://h/x?X-Amz-Signature=hUnter2x']",
        "data.shards: {uniform: ['s3://me:hUnter2x@b/x']}",
        "deepspeed.extra: [{comet: {api_key: hUnter2x}}]",
    ],
)
def test_what_is_secret_is_not_repeated(tmp_path: Path, space: str) -> None:
    file = written(tmp_path, f"sweep: {{space: {{{space}}}}}")
    with pytest.raises(ConfigError) as error:
        cells_of(file, [], load_sweep(file), rows_of(load_sweep(file)))
    assert "hUnter2x" not in str(error.value)


def config(*overrides: str, tmp_path: Path = Path("/nowhere")) -> Config:
    return load_config(None, overrides)


def test_what_a_method_does_not_look_at_makes_no_other_run() -> None:
    def same(*pair: tuple[str, ...]) -> bool:
        one, other = (run_name(config(*overrides), DATA) for overrides in pair)
        return one == other

    han, dog = ("method=han",), "denoise.static_labels.visual=[Dog]"
    assert same(han, (*han, "denoise.audio_threshold=0.3", "estimator.epochs=2", "denoise.rule=intra"))
    assert not same(han, (*han, "train.batch_size=3"))
    assert not same(han, (*han, "run.seed=3"))
    assert not same(han, (*han, "train.epochs=3"))  # which a run folder lets grow
    assert same(("method=static", dog), ("method=static", dog, "denoise.warmup=released"))
    assert not same(("method=static", dog), ("method=static", "denoise.static_labels.visual=[Cat]"))
    assert same(("method=jomold",), ("method=jomold", dog))
    assert not same(("method=jomold",), ("method=jomold", "denoise.audio_threshold=0.3"))
    constant = ("denoise.ratios=constant", "denoise.ratio_constant=0.1")
    assert same(constant, (*constant, "denoise.audio_threshold=0.3", "estimator.epochs=2"))
    assert same(("recipe=released", "method=han"), ("recipe=released", "method=han", "denoise.visual_scale=0.5"))
    assert run_name(config(), DATA) != run_name(config(), "1" * 64)


def test_one_estimator_for_all_that_differ_only_in_what_comes_after_it() -> None:
    def folder(*overrides: str) -> str:
        return estimator_config(config(*overrides), DATA, Path("/trials")).run.dir

    assert folder() == folder(
        "denoise.audio_threshold=0.3", "denoise.rule=intra", "train.epochs=3", "denoise.warmup_epochs=1"
    )
    assert folder() != folder("run.seed=1")
    assert folder() == folder("loss.contrastive=0", "loss.audio=3")
    assert folder() != folder("loss.visual_smoothing=0.9")
    assert folder() != folder("estimator.loss.contrastive=0")
    assert folder() != folder("estimator.cross_modal=true")
    assert folder() != folder("train.batch_size=64")
    assert folder("train.batch_size=64") == folder("train.batch_size=1024", "estimator.batch_size=64")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_equal_noise_ratios_are_one_trial(
    tmp_path_factory: pytest.TempPathFactory, one: list[float], other: list[float]
) -> None:
    trials = tmp_path_factory.mktemp("trials")

    def cell(threshold: float, ratios: list[float]) -> Cell:
        with_threshold = replace(config(), denoise=replace(config().denoise, audio_threshold=threshold))
        found = NoiseRatios(torch.tensor(ratios, dtype=torch.float64), torch.tensor(ratios, dtype=torch.float64))
        return Cell(f"{threshold}", 0, with_ratios(with_threshold, found, ("a", "b"), trials))

    cells = [cell(0.1, one), cell(0.2, other), cell(0.3, one)]
    made = trials_of(cells, DATA, trials)
    assert len(made) == (1 if one == other else 2)
    assert {c.row for c in made[0].cells} >= {"0.1", "0.3"}
    assert essential(made[0].config).denoise.audio_threshold == Config().denoise.audio_threshold
