"""Tables and figures of a sweep: what a paper would print.

    jomold tabulate runs/sweeps/table2b [--out DIR] [--baseline static]

Writes table.md, table.csv, table.tex and PNG figures into the sweep's folder, or into --out, and prints the first.
"""

from __future__ import annotations

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.errors import SUCCESS
from jomold_dist.places import local_path


@command
def main() -> int:
    parser = command_parser(__doc__)
    parser.add_argument("sweep", type=local_path, help="folder of a sweep")
    parser.add_argument("--out", type=local_path, help="where to write (default: the sweep's folder)")
    parser.add_argument("--baseline", help="the row that all are compared with (default: the sweep's)")
    asked = parser.parse_args()
    from jomold_dist.tuning.report import tabulate  # imports torch and matplotlib

    files = tabulate(asked.sweep, asked.out or asked.sweep, asked.baseline)
    show(files[0].read_text(encoding="utf-8"))
    show("\n".join(f"written: {file}" for file in files))
    return SUCCESS
