"""What all ranks must have in common before they begin: settings, options, and the program itself."""

from __future__ import annotations

import hashlib
import json
import platform
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jomold_dist.config import Config
from jomold_dist.config_roles import may_differ
from jomold_dist.distributed.world import World, agree_on_errors, broadcast_object, gather_objects
from jomold_dist.errors import ConfigError
from jomold_dist.versions import code_digest

SHOWN_SETTINGS, SHOWN_RANKS, SHOWN_LETTERS = 8, 4, 80


def agree_on_settings(config: Config, options: Mapping[str, Any], world: World) -> None:
    """Collective: ConfigError on every rank unless all have the same settings, options of the command, and program.

    Settings of a node's own (`may_differ`) are not compared. The message names settings, ranks and values.
    """
    if world.size == 1:
        return
    mine = _compared(config, options)
    digest = hashlib.sha256(json.dumps(mine, sort_keys=True).encode()).hexdigest()
    if len(set(gather_objects(digest, world))) == 1:  # what is compared one by one would be much for a thousand ranks
        return
    main = broadcast_object(mine, world)
    differences = {name: value for name, value in mine.items() if name not in main or main[name] != value}
    differences |= {name: None for name in main if name not in mine}
    gathered = gather_objects((socket.gethostname(), differences) if differences else None, world)
    with agree_on_errors(world):
        raise ConfigError(_difference(main, gathered))


def _compared(config: Config, options: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in config.flat().items() if not may_differ(name)}
    return (
        settings | {f"--{name}": None if value is None else str(value) for name, value in options.items()} | program()
    )


def program() -> dict[str, str]:
    """The versions that a result hangs on, and the code itself: a release can be changed by hand."""
    return {
        "the code of jomold_dist": code_digest()[:16],
        "torch's version": torch.__version__,
        "numpy's version": np.__version__,
        "Python's version": platform.python_version(),
    }


def _difference(main: Mapping[str, Any], gathered: list[tuple[str, Mapping[str, Any]] | None]) -> str:
    """What differs from rank 0, a line a rank, first ranks first."""
    others = [(rank, *found) for rank, found in enumerate(gathered) if found is not None]
    lines = ["the ranks were not started alike; give every node the same settings, options and program"]
    for rank, host, theirs in others[:SHOWN_RANKS]:
        named = [
            f"{name} = {_shown(theirs[name])}, rank 0 has {_shown(main.get(name))}"
            for name in sorted(theirs)[:SHOWN_SETTINGS]
        ]
        if len(theirs) > SHOWN_SETTINGS:
            named.append(f"and {len(theirs) - SHOWN_SETTINGS} more")
        lines.append(f"  rank {rank} (host {host}) has {'; '.join(named)}")
    if len(others) > SHOWN_RANKS:
        lines.append(f"  … and {len(others) - SHOWN_RANKS} more ranks")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
