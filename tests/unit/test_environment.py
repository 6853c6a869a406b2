"""What a launcher's environment says of the ranks."""

from __future__ import annotations

import pytest

from jomold_dist.distributed.environment import RankEnvironment, read_environment
from jomold_dist.errors import ConfigError

MEETING = {"MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, RankEnvironment()),
        (MEETING, RankEnvironment()),  # left over
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, RankEnvironment()),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING},
            RankEnvironment(5, 8, 1, 4, "node0", 29500),
        ),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_SIZE": "4", **MEETING},  # deepspeed
            RankEnvironment(5, 8, 1, 4, "node0", 29500),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2", **MEETING}, RankEnvironment(1, 2, 1, 2, "node0", 29500)),
        (
            {"RANK": "1", "WORLD_SIZE": "2", **MEETING, "TORCHELASTIC_USE_AGENT_STORE": "True"},
            RankEnvironment(1, 2, 1, 2, "node0", 29500, True),
        ),
    ],
)
def test_worlds(environment: dict[str, str], wanted: RankEnvironment) -> None:
    assert read_environment(environment) == wanted


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"RANK": "1"}, ("RANK='1' must be a whole number, 0, as WORLD_SIZE is not set", "unset them")),
        ({"WORLD_SIZE": ""}, ("WORLD_SIZE='' must be a whole number, at least 1",)),
        ({"WORLD_SIZE": "0"}, ("WORLD_SIZE='0' must be a whole number, at least 1",)),
        ({"WORLD_SIZE": "two"}, ("WORLD_SIZE='two'",)),
        ({"WORLD_SIZE": "²"}, ("WORLD_SIZE='²'",)),
        ({"RANK": "--1"}, ("RANK='--1'",)),
        ({"WORLD_SIZE": "9" * 5000}, ("WORLD_SIZE='9",)),
        ({"WORLD_SIZE": "4", "RANK": "0"}, ("WORLD_SIZE=4 needs MASTER_ADDR", "WORLD_SIZE=4 needs MASTER_PORT")),
        ({"WORLD_SIZE": "4", **MEETING}, ("WORLD_SIZE=4 needs RANK, which is not set",)),
        ({"WORLD_SIZE": "2", "RANK": "2", **MEETING}, ("RANK='2' must be a whole number, from 0 to 1",)),
        ({"WORLD_SIZE": "2", "RANK": "-1", **MEETING}, ("RANK='-1' must be a whole number, from 0 to 1",)),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "x"}, ("MASTER_PORT='x'",)),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "99999"}, ("from 1 to 65535",)),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1", **MEETING}, ("LOCAL_RANK='1'",)),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_SIZE": "3", **MEETING}, ("LOCAL_SIZE='3'", "from 1 to 2")),
        ({"LOCAL_RANK": "3"}, ("LOCAL_RANK='3' must be a whole number, 0 with 1 on this node",)),
        ({"RANK": "a", "WORLD_SIZE": "b"}, ("RANK='a'", "WORLD_SIZE='b'")),
    ],
)
def test_what_describes_no_world_names_its_variables(environment: dict[str, str], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_environment(environment)
    for part in parts:
        assert part in str(caught.value)
