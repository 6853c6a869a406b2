"""Compare finished runs: the scores of each config as mean ± standard deviation over its seeds, and paired differences.

    jomold compare runs/llp-short/*
    jomold compare runs/sweeps/trials/* --score segment_visual --format csv

Runs that differ in nothing but their seed make one row, which is named by its method and what else sets it apart. Where
runs of the methods han, static and true are among them, each row is compared with the one of theirs that shares most
of its other settings, by seed, and `gap closed` is (row - han) / (true - han). Below: what the seeds carry, and the
quality of the removals where the truth is known. Folders that hold no finished run are left out, with a line each; runs
on different data sets are refused. `csv` is a line a row and seed.
"""

from __future__ import annotations

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.errors import SUCCESS
from jomold_dist.places import local_path
from jomold_dist.score_names import SCORE_NAMES
from jomold_dist.tables import FORMATS


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=local_path, help="folders of finished runs")
    parser.add_argument(
        "--score",
        choices=SCORE_NAMES,
        metavar="SCORE",
        default="segment_type",
        help=f"the score of the differences: {', '.join(SCORE_NAMES)} (default: %(default)s)",
    )
    parser.add_argument("--format", choices=FORMATS, default="md", help="markdown, comma-separated or LaTeX")
    asked = parser.parse_args()
    from jomold_dist.comparing.report import report  # imports torch, by way of the methods, which takes a second
    from jomold_dist.comparing.rows import compare_runs

    show(report(compare_runs(asked.runs), asked.score, asked.format))
    return SUCCESS
