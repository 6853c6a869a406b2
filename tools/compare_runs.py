"""Compare finished runs: the ten scores of each method as mean ± standard deviation over its runs.

    python tools/compare_runs.py runs/llp-short/*

Runs of one method (usually seeds) make one row. Below: the quality of the removals where the truth is known.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from jomold_dist.config import SCORES
from jomold_dist.config_files import load_config
from jomold_dist.errors import DataError, UserError
from jomold_dist.tables import SCORE_HEADERS, markdown_table, spread
from jomold_dist.training.run_folder import RunFolder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    try:
        print(compare(parser.parse_args().runs))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


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
