"""What a launcher's environment says of the ranks, checked before anything runs.

RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE (torchrun) or LOCAL_SIZE (deepspeed), MASTER_ADDR and MASTER_PORT. They
may also be left over from something else, or written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from jomold_dist.errors import ConfigError, join_problems

AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
MOST_PORTS = 65535


@dataclass(frozen=True)
class RankEnvironment:
    """A process's place among the ranks, and where they meet (only with several)."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    host: str = ""
    port: int = 0
    launcher_meets: bool = False
    """Whether the launcher holds the store through which they meet, rather than rank 0."""


def read_environment(environment: Mapping[str, str], meeting: bool = True) -> RankEnvironment:
    """ConfigError with everything that is wrong: no numbers, a rank outside the world, a world without a meeting place.
    Without any of the variables this is a world of one. Ranks without a `meeting` need no place for it.
    """
    problems: list[str] = []

    def number(name: str, default: int, low: int, high: int | None, why: str) -> int:
        text = environment.get(name)
        if text is None:
            return default
        value = int(text) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text) else None
        if value is not None and value >= low and (high is None or value <= high):
            return value
        wanted = f"at least {low}" if high is None else f"{low}" if low == high else f"from {low} to {high}"
        problems.append(f"{name}={text!r} must be a whole number, {wanted}{why}")
        return default

    there = "" if "WORLD_SIZE" in environment else ", as WORLD_SIZE is not set"
    size = number("WORLD_SIZE", 1, 1, None, "")
    rank = number("RANK", 0, 0, max(size - 1, 0), there or f" with WORLD_SIZE={size}")
    local = "LOCAL_WORLD_SIZE" if "LOCAL_WORLD_SIZE" in environment else "LOCAL_SIZE"
    local_size = number(local, size, 1, size, f" with WORLD_SIZE={size}")
    local_rank = number("LOCAL_RANK", min(rank, local_size - 1), 0, local_size - 1, f" with {local_size} on this node")
    host, port = "", 0
    if size > 1 and meeting and not problems:
        host, port = environment.get("MASTER_ADDR", ""), number("MASTER_PORT", 0, 1, MOST_PORTS, "")
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
        problems += [f"WORLD_SIZE={size} needs {name}, which is not set" for name in missing]
    if problems:
        raise ConfigError(
            f"{join_problems(list(dict.fromkeys(problems)))}\nThese come from the environment: unset them to run one "
            "process, or start the ranks with torchrun or deepspeed"
        )
    return RankEnvironment(rank, size, local_rank, local_size, host, port, environment.get(AGENT_STORE) == "True")
