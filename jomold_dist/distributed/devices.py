"""PURE but for `look`: where every rank computes, decided once for all of them from what each of them sees.

A rank that chose for itself would wait on its GPU for one that had chosen the CPU.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from jomold_dist.errors import ConfigError

Kind = Literal["cpu", "cuda"]
NAMED_AT_MOST = 4


@dataclass(frozen=True)
class Sight:
    """What one rank sees of its node: the identities of the GPUs that it may use, and what its settings ask for.

    `wanted` is None where a rank's settings cannot be read: the ranks meet nevertheless, to be told.
    """

    rank: int
    host: str
    local_rank: int
    local_size: int
    wanted: str | None
    gpus: tuple[str, ...]
    problem: str = ""
    """Why it cannot see them: what the driver says."""

    @property
    def index(self) -> int | None:
        """This rank's GPU among those that it sees; None if there are too few. Schedulers may show each rank a GPU of
        its own, and that alone."""
        if len(self.gpus) >= self.local_size:
            return self.local_rank
        return 0 if len(self.gpus) == 1 else None


@dataclass(frozen=True)
class Choice:
    """The kind of device that all ranks use, and why it is not a GPU although some GPU is there."""

    kind: Kind
    why: str = ""


def look(rank: int, local_rank: int, local_size: int, wanted: str | None) -> Sight:
    """What this rank sees. CUDA is left alone where nobody wants it. A driver that fails is told of, not raised: the
    others would wait for this rank."""
    identities: tuple[str, ...] = ()
    problem = ""
    if wanted in ("auto", "cuda"):
        try:
            found = range(torch.cuda.device_count())
            identities = tuple(str(torch.cuda.get_device_properties(number).uuid) for number in found)
        except Exception as error:  # torch and CUDA know many
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Sight(rank, socket.gethostname(), local_rank, local_size, wanted, identities, problem)


def choose(sights: Sequence[Sight]) -> Choice:
    """What all ranks use. ConfigError where GPUs are wanted and missing, where only some ranks have one, or
    where a rank cannot look."""
    if any(sight.wanted is None for sight in sights) or all(sight.wanted == "cpu" for sight in sights):
        return Choice("cpu")
    wanted = {str(sight.wanted) for sight in sights}
    if "cpu" in wanted:
        raise ConfigError(
            f"distributed.device is {' on some ranks and '.join(map(repr, sorted(wanted)))} on others; all ranks use "
            "one kind of device: give every node the same setting"
        )
    if failed := [sight for sight in sights if sight.problem]:
        first = failed[0]
        raise ConfigError(
            f"{len(failed)} of {len(sights)} ranks cannot look at their GPUs: rank {first.rank} on {first.host}: "
            f"{first.problem}. Mend the node, or set distributed.device=cpu to train on CPUs alone"
        )
    owners: dict[tuple[str, str], list[int]] = {}
    for sight in sights:
        if sight.index is not None:
            owners.setdefault((sight.host, sight.gpus[sight.index]), []).append(sight.rank)
    alone = {ranks[0] for ranks in owners.values() if len(ranks) == 1}
    lacking = [sight for sight in sights if sight.rank not in alone]
    if not lacking:
        return Choice("cuda")
    some = "; ".join(
        f"rank {s.rank} on {s.host} sees {len(s.gpus)} GPUs for {s.local_size} ranks" for s in lacking[:NAMED_AT_MOST]
    )
    more = f"; and {len(lacking) - NAMED_AT_MOST} more ranks" if len(lacking) > NAMED_AT_MOST else ""
    if "cuda" in wanted:
        raise ConfigError(
            f"distributed.device = 'cuda' needs a GPU of its own for every rank: {some}{more}. Start fewer ranks or "
            "set distributed.device=cpu"
        )
    if alone:
        raise ConfigError(
            f"only {len(alone)} of {len(sights)} ranks have a GPU of their own: {some}{more}. Mend those nodes, start "
            "fewer ranks, or set distributed.device=cpu to train on CPUs alone"
        )
    seen = any(sight.gpus for sight in sights)
    return Choice("cpu", f"GPUs are there but too few: {some}{more}" if seen else "")


def device_of(sight: Sight, choice: Choice) -> torch.device:
    """A rank's own device of the chosen kind."""
    if choice.kind == "cpu":
        return torch.device("cpu")
    assert sight.index is not None  # or CUDA would not have been chosen
    return torch.device("cuda", sight.index)


def describe_device(device: torch.device) -> str:
    """A device as people call it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"the CPU ({threads} thread{'s' if threads > 1 else ''} a rank)"


def from_json(value: Mapping[str, object]) -> Sight:
    """What `dataclasses.asdict` and JSON have made of a Sight."""
    return Sight(**{**value, "gpus": tuple(value["gpus"])})  # type: ignore[arg-type]
