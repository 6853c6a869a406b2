"""Configs by name: those that come with the package, and files that win over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jomold_dist.config_files import load_config
from jomold_dist.errors import ConfigError
from jomold_dist.shipped import config_path, near_shipped, shipped_folder, shipped_names
from jomold_dist.tuning.config import load_sweep
from jomold_dist.tuning.rows import cells_of, rows_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_finds_its_own() -> None:
    assert shipped_folder() == ROOT / "configs"
    assert {"llp", "quickstart", "sweeps/table2b", "worlds/llp"} <= set(shipped_names())


@pytest.mark.parametrize("name", shipped_names())
def test_each_is_found_by_its_name_and_reads(name: str) -> None:
    path = config_path(name)
    assert path == ROOT / "configs" / f"{name}.yaml" == config_path(f"{name}.yaml")
    (load_sweep if name.startswith("sweeps/") else load_config)(path)


def test_a_file_of_that_path_wins(empty_folder: Path) -> None:
    own = empty_folder / "quickstart"
    own.mkdir()
    assert config_path("quickstart") == ROOT / "configs" / "quickstart.yaml"  # a folder is no config
    own.rmdir()
    own.write_text("run: {dir: mine}")
    assert config_path("quickstart") == Path("quickstart")
    assert config_path("quickstart.yaml") == ROOT / "configs" / "quickstart.yaml"


def test_a_config_of_ones_own_stands_on_one_that_comes_with_the_package(empty_folder: Path) -> None:
    own = empty_folder / "mine.yaml"
    own.write_text("base: quickstart\nrun: {dir: mine}\n")
    assert load_config(own) == load_config(config_path("quickstart"), ["run.dir=mine"])
    (empty_folder / "quickstart").write_text("train: {epochs: 3}\n")  # a file beside it wins
    assert load_config(own).train.epochs == 3
    own.write_text("base: qickstart\n")
    with pytest.raises(ConfigError, match=r"base = 'qickstart': config file .*\(did you mean '.*quickstart'\?\)"):
        load_config(own)


def test_a_sweep_s_rows_take_them_too(empty_folder: Path) -> None:
    own = empty_folder / "sweep.yaml"
    own.write_text("base: base\nsweep: {variants: {ma: {config: systems/ma}}}\n")
    sweep = load_sweep(own)
    (row,) = rows_of(sweep)
    assert row.file(own) == ROOT / "configs" / "systems" / "ma.yaml"
    assert {cell.config.method for cell in cells_of(own, [], sweep, [row])} == {"ma"}


@pytest.mark.parametrize("text", ["./llp", "../configs/llp", "/llp", "none.yaml", ""])
def test_what_is_no_name_is_a_path(text: str) -> None:
    assert config_path(text) == Path(text)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("qickstart", " (did you mean 'quickstart'?)"),
        ("configs/llp.yaml", " (did you mean 'llp'?)"),
        ("sweeps/table2", " (did you mean 'sweeps/table2f'?)"),
        ("elsewhere/mine.yaml", ""),
    ],
)
def test_a_name_that_is_none_gets_a_hint(asked: str, hint: str) -> None:
    assert near_shipped(Path(asked)) == hint


def test_a_name_like_no_other_gets_all_of_them() -> None:
    assert near_shipped(Path("xyz")).startswith("; the configs that come with jomold_dist are base, llp, llp-released")
