"""Compare finished runs: the ten scores of each method as mean ± standard deviation over its runs.

    python tools/compare_runs.py runs/llp-short/*

Runs of one method (usually seeds) make one row. Below: the quality of the removals where the truth is known.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from jomold_dist.command_line import command, command_parser
from jomold_dist.config import SCORES
from jomold_dist.config_files import load_config
from jomold_dist.errors import SUCCESS, DataError
from jomold_dist.places import local_path
from jomold_dist.tables import SCORE_HEADERS, markdown_table, spread
from jomold_dist.training.run_folder import RunFolder


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=local_path, help="folders of finished runs")
    print(compare(parser.parse_args().runs))
    return SUCCESS


def compare(runs: list[Path]) -> str:
    """The tables, as markdown."""
    scores: dict[str, list[dict[str, float]]] = defaultdict(list)
    removals: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in runs:
        folder = RunFolder(path)
        if not folder.config.exists():
            continue  # MLflow's store lies beside the run folders
        if not folder.scores.exists():
            raise DataError(f"{path} holds no finished run (scores.json is missing)")
        method = load_config(folder.config).method
        scores[method].append(json.loads(folder.scores.read_text(encoding="utf-8"))["scores"])
        removals[method].append(json.loads(folder.removals.read_text(encoding="utf-8"))["total"])
    if not scores:
        raise DataError("none of these folders is a run's")
    rows = [
        [f"{method} ({len(found)} run{'s' * (len(found) > 1)})", *(spread([f[s] for f in found]) for s in SCORES)]
        for method, found in scores.items()
    ]
    tables = [markdown_table(["method", *SCORE_HEADERS], rows)]
    rows = []
    for method, found in removals.items():
        for modality in ("audio", "visual"):
            entries = [f[modality] for f in found]
            if any(e["removed"] for e in entries):
                shares = [[100 * e[k] for e in entries if e.get(k) is not None] for k in ("precision", "recall")]
                rows.append([f"{method}, {modality}", spread([e["removed"] for e in entries]), *map(spread, shares)])
    if rows:
        tables.append(markdown_table(["removed labels", "in all epochs", "precision %", "recall %"], rows))
    return "\n\n".join(tables)


if __name__ == "__main__":
    sys.exit(main())
