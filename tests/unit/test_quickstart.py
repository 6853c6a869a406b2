"""What `make run` asks for is right, before minutes are spent on it."""

from __future__ import annotations

import pytest

from jomold_dist.commands.quickstart import CLOSING, CONFIG, METHODS, World
from jomold_dist.config_files import load_config
from jomold_dist.methods.registry import checked
from jomold_dist.shipped import config_path


@pytest.mark.parametrize("scenario", CLOSING)
def test_every_training_of_it_has_a_config_of_its_own(scenario: str) -> None:
    configs = [checked(load_config(config_path(CONFIG), World(scenario).overrides(method))) for method in METHODS]
    assert [config.method for config in configs] == list(METHODS)
    assert len({config.run.dir for config in configs}) == len(METHODS)
    assert {config.data.shards for config in configs} == {f"data/quickstart/{scenario}"}
