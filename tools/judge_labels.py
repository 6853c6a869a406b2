"""How good the verdicts on labels are, where the truth of the training labels is known.

    python tools/judge_labels.py runs/worlds/*/mixture-*

For each run of `mixture` (or with `denoise.ratios=mixture`) and each round of it: the share of labels called noise (P
below one half) that are noise (precision), the share of the noise that is called so (recall), the Brier score of P, and
that of the constant that is best (the true share).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from jomold_dist.command_line import command, command_parser
from jomold_dist.config_files import load_config
from jomold_dist.data.reading.run_data import open_data
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import SUCCESS, DataError
from jomold_dist.labels import MODALITIES
from jomold_dist.places import local_path
from jomold_dist.reading import is_there
from jomold_dist.tables import markdown_table
from jomold_dist.training.run_folder import RunFolder


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=local_path, help="folders of runs")
    rows = [row for run in parser.parse_args().runs for row in judge(RunFolder(run))]
    print(markdown_table(["run, modality", "round", "precision %", "recall %", "Brier", "of a constant"], rows))
    return SUCCESS


def judge(folder: RunFolder) -> list[list[str]]:
    """A row a round and modality. DataError where there is nothing to judge, or no truth."""
    tables = [path for path in (folder.labels("-1"), folder.labels()) if is_there(path)]
    if not tables:
        raise DataError(f"{folder.path} has no {folder.labels().name}: it is no run of `mixture`, or is not so far yet")
    source, manifest = open_data(load_config(folder.config).data)
    truth = read_truth(source, manifest, "train")
    if truth is None:
        raise DataError(f"the truth of the training labels of {source} is not known")
    return [
        row
        for number, table in enumerate(tables, 1)
        for row in _rows(table, number, manifest.categories.names, truth.present)
    ]


def _rows(table: Path, number: int, names: tuple[str, ...], present: np.ndarray) -> list[list[str]]:
    columns = pq.read_table(table, columns=["video", "category", *MODALITIES])
    place = {name: at for at, name in enumerate(names)}
    video = columns.column("video").to_numpy()
    category = np.array([place[name] for name in columns.column("category").to_pylist()])
    rows = []
    for modality, name in enumerate(MODALITIES):
        there, probability = present[video, modality, category] > 0, columns.column(name).to_numpy()
        called = probability < 0.5
        rightly, share = (called & ~there).sum(), there.mean()
        rows.append([
            f"{table.parent.parent.name}/{table.parent.name}, {name}",
            str(number),
            f"{100 * rightly / max(called.sum(), 1):.1f}",
            f"{100 * rightly / max((~there).sum(), 1):.1f}",
            f"{np.mean((probability - there) ** 2):.4f}",
            f"{share * (1 - share):.4f}",
        ])  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(main())
