"""Compare the same methods over several data sets: scores, gaps closed, one row minus the others, and the
errors of noise ratios.

    jomold compare-worlds runs/worlds/*/* --score segment_type segment_visual

Within a data set, rows are those of `jomold compare`, paired by seed with the runs of `han` and `true` there. Folders
that hold no finished run are left out, with a line each.
"""

from __future__ import annotations

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.errors import SUCCESS
from jomold_dist.places import local_path
from jomold_dist.score_names import SCORE_NAMES

DEFAULT = ("segment_type", "segment_visual", "segment_audio")


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=local_path, help="folders of finished runs")
    parser.add_argument(
        "--score",
        nargs="+",
        choices=SCORE_NAMES,
        metavar="SCORE",
        default=DEFAULT,
        help=f"a table each, of {', '.join(SCORE_NAMES)} (default: {' '.join(DEFAULT)})",
    )
    parser.add_argument(
        "--row", metavar="NAME", help="the row whose differences from the others are shown (default: mixture, if any)"
    )
    asked = parser.parse_args()
    from jomold_dist.comparing.worlds import worlds_report  # imports torch, by way of the methods

    show(worlds_report(asked.runs, asked.score, asked.row))
    return SUCCESS
