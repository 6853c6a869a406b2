"""Find the events of videos, labelled or not, with a finished run's model.

    python launchers/predict.py --run runs/llp-jomold --shards data/new --out events.csv

The output is tab-separated like the dense label files of LLP, with the modality as a last column: video, onset and
offset in seconds, category, audio or visual. If the run was trained with data.on_bad_video=mask, videos that cannot be
used are left out, however many, and are listed in a table beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

import numpy as np

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import Config
from jomold_dist.config_fields import NO_SETTINGS
from jomold_dist.config_files import load_config
from jomold_dist.data.annotations import write_dense_labels
from jomold_dist.data.damage import BadVideo, to_csv
from jomold_dist.data.source import source_of
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import DataError, raise_together
from jomold_dist.evaluation.parsing import threshold_parsing
from jomold_dist.files import write_text
from jomold_dist.launching import launch, progress_bar
from jomold_dist.places import local_path, place
from jomold_dist.training.evaluate import parse_videos
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import problems_of_shards, read_matching_manifest
from jomold_dist.training.run import make_loader
from jomold_dist.training.run_folder import RunFolder


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("--run", type=local_path, required=True, help="folder of a run")
    parser.add_argument("--shards", type=place, required=True, help="folder of the shards to parse, or its URL")
    parser.add_argument("--split", help="only this split (default: all)")
    parser.add_argument("--out", type=local_path, required=True, help="the file to write")
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    if read_environment(os.environ).size > 1:
        raise DataError("predict.py runs as one process: start it with python, without WORLD_SIZE in the environment")
    return launch(
        lambda: load_config(folder.config), lambda config, world: predict(config, world, folder, arguments), {}
    )


def predict(config: Config, world: World, folder: RunFolder, arguments: argparse.Namespace) -> None:
    """Parse every video and write its events. One process does it all."""
    # not resident: nothing is written beside the user's shards
    data = replace(config.data, shards=arguments.shards, resident=False)
    if scheme(data.shards) != scheme(config.data.shards):
        data = replace(data, storage=NO_SETTINGS)  # they are for another file system
    streamed = replace(config, data=data)
    with agree_on_errors(world):
        network, info, _ = load_found(folder.path)
        source = source_of(streamed.data)
        manifest = read_matching_manifest(source, info)
        splits = [arguments.split] if arguments.split else list(manifest.splits)
        raise_together(problems_of_shards(config, source, manifest, splits))
        if not arguments.out.parent.is_dir():
            raise DataError(f"--out {arguments.out}: the folder {arguments.out.parent} does not exist")
    network.to(world.device)
    keys: list[str] = []
    audio, visual = [], []
    bad: list[BadVideo] = []
    for split in splits:
        with make_loader(streamed, manifest, split, source, world, shuffle=False) as loader:
            batches = progress_bar(loader.epoch(0), loader.steps, split)
            for batch, parsing in parse_videos(network, batches, world.device, cross_modal=True):
                found = threshold_parsing(parsing.segment_prob, parsing.audio_prob, parsing.visual_prob)
                keys += batch.keys
                bad += batch.bad
                audio.append(found[0].cpu().numpy())
                visual.append(found[1].cpu().numpy())
    left_out = arguments.out.with_name(f"{arguments.out.stem}_bad_videos.csv")
    try:
        write_dense_labels(arguments.out, keys, np.concatenate(audio), np.concatenate(visual), manifest.categories)
        if bad:
            write_text(left_out, to_csv(bad))
    except OSError as error:
        raise DataError(f"--out {arguments.out} cannot be written: {error.strerror or error}") from None
    print(f"{len(keys)} videos parsed, events written to {arguments.out}")
    if bad:
        print(f"{len(bad)} videos could not be used, for instance {min(bad)}; all are listed in {left_out}")


def scheme(place: str) -> str:
    """What comes before ://, nothing for a folder."""
    return place.partition("://")[0] if "://" in place else ""


if __name__ == "__main__":
    sys.exit(main())
