"""Compare finished runs: the ten scores of each config as mean ± standard deviation over its seeds.

    python tools/compare_runs.py runs/llp-short/*

Runs that differ in nothing but their seed make one row, which is named by its method and what else sets it apart.
Below: the quality of the removals where the truth is known. Folders that hold no finished run are left out, with a line
each; runs on different data sets are refused.
"""

from __future__ import annotations

import sys

from jomold_dist.command_line import command, command_parser
from jomold_dist.errors import SUCCESS
from jomold_dist.places import local_path
from jomold_dist.training.comparison import compare_runs, report


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=local_path, help="folders of finished runs")
    print(report(compare_runs(parser.parse_args().runs)))
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
