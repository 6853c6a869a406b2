"""Tables and figures of a sweep: what a paper would print.

    python tools/tabulate_sweep.py runs/sweeps/table2b [--out DIR] [--baseline static]

Writes table.md, table.csv, table.tex and PNG figures into the sweep's folder, or into --out, and prints the first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jomold_dist.errors import USER_ERROR, UserError
from jomold_dist.tuning.report import tabulate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="folder of a sweep")
    parser.add_argument("--out", type=Path, help="where to write (default: the sweep's folder)")
    parser.add_argument("--baseline", help="the row that all are compared with (default: the sweep's)")
    asked = parser.parse_args()
    try:
        files = tabulate(asked.sweep, asked.out or asked.sweep, asked.baseline)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(f"written: {file}" for file in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
