"""Tell which training labels are likely noise, in which modality, and how sure that is; write cleaned label files.

    jomold labels runs/quickstart/llp/mixture
    jomold labels RUN --apply cleaned --confidence 0.9
    jomold labels --probabilities mine.npz --labels labels.csv

Of a run, its table of probabilities counts (labels.parquet: `method: mixture`, or `denoise.ratios: mixture`): each
label was judged by an estimator that had not learnt it. Of any other run the estimator looks once more at the labels
that it has learnt, and may be too sure; without one, what the training has removed counts (--removed), and the model
tells hardly anything. docs/labels.md says how right each is.

With --probabilities nothing of this package is needed but this command: an .npz of any model's, with filename (N),
categories (C), and audio and visual (N, C), of whole videos. Labels come from tables, as `jomold pack` reads them, or
from the published files of a data set (--annotations).

--out gets the page labels.html, which needs no network, and the list of all labels, labels.csv or labels.parquet.
--apply writes label files without what is told as noise at --confidence, in the form that --format says: csv, which
`jomold pack` reads and `method: cleaned` trains on; llp, as HAN and MA read them; lfav, as LFAV publishes them. Shards
keep the first 11 characters of a video's name; --names FILE… takes the whole ones, and their order, from weak files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jomold_dist.cleaning.cleaned_files import WRITERS, write_cleaned
from jomold_dist.cleaning.judged import LEAST_CONFIDENCE, MOSTLY, Rule
from jomold_dist.cleaning.label_list import write_list
from jomold_dist.cleaning.summary import by_category, category_text, cautions, quality_of, quality_text
from jomold_dist.cleaning.suspects import suspects_of
from jomold_dist.command_line import add_imports, add_other_features, command, command_parser, share, show
from jomold_dist.commands.pack_options import annotations_option, labels_option
from jomold_dist.data.packing.weak_labels import whole_names
from jomold_dist.errors import DataError, raise_together
from jomold_dist.files import problem_of
from jomold_dist.places import local_path, place
from jomold_dist.showing.reports.labels_page import Told, write_labels_page

if TYPE_CHECKING:
    from jomold_dist.commands.judging import Judging

LISTS = ("csv", "parquet")
PAGE = "labels.html"
CONFIDENCE = 0.9
FORMAT = "csv"
NO_CONFIDENCE = f"is no confidence from {LEAST_CONFIDENCE:g} to 1; below, a label may be noise in both modalities"


@command
def main() -> int:
    arguments = parser().parse_args()
    raise_together(_problems(arguments))
    names = whole_names(arguments.names)
    from jomold_dist.commands.judging import judge_given, judge_run  # imports torch, which takes seconds

    if arguments.probabilities is not None:
        finish(judge_given(arguments), arguments, names)
        return 0
    return judge_run(arguments, lambda judging: finish(judging, arguments, names))


def parser() -> argparse.ArgumentParser:
    found = command_parser(__doc__)
    add_imports(found)
    add_other_features(found)
    found.add_argument("run", type=local_path, nargs="?", metavar="RUN", help="folder of a finished run")
    found.add_argument(
        "--probabilities", type=local_path, metavar="FILE.npz", help="what any model says, instead of a run"
    )
    found.add_argument(
        "--labels", action="append", default=[], type=labels_option, metavar="[SPLIT=]FILE",
        help="with --probabilities: table of labels; repeatable",
    )  # fmt: skip
    found.add_argument(
        "--annotations", type=annotations_option, metavar="KIND=DIR",
        help="with --probabilities: folder of published label files, as of `jomold pack`",
    )  # fmt: skip
    found.add_argument(
        "--truth", action="append", default=[], type=local_path, metavar="FILE",
        help="with --labels: table of which labels are really heard and seen: key, label, modality",
    )  # fmt: skip
    found.add_argument("--split", default="train", help="with --probabilities: whose labels (default: %(default)s)")
    found.add_argument(
        "--shards", type=place, nargs="+", default=[], metavar="PLACE", help="where the run's data set lies now"
    )
    found.add_argument("--media", type=local_path, metavar="DIR", help="folder of the video files, for pictures")
    rule = found.add_mutually_exclusive_group()
    rule.add_argument(
        "--confidence", type=share(NO_CONFIDENCE, LEAST_CONFIDENCE), metavar="C",
        help=f"from which confidence on a label is told as noise (default: {CONFIDENCE:g})",
    )  # fmt: skip
    rule.add_argument(
        "--removed", type=share("is no share of epochs, above 0 and at most 1"), metavar="SHARE",
        help="of a run that removes labels: told as noise is what was removed in this share of its epochs "
        f"(default {MOSTLY:g}, of a run without an estimator)",
    )  # fmt: skip
    found.add_argument("--apply", type=local_path, metavar="DIR", help="folder for cleaned label files")
    found.add_argument("--format", choices=tuple(WRITERS), help=f"of --apply (default: {FORMAT})")
    found.add_argument(
        "--names", type=local_path, nargs="+", default=[], metavar="FILE", help="weak label files with the whole names"
    )
    found.add_argument(
        "--out", type=local_path, metavar="DIR", help="folder for page and list (default: RUN/label_report)"
    )
    found.add_argument("--list", choices=LISTS, default="csv", help="form of the list (default: %(default)s)")
    return found


def finish(judging: Judging, arguments: argparse.Namespace, names: dict[str, str]) -> None:
    """Prints what was found, and writes page, list and cleaned files."""
    judged, out, rule = judging.labels, output_folder(arguments), rule_of(arguments, judging)
    rows, quality = by_category(judged, rule), quality_of(judged, rule.by_removals)
    notes = [*judging.notes, *cautions(judged, rule)]
    show(f"{judging.source}\n")
    for note in notes:
        show(f"note: {note}")
    show(f"{category_text(rows, rule)}\n")
    if quality:
        show(f"{quality_text(quality, rule.by_removals)}\n")
    if arguments.apply is not None:
        removed = rule.told(judged)
        with made("--apply", arguments.apply) as folder:
            paths = write_cleaned(folder, arguments.format or FORMAT, judged, removed, names)
        audio, visual = removed.sum(1).tolist()
        show(f"removed: audio {audio}, visual {visual} of {len(judged)} labels; cleaned: {', '.join(map(str, paths))}")
    suspects = suspects_of(judged, rule)
    timelines = judging.data.timelines(suspects, arguments.media) if judging.data else []
    with made("--out", out):
        listed, page = out / f"labels.{arguments.list}", out / PAGE
        write_list(listed, judged, rule)
        told = Told(judging.title, judging.source, notes, rule, listed.name, judging.simulated)
        write_labels_page(page, judged, told, suspects, timelines)
    show(f"page: {page}\nall labels: {listed}")


@contextmanager
def made(option: str, folder: Path) -> Iterator[Path]:
    """A folder, which is made, to write into within the block. DataError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise DataError(f"{option} {folder} cannot be written: {problem_of(error)}; name another folder") from None


def rule_of(arguments: argparse.Namespace, judging: Judging) -> Rule:
    """By what labels are told as noise. DataError if nothing was removed, and removals are to tell."""
    recorded = judging.labels.epochs_removed is not None
    if arguments.removed is not None and not recorded:
        raise DataError("--removed goes by the labels that a training has removed, and there is no record of any")
    if arguments.confidence is None and (arguments.removed is not None or judging.by_removals):
        return Rule(MOSTLY if arguments.removed is None else arguments.removed, by_removals=True)
    return Rule(CONFIDENCE if arguments.confidence is None else arguments.confidence)


def output_folder(arguments: argparse.Namespace) -> Path:
    """Where page and list go."""
    given: Path | None = arguments.out
    if given is not None:
        return given
    return Path("label_report") if arguments.run is None else arguments.run / "label_report"


def _problems(arguments: argparse.Namespace) -> list[str]:
    problems = []
    if (arguments.run is None) == (arguments.probabilities is None):
        problems.append("name a run's folder, or a file of --probabilities: one of them")
    with_probabilities = {
        "--labels": arguments.labels, "--annotations": arguments.annotations, "--truth": arguments.truth,
    }  # fmt: skip
    if arguments.probabilities is None:
        problems += [f"{name} goes with --probabilities only" for name, value in with_probabilities.items() if value]
    else:
        if bool(arguments.labels) == bool(arguments.annotations):
            problems.append("--probabilities needs labels: --labels FILE or --annotations KIND=DIR, one of them")
        if arguments.truth and not arguments.labels:
            problems.append("--truth goes with --labels only")
        of_run = {"--shards": arguments.shards, "--media": arguments.media}
        problems += [f"{name} goes with a run only" for name, value in of_run.items() if value]
    of_apply = {"--format": arguments.format, "--names": arguments.names}
    if arguments.apply is None:
        problems += [f"{name} goes with --apply only" for name, value in of_apply.items() if value]
    return problems
