"""Find the events of videos, labelled or not, with a finished run's model.

    jomold predict --run runs/llp-jomold --shards data/new --out events.csv

The ending of --out says how they are written, an event a row: .csv with commas, .tsv with tabs, .jsonl as JSON
objects. The columns are those of LLP's dense label files (filename, onset and offset in seconds, event_labels), then
modality (audio or visual) and probability, the mean of its segments'. With .npz it is arrays: filename (N), categories
(C), for each video, modality (audio first), category and segment whether it counts (events) and its probability, and
how many seconds a segment lasts (segment_seconds), and the whole videos' probabilities (audio and visual, N by C),
which `jomold labels --probabilities` reads. With .parquet it is a table of the same with a row a video, category and
modality: probability of the whole video, and those of its segments.

Shards keep the first 11 characters of a video's name; --names FILE… takes the whole ones from weak label files, so
that events can be scored against LLP's own. A segment counts where its probability and that of its modality in the
whole video reach --threshold; without it, the network's own thresholds hold, as in evaluate.

--out may be a pipe or /dev/stdout, which gets the events alone, with tabs unless its name ends otherwise. If the run
was trained with data.on_bad_video=mask, videos that cannot be used are left out, however many, and are listed in a
table beside the output, or on stderr where that is no file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from jomold_dist.command_line import add_imports, add_other_features, add_threshold, command, command_parser, tell
from jomold_dist.config import Config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.data.format.damage import BadVideo, to_csv
from jomold_dist.data.packing.weak_labels import whole_names
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import DataError, raise_together
from jomold_dist.evaluation.event_files import Events, form_of
from jomold_dist.files import check_output, is_stdout, is_stream, write_text
from jomold_dist.launching import launch
from jomold_dist.methods.registry import checked
from jomold_dist.models.network import Parsing
from jomold_dist.places import local_path, place
from jomold_dist.training.evaluate import decide_events, parse_videos
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import open_matching, with_shards
from jomold_dist.training.run import make_loader
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_config
from jomold_dist.training.stage import ready_to_compute
from jomold_dist.watching import Watch


@command
def main() -> int:
    parser = command_parser(__doc__)
    add_imports(parser)
    parser.add_argument("--run", type=local_path, required=True, help="folder of a run")
    parser.add_argument(
        "--shards", type=place, nargs="+", required=True, metavar="PLACE",
        help="folder of the shards to parse, or its URL, or several that are joined",
    )  # fmt: skip
    parser.add_argument("--split", help="only this split (default: all)")
    parser.add_argument(
        "--out", type=local_path, required=True, help="the file to write: .csv, .tsv, .jsonl, .npz or .parquet"
    )
    add_threshold(parser)
    parser.add_argument(
        "--names", type=local_path, nargs="+", default=[], metavar="FILE", help="weak label files with the whole names"
    )
    add_other_features(parser)
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    if read_environment(os.environ).size > 1:
        raise DataError("predict runs as one process: start it without a launcher, and without WORLD_SIZE set")
    return launch(
        lambda: checked(read_config(folder), arguments.imports),
        lambda config, world: predict(config, world, folder, arguments),
        {},
    )


def predict(config: Config, world: World, folder: RunFolder, arguments: argparse.Namespace) -> None:
    """Parse every video and write its events. One process does it all."""
    streamed = with_shards(config, arguments.shards)
    with agree_on_errors(world):
        form, names = check(arguments.out), whole_names(arguments.names)
        network, info, _ = load_found(folder.path)
        source, manifest = open_matching(streamed.data, info, other_features=arguments.other_features)
        splits = [arguments.split] if arguments.split else list(manifest.splits)
        raise_together(problems_of_shards(streamed.data, source, manifest, splits))
    network = ready_to_compute(network, config, world)
    events, keys, bad = Events(manifest.categories, manifest.segment_seconds, form), list[str](), list[BadVideo]()
    for split in splits:
        with (
            make_loader(streamed, manifest, split, source, world, shuffle=False) as loader,
            Watch(config.log.every_seconds) as watch,
        ):
            batches = watch.over(loader.epoch(0), loader.steps, split)
            for batch, parsing in parse_videos(network, batches, world.device):
                found = decide_events(network, parsing, arguments.threshold)
                whole = [names.get(key, key) for key in batch.keys]
                events.add(whole, *found, parsing.segment_prob, video_probabilities(parsing))
                keys += batch.keys
                bad += batch.bad
    out: Path = arguments.out
    write_somewhere(out, form, events.write)
    tell(f"{len(keys)} videos parsed, events written to {out}", on_stderr=is_stdout(out))
    if names and (nameless := sum(key not in names for key in keys)):
        tell(f"--names have no name for {nameless} of them, which keep that of the shards", on_stderr=is_stdout(out))
    if bad:
        tell_left_out(bad, out)


def video_probabilities(parsing: Parsing) -> Tensor:
    """Those of whole videos (b, 2, C), NaN in a modality that the network lacks."""
    own = (parsing.audio_prob, parsing.visual_prob)
    return torch.stack([torch.full_like(parsing.video_prob, torch.nan) if p is None else p for p in own], dim=1)


def check(out: Path) -> str:
    """The form in which the output is to be written. DataError if it cannot be, found before hours of work."""
    try:
        check_output(out)
        return form_of(out)
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileNotFoundError):
            reason = f"the folder {error.filename} does not exist"
        raise DataError(f"--out {out} cannot be written: {reason}; name a file in another folder") from None


def write_somewhere(out: Path, form: str, write: Callable[[Path], None]) -> None:
    """Write the output, or else keep it in the folder for temporary files, which the DataError names."""
    try:
        write(out)
        return
    except (OSError, DataError) as error:
        failure = f"--out {out} cannot be written: {getattr(error, 'strerror', None) or error}"
    try:
        kept = Path(tempfile.mkdtemp(prefix="jomold_dist-")) / f"events{form}"
        write(kept)
    except (OSError, DataError):
        raise DataError(failure) from None
    raise DataError(f"{failure}; the events are in {kept}")


def tell_left_out(bad: list[BadVideo], out: Path) -> None:
    """List the videos that could not be used in a table beside the output, or on stderr."""
    table = to_csv(bad)
    summary = f"{len(bad)} videos could not be used, for instance {min(bad)}; all are listed"
    if is_stream(out):
        tell(f"{summary} here:\n{table}", on_stderr=True)
        return
    left_out = out.with_name(f"{out.stem}_bad_videos.csv")
    try:
        write_text(left_out, table)
    except OSError as error:
        tell(table, on_stderr=True)
        raise DataError(
            f"{left_out} cannot be written: {error.strerror or error}; the {len(bad)} videos that could not be used "
            f"are listed above, and the events of the others are in {out}"
        ) from None
    tell(f"{summary} in {left_out}")
