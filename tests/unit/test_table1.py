"""Table 1's sweep: every system from its own config, on the table's data, for the table's epochs and batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.tuning.config import load_sweep
from jomold_dist.tuning.paper import paper_scores
from jomold_dist.tuning.rows import cells_of, departures, rows_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TABLE = CONFIGS / "sweeps" / "table1.yaml"
COMMON = {"train.epochs", "refine.epochs", "estimator.epochs", "train.batch_size", "small_loss.gradual_epochs"}


@pytest.fixture(scope="module")
def configs() -> dict[str, Config]:
    """The config of each row's first seed."""
    sweep = load_sweep(TABLE, ["sweep.seeds=0"])
    return {cell.row: cell.config for cell in cells_of(TABLE, ["sweep.seeds=0"], sweep, rows_of(sweep))}


def test_every_row_has_the_table_s_data_epochs_and_batches(configs: dict[str, Config]) -> None:
    for name, config in configs.items():
        asked = (config.data.shards, config.train.epochs, config.refine.epochs, config.train.batch_size)
        assert asked == ("data/sweeps/llp", 8, 8, 32), name


def test_all_else_is_the_system_s_own(configs: dict[str, Config]) -> None:
    found = {row.name: departures(row, TABLE, configs[row.name]) for row in rows_of(load_sweep(TABLE))}
    assert {name: changed.keys() - COMMON for name, changed in found.items()} == {name: set() for name in configs}
    assert configs["han-original"].loss.visual_smoothing == 0.9
    assert configs["ma"].train.learning_rate == load_config(CONFIGS / "systems" / "ma.yaml").train.learning_rate


def test_no_system_and_no_row_of_the_paper_is_left_out(configs: dict[str, Config]) -> None:
    asked = yaml.safe_load(TABLE.read_text())["sweep"]
    files = {
        Path(row["config"]).name
        for row in [*asked["controls"].values(), *asked["variants"].values()]
        if "config" in row
    }
    assert files == {file.name for file in (CONFIGS / "systems").glob("*.yaml")}
    of_the_paper = [name for name in configs if paper_scores("table1", name, {})]
    assert len(of_the_paper) == 12
    scores = paper_scores("table1", "talnet", {})
    assert scores == {"segment_audio": 50.0, "event_audio": 41.7}
