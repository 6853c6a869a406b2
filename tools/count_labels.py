"""Count a folder of label files into a table of statistics, from which a world can be simulated without the files.

The table tells, per split, the videos and how many carry each set of labels; per category, the shares of its labelled
videos in which it is audible, visible and both; and, where there are times, how long its events last and in how many
intervals. LFAV's shares are those of its training videos, and its events those of val and test. VGGSounder's shares are
those of all clips, and it has no times. The packaged tables are made so:

    python tools/count_labels.py lfav DIR jomold_dist/simulation/lfav_statistics.json
    python tools/count_labels.py vggsounder DIR jomold_dist/simulation/vggsounder_statistics.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

import numpy as np

from jomold_dist.command_line import command, command_parser
from jomold_dist.data.packing.annotations import Annotations, SplitLabels
from jomold_dist.data.packing.lfav_labels import read_lfav
from jomold_dist.data.packing.vggsounder_labels import read_vggsounder
from jomold_dist.errors import SUCCESS, DataError
from jomold_dist.evaluation.parsing import event_runs
from jomold_dist.files import writing
from jomold_dist.places import local_path

READERS = {"lfav": read_lfav, "vggsounder": read_vggsounder}
NOTES = {
    "lfav": "LFAV's published label files, counted over videos: shares of the labelled training videos; events of val "
    "and test, in tenths of their video.",
    "vggsounder": "VGGSounder's published label file, counted over clips: splits by the sha256 of the YouTube id; "
    "shares of the labelled clips of all splits; no times.",
}


@command
def main() -> int:
    options = parse_options()
    annotations = READERS[options.format](options.folder)
    for finding in annotations.findings:
        print(f"passed over: {finding}")
    try:
        with writing(options.out) as aside:
            aside.write_text(table_text(count(annotations, NOTES[options.format])), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {options.out} ({error.strerror}); name a file in a folder that exists") from None
    print(f"written to {options.out}")
    return SUCCESS


def parse_options() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("format", choices=READERS, help="whose label files they are")
    parser.add_argument("folder", type=local_path, metavar="DIR", help="folder of the label files")
    parser.add_argument("out", type=local_path, metavar="FILE", help="table to write (.json)")
    return parser.parse_args()


def count(annotations: Annotations, note: str) -> dict[str, Any]:
    """The table of `annotations`, as JSON values."""
    splits = annotations.splits
    timed = [split.dense for split in splits.values() if split.dense is not None]
    shares_of = [splits["train"]] if timed else list(splits.values())
    return {
        "note": note,
        "categories": list(annotations.categories.names),
        "splits": {name: {"videos": len(split), "sets": label_sets(split)} for name, split in splits.items()},
        "odds": odds(shares_of),
        "events": event_figures(np.concatenate(timed)) if timed else None,
    }


def label_sets(split: SplitLabels) -> list[list[Any]]:
    """The distinct label sets of a split with the number of videos that carry them, the most frequent first."""
    counted = Counter(tuple(np.flatnonzero(row).tolist()) for row in split.labels)
    return [[videos, list(labels)] for labels, videos in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def odds(splits: list[SplitLabels]) -> dict[str, list[float]]:
    """Shares of the labelled videos of each category in which it is audible, visible, both; 4 decimals."""
    labels = np.concatenate([split.labels for split in splits])
    present = np.concatenate([split.present for split in splits if split.present is not None])  # (N, 2, C)
    if len(present) != len(labels) or not labels.any(axis=0).all():
        raise DataError("every category needs a labelled video of which is known whether it is heard and seen")
    held = {"audible": present[:, 0], "visible": present[:, 1], "both": present.all(axis=1)}
    return {name: np.round(found.sum(axis=0) / labels.sum(axis=0), 4).tolist() for name, found in held.items()}


def event_figures(dense: np.ndarray) -> dict[str, Any]:
    """Of an event, which is a category in one modality of a video: mean segments and intervals per modality and
    category, and histograms over all categories; from dense labels (N, 2, C, T). A category without any event has the
    means of all."""
    segments: list[list[float]] = []
    intervals: list[list[float]] = []
    histograms = []
    for modality in range(2):
        truth = dense[:, modality].astype(bool)  # (N, C, T)
        runs = event_runs(truth)
        happening = truth.any(axis=2)
        events = happening.sum(axis=0)
        of_category = np.bincount(runs.category, minlength=truth.shape[1])
        for totals, means in ((truth.sum(axis=(0, 2)), segments), (of_category, intervals)):
            of_all = totals.sum() / events.sum()
            own = np.where(events > 0, totals / np.maximum(events, 1), of_all)
            means.append(np.round(own, 3).tolist())
        of_event = Counter(zip(runs.video.tolist(), runs.category.tolist(), strict=True)).values()
        lengths = (runs.offset - runs.onset).tolist()
        histograms.append({"per_event": _histogram(of_event), "length": _histogram(lengths)})
    return {"segments": segments, "intervals": intervals, "histograms": histograms}


def table_text(table: dict[str, Any]) -> str:
    """The table as JSON, a set of labels a line."""
    lines = [
        f'"{key}": {json.dumps(table[key], ensure_ascii=False)}' for key in ("note", "categories", "odds", "events")
    ]
    splits = []
    for name, split in table["splits"].items():
        sets = ",\n".join(json.dumps(row, separators=(",", ":")) for row in split["sets"])
        splits.append(f'"{name}": {{"videos": {split["videos"]}, "sets": [\n{sets}\n]}}')
    lines.insert(2, '"splits": {\n' + ",\n".join(splits) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _histogram(values: Any) -> dict[str, int]:
    return {str(value): videos for value, videos in sorted(Counter(values).items())}


if __name__ == "__main__":
    sys.exit(main())
