"""A run on the nodes of a Ray cluster: Ray finds the nodes and keeps them, and on each of them `jomold start torchrun`
starts the ranks.
"""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from jomold_dist.command_line import say
from jomold_dist.config import Config
from jomold_dist.config_files import dump_config
from jomold_dist.errors import FAILURE, PREEMPTED, ConfigError, LostRankError
from jomold_dist.places import relative_places, with_absolute_places
from jomold_dist.ray_cluster import reason, working_copy
from jomold_dist.starting import TRAIN, command, environment
from jomold_dist.supervising import end_with_parent
from jomold_dist.tracking.store import handed_on, relative_store

POLL_SECONDS = 0.5


class Node:
    """An actor: one node's launcher. Its methods return at once."""

    def meeting_place(self) -> tuple[str, int]:
        """This node's address and a port that is free on it."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def start(self, config: str, run_dir: str, torchrun: list[str], variables: dict[str, str]) -> None:
        """Start the ranks. `config` is YAML; `variables` are added to the environment."""
        self._folder = TemporaryDirectory(prefix="ray_train-")
        settings, said = Path(self._folder.name, "config.yaml"), Path(self._folder.name, "said.txt")
        settings.write_text(config, encoding="utf-8")
        words = ["torchrun", *torchrun, *TRAIN, "--config", str(settings)]
        with said.open("wb") as file:
            self._process = subprocess.Popen(
                command("start", *words, f"run.dir={run_dir}"),  # the config has it too; here people see it
                env=environment(variables),
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._said = said.open("rb")

    def look(self) -> tuple[int | None, str]:
        """The launcher's exit code once it has ended, and what was said since the last look."""
        code = self._process.poll()
        text = self._said.read().decode(errors="replace")
        if code is not None:
            self._folder.cleanup()
        return code if code is None or code >= 0 else 128 - code, text

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


class Signals:
    """SIGTERM and SIGINT: until the ranks are started they end this process; then they are to be handed on."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self._started = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def started(self) -> None:
        self._started = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._started:
            say(f"{signal.Signals(number).name} before training began")
            raise SystemExit(PREEMPTED)
        self.waiting.append(number)


@dataclass(frozen=True)
class Need:
    """What a run takes of a cluster."""

    nodes: int
    ranks: int  # on each node
    cpus: int  # of each rank
    gpus: bool
    pack: bool

    @property
    def of_a_node(self) -> dict[str, float]:
        """What Ray calls a bundle."""
        return {"CPU": float(self.ranks * self.cpus)} | ({"GPU": float(self.ranks)} if self.gpus else {})


def for_other_nodes(config: Config) -> Config:
    """The config for processes with other working directories.

    ConfigError for places relative to a job's own copy of the working directory, which ends with the job.
    """
    if working_copy() is not None and (relative := relative_places(config) | relative_store(config)):
        named = ", ".join(f"{name} = {value!r}" for name, value in relative.items())
        raise ConfigError(
            f"{named}: relative to this job's copy of the working directory, which only lasts as long as the job; give "
            "absolute paths that every node can see"
        )
    return with_absolute_places(config)


def wants_gpus(config: Config) -> bool:
    if config.distributed.device == "auto":
        return "GPU" in ray.cluster_resources()
    return config.distributed.device == "cuda"


def reserve(need: Need, seconds: float) -> PlacementGroup:
    """The nodes' resources, once the cluster has them free; ConfigError if it has not after so many seconds."""
    group = placement_group([need.of_a_node] * need.nodes, strategy="PACK" if need.pack else "STRICT_SPREAD")
    if group.wait(seconds):
        return group
    ray.util.remove_placement_group(group)
    alive = [node for node in ray.nodes() if node["Alive"]]
    there = [f"  {node['NodeManagerAddress']} with {amounts(node['Resources'])}" for node in alive]
    raise ConfigError(
        f"the run needs {amounts(need.of_a_node)} on each of {need.nodes} {'' if need.pack else 'different '}nodes, "
        f"which were not free within {seconds:g} s. The cluster has\n"
        + "\n".join(there)
        + f"\nof which {amounts(ray.available_resources())} are free. Ask for fewer nodes or ranks, add nodes, or wait "
        "longer with --wait-seconds"
    )


def amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{resources.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))


def start_nodes(need: Need, config: Config, group: PlacementGroup) -> list[Any]:
    """The actors, on each of which the launcher was started. Rank 0 is on the first. LostRankError where that fails."""
    actors: list[Any] = [
        ray.remote(Node)
        .options(
            num_cpus=need.of_a_node["CPU"],
            num_gpus=need.of_a_node.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
        )
        .remote()
        for index in range(need.nodes)
    ]
    config, variables = handed_on(config)
    text, run_dir = dump_config(config), config.run.dir
    variables |= {"OMP_NUM_THREADS": str(need.cpus)}
    try:
        host, port = ray.get(actors[0].meeting_place.remote())
        torchrun = [f"--nnodes={need.nodes}", f"--nproc-per-node={need.ranks}", "--shutdown-timeout=300"]
        torchrun += [f"--master-addr={host}", f"--master-port={port}"]
        ray.get(
            [
                actor.start.remote(text, run_dir, [*torchrun, f"--node-rank={index}"], variables)
                for index, actor in enumerate(actors)
            ]
        )
    except RayError as error:
        raise LostRankError(
            f"the ranks cannot be started: {reason(error)}. Each node must be up and have jomold_dist "
            "installed, with what it needs"
        ) from None
    return actors


def follow(actors: list[Any], signals: Signals, config: Config) -> int:
    """Say what the nodes say and hand signals on, until all have ended; the exit code of the first node's launcher.

    Where a node is lost, or ends early, its ranks are missed by the others, which then end by themselves within
    `distributed.timeout_seconds`; what has not ended a minute later is killed.
    """
    signals.started()
    codes: list[int | None] = [None] * len(actors)
    kill_at = math.inf
    while (running := [index for index, code in enumerate(codes) if code is None]) and time.monotonic() < kill_at:
        while signals.waiting:
            tell([actors[index] for index in running], signals.waiting.pop(0))
        for index in running:
            try:
                codes[index], text = ray.get(actors[index].look.remote())
            except RayError as error:
                codes[index], text = FAILURE, ""
                say(f"node {index} of {len(actors)} is lost ({reason(error)}); the same command goes on")
            with suppress(OSError):  # what cannot be printed ends no training
                sys.stdout.write(text)
                sys.stdout.flush()
            if "EADDRINUSE" in text:
                say("a port that was free has been taken in the meantime; the same command takes another")
            if codes[index] and kill_at == math.inf:
                kill_at = time.monotonic() + config.distributed.timeout_seconds + 60
        time.sleep(POLL_SECONDS)
    for _ in range(2):  # the second one kills
        tell([actors[index] for index in running], signal.SIGINT)
    return FAILURE if codes[0] is None else codes[0]


def tell(actors: list[Any], number: int) -> None:
    """A signal for the launchers of some nodes; one that has gone need not hear it."""
    for answer in [actor.signal.remote(number) for actor in actors]:
        with suppress(RayError):
            ray.get(answer)
