"""Tell which training labels are likely noise, in which modality, and how sure that is; write cleaned label files.

    jomold labels runs/quickstart/llp/mixture
    jomold labels RUN --apply cleaned --confidence 0.9
    jomold labels --probabilities mine.npz --labels labels.csv

Of a run, its table of probabilities counts (labels.parquet: `method: mixture`, or `denoise.ratios: mixture`): each
label was judged by an estimator that had not learnt it. Any other run's estimator, or its model, looks at the labels
that it has learnt once more, which says less; docs/showing.md tells how much less.

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
from pathlib import Path

from jomold_dist.cleaning.cleaned_files import WRITERS, write_cleaned
from jomold_dist.cleaning.judged import LEAST_CONFIDENCE
from jomold_dist.cleaning.label_list import write_list
from jomold_dist.cleaning.summary import by_category, category_text, quality_of, quality_text
from jomold_dist.command_line import add_imports, add_other_features, command, command_parser, show
from jomold_dist.commands.judging import Judging, judge_given, judge_run
from jomold_dist.commands.pack_options import annotations_option, labels_option
from jomold_dist.data.packing.weak_labels import whole_names
from jomold_dist.errors import raise_together
from jomold_dist.places import local_path, place
from jomold_dist.showing.labels_page import Told, write_labels_page

LISTS = ("csv", "parquet")
PAGE = "labels.html"


@command
def main() -> int:
    arguments = parser().parse_args()
    raise_together(_problems(arguments))
    names = whole_names(arguments.names)
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
    found.add_argument(
        "--confidence", type=_confidence, default=0.9, metavar="C",
        help="from which confidence on a label is told as noise (default: %(default)s)",
    )  # fmt: skip
    found.add_argument("--apply", type=local_path, metavar="DIR", help="folder for cleaned label files")
    found.add_argument("--format", choices=tuple(WRITERS), default="csv", help="of --apply (default: %(default)s)")
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
    judged, confidence, out = judging.labels, arguments.confidence, output_folder(arguments)
    rows, quality = by_category(judged, confidence), quality_of(judged)
    show(f"{judging.source}\n")
    for note in judging.notes:
        show(f"note: {note}")
    show(f"{category_text(rows, confidence)}\n")
    if quality:
        show(f"{quality_text(quality)}\n")
    out.mkdir(parents=True, exist_ok=True)
    listed, page = out / f"labels.{arguments.list}", out / PAGE
    write_list(listed, judged, confidence)
    told = Told(judging.title, judging.source, judging.notes, confidence, listed.name, judging.simulated)
    write_labels_page(page, judged, told)
    show(f"page: {page}\nall labels: {listed}")
    if arguments.apply is not None:
        removed = judged.noise(confidence)
        paths = write_cleaned(arguments.apply, arguments.format, judged, removed, names)
        audio, visual = removed.sum(1).tolist()
        show(f"removed: audio {audio}, visual {visual} of {len(judged)} labels; cleaned: {', '.join(map(str, paths))}")


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
        if arguments.shards:
            problems.append("--shards goes with a run only")
    return problems


def _confidence(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not LEAST_CONFIDENCE <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no confidence from {LEAST_CONFIDENCE:g} to 1; below, a label may be noise in both modalities"
        )
    return value
