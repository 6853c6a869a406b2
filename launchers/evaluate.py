"""Scores of a run's model on a split with dense labels.

    python launchers/evaluate.py --run runs/llp-jomold --split val

Prints the ten scores and the scores per category; writes scores_SPLIT.json into the run's folder. The model of a run
that is still training is its best one so far, from its newest checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.data.source import source_of
from jomold_dist.distributed.world import World, agree_on_errors, broadcast_object, gather_objects
from jomold_dist.errors import DataError, raise_together
from jomold_dist.files import write_json
from jomold_dist.launching import launch
from jomold_dist.places import local_path
from jomold_dist.tables import markdown_table, scores_table
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import problems_of_shards, read_matching_manifest
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stages import evaluate_model, ready_to_compute


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--run", type=local_path, required=True, help="folder of a run")
    parser.add_argument("--split", default="test", help="split of the run's data set (default: test)")
    parser.add_argument(
        "--weights", type=local_path, help="other weights of the run: a checkpoint or a .safetensors file"
    )
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    return launch(
        lambda: load_config(folder.config),
        lambda config, world: evaluate(config, world, folder, arguments.split, arguments.weights),
        {"split": arguments.split},
    )


def evaluate(config: Config, world: World, folder: RunFolder, split: str, weights: Path | None) -> None:
    """Collective: scores of one split."""
    with agree_on_errors(world):
        found = load_found(weights or folder.path) if world.is_main else None
    network, info, weights = broadcast_object(found, world)
    with agree_on_errors(world):
        manifest = read_matching_manifest(source_of(config.data), info)
        if not manifest.split(split).dense:
            raise DataError(f"split {split!r} of {config.data.shards} has no dense labels to score against")
        share = slice(world.rank, None, world.size)
        problems = problems_of_shards(config, source_of(config.data), manifest, [split], share)
    gathered = [problem for share in gather_objects(problems, world) for problem in share]
    with agree_on_errors(world):
        raise_together(gathered)
    run = Run(config, manifest, world, folder, records=False)  # the run itself may be going on
    scored = evaluate_model(run, split, ready_to_compute(network, config, world))
    with agree_on_errors(world), folder.writes():
        if world.is_main:
            write_json(folder.path / f"scores_{split}.json", scored.to_json(split))
    if not world.is_main:
        return
    print(f"{weights}: epoch {info.notes.get('epoch', 'unknown')}\n")
    print(scores_table({config.method: scored.scores}, split, simulated=manifest.simulated is not None))
    rows = [
        [category, *(f"{scored.per_category[metric][category]:.1f}" for metric in scored.per_category)]
        for category in manifest.categories.names
    ]
    table = markdown_table(["category", *scored.per_category], rows)
    print(f"\nF-scores per category, counted over all videos\n\n{table}")
    if bad := run.bad_videos.summary():
        print(f"\n{bad}")


if __name__ == "__main__":
    sys.exit(main())
