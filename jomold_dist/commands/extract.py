"""Make features of video files, to be packed.

    jomold extract --videos clips --out features
    jomold extract --videos clips --out features --feature frames=dino:models/dinov2 --feature audio=clap:models/clap
    jomold pack --extracted features --labels labels.csv --out data/mine

Of each video, --segments of --segment-seconds each are taken, from its start: the frames at the centres of
--frames-per-segment equal parts of each segment, and the sound. A feature is NAME=KIND[+OPTION][:MODEL]: audio by clap
or vggish, frames by clip, dino (any model of pictures) or resnet152, motion by r2plus1d; MODEL is a folder, a file of
weights, or a name in the hub. Without --feature, audio is clap's and frames are clip's: on a CPU, CLIP ViT-L/14 takes
seconds a frame; take a GPU, a smaller CLIP or --frames-per-segment 1.

--out gets a .npy a video and a feature, FEATURE/NAME.npy, and extraction.json, which says how all were made: jomold
pack takes it from there, and a model refuses features that were made in another way than its own. Files that cannot be
used are listed in failed.csv, and the rest goes on; what was made up (a video too short, without sound) in notes.csv.

Stopped or killed, the same command goes on with the files that are missing, have failed or have changed since. The
features are bit for bit the same however many --jobs there are, and on a Ray cluster (--ray).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.config_reporting import LogConfig
from jomold_dist.data.format.extraction import extraction_text
from jomold_dist.data.format.extraction_file import ExtractionFile
from jomold_dist.errors import FAILURE, SUCCESS, ConfigError
from jomold_dist.extraction.encoding.encoders import DEFAULT_ENCODERS, KINDS, parse_encoder
from jomold_dist.extraction.jobs.media_list import MediaList, find_media
from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.places import local_path
from jomold_dist.versions import releases, version
from jomold_dist.watching import Watch, lines_on_stderr
from jomold_dist.wording import number_of

if TYPE_CHECKING:
    from jomold_dist.extraction.jobs.job import Opening
    from jomold_dist.extraction.jobs.journal import FileState
    from jomold_dist.extraction.jobs.output import OutputFolder
    from jomold_dist.extraction.jobs.processes import LocalExtraction
    from jomold_dist.extraction.jobs.ray_extraction import RayExtraction

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "torchvision", "numpy", "pillow")  # on which the last bits may hang
EXAMPLES = 3  # videos without a file that are named


@command
def main() -> int:
    options = parse_options()
    from jomold_dist.commands.packing import stopped_by_signals

    lines_on_stderr()
    with stopped_by_signals():
        return extract(options)


def parse_options() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.epilog = kinds_help()
    parser.add_argument(
        "--videos", action="extend", type=local_path, nargs="+", required=True, metavar="DIR|FILE",
        help="files of any container, or folders of them, however deep",
    )  # fmt: skip
    parser.add_argument("--out", type=local_path, required=True, metavar="DIR", help="folder to write, or to go on in")
    parser.add_argument(
        "--feature", action="append", default=[], type=feature_option, metavar="NAME=KIND[+OPTION][:MODEL]",
        help="a feature to make; repeatable (default: "
        f"{', '.join(f'{name}={text}' for name, text in DEFAULT_ENCODERS.items())})",
    )  # fmt: skip
    parser.add_argument(
        "--labels", action="append", default=[], type=local_path, metavar="FILE",
        help="only videos that this table of labels names, as jomold pack takes it; repeatable",
    )  # fmt: skip
    usual = Sampling()
    parser.add_argument("--segments", type=int, default=usual.segments, metavar="T", help="(default: %(default)s)")
    parser.add_argument(
        "--segment-seconds", type=float, default=usual.segment_seconds, metavar="S", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--frames-per-segment", type=int, default=usual.frames_per_segment, metavar="K", help="(default: %(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda if there is one, else cpu)")
    parser.add_argument(
        "--dtype",
        default="float32",
        help="float32, float16 or bfloat16, in which a GPU computes (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N",
        help="processes, or actors with --ray (default: one a core of this machine, or of the cluster)",
    )  # fmt: skip
    parser.add_argument("--ray", action="store_true", help="extract on the Ray cluster that RAY_ADDRESS names")
    return parser.parse_args()


def kinds_help() -> str:
    """What can be made, by which kinds of models, with which options."""
    lines = ["kinds of models, by the feature that they make, and their options (KIND+OPTION:MODEL):"]
    for name, kind in KINDS.items():
        usual = kind.model or "what torchvision has downloaded"
        lines.append(f"  {kind.feature}={name}: MODEL is {kind.required or f'{usual} unless named'}")
        lines += [f"      +{option}: {what}" for option, what in kind.options.items()]
    return "\n".join(lines)


def feature_option(text: str) -> tuple[str, str]:
    """NAME=KIND[:MODEL]."""
    name, equals, encoder = text.partition("=")
    try:
        made = parse_encoder(encoder).feature if equals else name
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    kind, _, model = encoder.partition(":")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=KIND[:MODEL], for instance frames=clip:models/clip")
    if made != name:
        raise argparse.ArgumentTypeError(f"{text!r}: {kind} makes {made}, not {name}")
    own = local_path(model)
    return name, f"{kind}:{own.absolute()}" if model and own.exists() else encoder  # nodes start elsewhere


def extract(options: argparse.Namespace) -> int:
    """Extracts what is missing: the exit code, which is FAILURE if nothing could be extracted of any file."""
    names = dict(options.feature) or DEFAULT_ENCODERS
    if len(names) < len(options.feature):
        raise ConfigError("--feature names one feature twice; extract the second one into another --out")
    if options.jobs is not None and options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, not {options.jobs}")
    sampling = Sampling(options.segments, options.segment_seconds, options.frames_per_segment)
    found = find_media(options.videos, with_sounds=all(name == "audio" for name in names))
    if options.labels:
        found = restricted(found, options.labels)
    from jomold_dist.extraction.jobs.output import OutputFolder
    from jomold_dist.extraction.media.media_file import decoder_versions  # these import PyAV and torch

    made_by = {"jomold_dist": version("jomold_dist"), **decoder_versions(), **releases(PACKAGES)}
    opening = opening_of(names, sampling, options)
    models = " and ".join(f"{name}={model}" for name, model in names.items())
    logger.info("%s; opening %s on %s", number_of(len(found.files), "file"), models, opening.device)
    with extraction_of(opening, options) as extraction:
        wanted = ExtractionFile(
            sampling.segments, sampling.segment_seconds, extraction.features, made_by | {"device": opening.device}
        )
        with OutputFolder(options.out, wanted) as folder:
            done, there = run(extraction, folder, found)
    return report(options.out, wanted, folder, done, there)


def restricted(found: MediaList, tables: list[Path]) -> MediaList:
    """The files of videos that label tables name, by their keys or by these without their times."""
    from jomold_dist.data.packing.label_tables import LabelFile, read_label_tables
    from jomold_dist.video_names import key_id

    labels = read_label_tables([LabelFile(path) for path in tables])
    keys = [key.decode() for split in labels.splits.values() for key in split.keys.tolist()]
    named = {*keys, *map(key_id, keys)}
    files = {key: path for key, path in found.files.items() if key in named}
    refused = {path: problem for path, problem in found.refused.items() if path.stem in named}
    if not files and not refused:
        raise ConfigError(f"none of the files of --videos is of a video that --labels names, such as {keys[0]}")
    there = {*files, *(path.stem for path in refused)}
    if missing := [key for key in keys if key not in there and key_id(key) not in there]:
        examples = ", ".join(missing[:EXAMPLES]) + (", …" if len(missing) > EXAMPLES else "")
        show(f"of {number_of(len(keys), 'video')} that --labels names, {len(missing):,} have no file: {examples}")
    return MediaList(files, refused)


def opening_of(names: Mapping[str, str], sampling: Sampling, options: argparse.Namespace) -> Opening:
    """What is to be opened, on the device that is asked for or there."""
    from jomold_dist.extraction.jobs.job import Opening

    device = options.device
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Opening(tuple(names.items()), sampling, device, options.dtype)


def extraction_of(opening: Opening, options: argparse.Namespace) -> LocalExtraction | RayExtraction:
    """Who is going to extract."""
    if options.ray:
        from jomold_dist.extraction.jobs.ray_extraction import RayExtraction

        return RayExtraction(opening, options.jobs, options.out)
    from jomold_dist.extraction.jobs.processes import LocalExtraction

    return LocalExtraction(opening, options.jobs or len(os.sched_getaffinity(0)))


def run(extraction: LocalExtraction | RayExtraction, folder: OutputFolder, found: MediaList) -> tuple[int, int]:
    """Puts the features of all files into the folder: how many files were done now, and how many before."""
    for path, problem in found.refused.items():
        folder.fail(path, problem)
    states, there = missing(folder, found)
    files = {key: found.files[key].absolute() for key in states}
    if files:
        by, before = extraction.workers(len(files)), f", {there:,} were there" if there else ""
        logger.info("extracting %s into %s by %s%s", number_of(len(files), "file"), folder.path, by, before)
    begun, done = time.monotonic(), 0

    def told() -> str:
        return f"{done / max(time.monotonic() - begun, 1e-3):.2f} files/s, {len(folder.failed):,} failed"

    with (
        Watch(LogConfig().every_seconds) as watch,
        watch.task("extracting", there + len(files), "file", done=there, describe=told) as task,
        contextlib.closing(extraction.outcomes(files)) as outcomes,
    ):
        for outcome in outcomes:
            folder.add(outcome, found.files[outcome.key], states[outcome.key])
            done += not outcome.problem
            task.more()
    return done, there


def missing(folder: OutputFolder, found: MediaList) -> tuple[dict[str, FileState], int]:
    """The files that have to go through, by their keys, as they are now; and how many are done already."""
    from jomold_dist.extraction.jobs.job import problem_text
    from jomold_dist.extraction.jobs.journal import FileState

    states: dict[str, FileState] = {}
    there = 0
    for key, path in found.files.items():
        try:
            state = FileState.of(path)  # before it is read: what changes meanwhile is extracted anew next time
        except OSError as error:
            folder.fail(path, problem_text(path, error))
            continue
        if folder.is_done(key, state):
            there += 1
        else:
            states[key] = state
    return states, there


def report(out: Path, wanted: ExtractionFile, folder: OutputFolder, done: int, there: int) -> int:
    """Tells what was done: the exit code."""
    from jomold_dist.extraction.jobs.output import FAILED, NOTES

    for name, own in wanted.features.items():
        rows, width = own.shape
        show(f"{name}: {rows} × {width} in {out / own.folder}, {extraction_text(own.extraction)}")
    failed = len(folder.failed)
    show(f"{number_of(done + there + failed, 'file')}: {done:,} extracted, {there:,} were there, {failed:,} failed")
    if failed:
        path, problem = min(folder.failed.items())
        show(
            f"failed, for instance {path}: {problem}; all are in {out / FAILED}, and the same command tries them again"
        )
    if folder.noted:
        show(
            f"of {number_of(folder.noted, 'video')} something was made up, as a file is short or silent: {out / NOTES}"
        )
    if not done + there:
        return FAILURE
    length = f"--segments {wanted.segments} --segment-seconds {wanted.segment_seconds:g}"
    show(f"pack them: jomold pack --extracted {shlex.quote(str(out))} {length} --labels FILE --out SET")
    return SUCCESS
