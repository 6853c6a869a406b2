"""With what, where and how a run was started: `environment.json` in its folder, an entry for each start.

A run that goes on elsewhere, with other versions or from another commit, can be told from it. Nothing in here ends a
run, and no credential gets into it.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from jomold_dist.distributed.devices import describe_device
from jomold_dist.distributed.world import World, gather_to_main
from jomold_dist.errors import UserError
from jomold_dist.files import write_json
from jomold_dist.git_state import git_state
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.secrets import SECRET, blotted_value
from jomold_dist.times import now_iso
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.versions import PACKAGE, code_digest, releases

logger = logging.getLogger(__name__)

PACKAGES = ("jomold_dist", "torch", "numpy", "deepspeed", "webdataset", "safetensors", "ray", "mlflow")
VARIABLES = re.compile(
    r"(OMP|MKL|CUDA|NCCL|TORCH|TORCHELASTIC|PYTORCH|GLOO|CUBLAS|PET|KMP)_\w+|DS_ACCELERATOR|"
    r"SLURM_(JOB|STEP)_(ID|NODELIST|NUM_NODES|NUM_TASKS|PARTITION|CPUS_PER_NODE|TASKS_PER_NODE|GPUS)|"
    r"RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|LOCAL_SIZE|MASTER_ADDR|MASTER_PORT|PYTHONHASHSEED"
)
"""The environment's variables that are kept: what decides how torch computes and how ranks find each other. None of
them is free text, as a job's comment is."""
DRIVER = Path("/proc/driver/nvidia/version")


def record_start(folder: RunFolder, world: World) -> None:
    """Collective: this start's entry in the run's environment.json, by rank 0."""
    places = gather_to_main(_place(world), world)
    if not world.is_main:
        return
    try:
        write_json(folder.environment, [*_earlier_starts(folder.environment), _start(world, places)])
    except (OSError, UserError) as error:
        logger.warning("%s cannot be written (%s); the run goes on without it", folder.environment, error)


def _earlier_starts(path: Path) -> list[Any]:
    """UnreadableError where the file is there and the system does not hand it out."""
    try:
        found = read_json(path)
        if not isinstance(found, list):
            raise ValueError("it has another form")
        return found
    except FileNotFoundError:
        return []
    except (*ABSENT, ValueError) as error:
        logger.warning("%s is damaged (%s) and begun anew", path, error)
        return []


def _place(world: World) -> dict[str, Any]:
    """Where a rank computes."""
    return {"rank": world.rank, "host": socket.gethostname(), "device": describe_device(world.device)}


def _start(world: World, places: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    checkouts = {"working_directory": git_state(Path.cwd())}
    # a package inside somebody's checkout, for instance in its virtual environment, is not of that checkout
    checkouts["package"] = git_state(PACKAGE.parent) if (PACKAGE.parent / ".git").exists() else None
    return {
        "time": now_iso(),
        "command": blotted_words(sys.orig_argv),
        "working_directory": _writable(str(Path.cwd())),
        "ranks": world.size,
        "hosts": _hosts(places),
        "device": world.device.type,
        "backend": dist.get_backend() if world.size > 1 else None,
        "gpu": _gpu(world.device),
        "cpu": {"model": _cpu_model(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()},
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": releases(PACKAGES),
        "code": code_digest(),
        "git": {name: state and asdict(state) for name, state in checkouts.items()},
        "variables": {
            name: _writable(blotted_value(name, value))
            for name, value in sorted(os.environ.items())
            if VARIABLES.fullmatch(name)
        },
    }


def _hosts(places: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The machines in the order of their ranks."""
    hosts: dict[str, dict[str, Any]] = {}
    for place in places:
        host = hosts.setdefault(place["host"], {"host": place["host"], "ranks": [], "devices": []})
        host["ranks"].append(place["rank"])
        if place["device"] not in host["devices"]:
            host["devices"].append(place["device"])
    return list(hosts.values())


def _gpu(device: torch.device) -> dict[str, Any] | None:
    """What rank 0's GPU is, and what drives it."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "gigabytes": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _first_line(DRIVER, ""),
    }


def _cpu_model() -> str:
    return _first_line(Path("/proc/cpuinfo"), "model name").rpartition(":")[2].strip() or platform.processor()


def _first_line(path: Path, start: str) -> str:
    """The first line of a file that begins so; empty where there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return next((line.strip() for line in lines if line.startswith(start)), "")
    except OSError:
        return ""


def blotted_words(words: Sequence[str]) -> list[str]:
    """A command line without its secrets: values of settings and options that are called like one, and what addresses
    hold of them."""
    clean: list[str] = []
    hidden = False  # whether the word before is a name whose value is a secret
    for word in words:
        name, separator, value = word.partition("=")
        if hidden:
            clean.append("***")
            hidden = word.startswith("-")  # an option, or a value that looks like one: then hide the next one as well
            continue
        if separator and re.fullmatch(r"[\w.-]+", name):
            clean.append(f"{name}={blotted_value(name, value)}")
        else:
            clean.append(blotted_value("", word))
        asks = word.startswith("-") or word.endswith(("=", ":"))
        hidden = asks and not value and SECRET.search(name) is not None
    return [_writable(word) for word in clean]


def _writable(text: str) -> str:
    """Words of the system may hold bytes that are no UTF-8."""
    return text.encode(errors="backslashreplace").decode()
