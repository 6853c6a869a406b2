"""Train on several nodes of a Ray cluster.

    jomold ray-train --nodes 2 --ranks-per-node 8 --config llp run.dir=/shared/runs/llp
    ray job submit --working-dir . -- python -m jomold_dist ray-train --nodes 2 …

Ray finds the nodes and keeps them; on each of them `jomold start torchrun` starts the ranks. A node takes jomold_dist
from the job's working directory, if that is a checkout, or else must have it installed. SIGTERM or Ctrl-C makes all
ranks stop together with a checkpoint, a second Ctrl-C kills them. Exit codes are those of `jomold start`.
"""

from __future__ import annotations

import argparse

from jomold_dist.command_line import command, say
from jomold_dist.config_command import ConfigParser, print_config
from jomold_dist.config_files import load_config
from jomold_dist.errors import FAILURE, LostRankError
from jomold_dist.methods.registry import checked


@command
def main() -> int:
    asked = parser().parse()
    if asked.print_config:
        return print_config(asked)
    from jomold_dist.launching import plain_logging  # these import torch and Ray, which takes seconds
    from jomold_dist.ray_cluster import joined_cluster
    from jomold_dist.ray_nodes import Need, Signals, follow, for_other_nodes, reserve, start_nodes, wants_gpus

    signals = Signals()
    plain_logging()
    config = checked(load_config(asked.config, asked.overrides), asked.imports)
    try:
        with joined_cluster():
            config = for_other_nodes(config)
            need = Need(asked.nodes, asked.ranks_per_node, asked.cpus_per_rank, wants_gpus(config), asked.pack)
            return follow(start_nodes(need, config, reserve(need, asked.wait_seconds)), signals, config)
    except LostRankError as error:
        say(str(error))
        return FAILURE


def parser() -> ConfigParser:
    made = ConfigParser(__doc__)
    made.add_argument("--nodes", type=count, required=True, help="how many nodes")
    made.add_argument("--ranks-per-node", type=count, required=True, help="ranks on each node, a GPU each if any")
    made.add_argument("--cpus-per-rank", type=count, default=1, help="CPUs and threads of each rank (default: 1)")
    made.add_argument("--wait-seconds", type=float, default=60, help="how long to wait for the nodes (default: 60)")
    made.add_argument("--pack", action="store_true", help="allow several of the nodes on one machine, to try it out")
    return made


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value
