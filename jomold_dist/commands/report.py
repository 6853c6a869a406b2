"""Write the report of a run anew: one page that opens in a browser without a network.

    jomold report runs/llp-jomold
    jomold report runs/llp-jomold --controls runs/llp-han runs/llp-true --out report.html

A run writes report.html into its folder at its end. This writes it again, from what the folder holds by now: of a run
that is not at its end, too, and with finished runs beside it, on the same data set: scores and differences as `jomold
compare` has them, and differences by category from the run that the first difference is of. What cannot be used is left
out and named.

Timelines are of eight videos: any (--pick random), those that the run parses worst, or those on which it differs most
from the control that it is compared with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jomold_dist.command_line import add_imports, command, command_parser, tell
from jomold_dist.errors import SUCCESS, DataError
from jomold_dist.files import is_stdout, problem_of
from jomold_dist.places import local_path
from jomold_dist.showing.timelines.picks import PICKS


@command
def main() -> int:
    arguments = _parser().parse_args()
    import torch  # takes seconds, as what follows

    from jomold_dist.distributed.world import World
    from jomold_dist.launching import plain_logging
    from jomold_dist.methods.registry import checked
    from jomold_dist.showing.reports.report import with_examples, write_report
    from jomold_dist.showing.reports.report_controls import beside
    from jomold_dist.showing.reports.run_record import RunRecord
    from jomold_dist.training.run_folder import RunFolder
    from jomold_dist.training.run_reading import read_config
    from jomold_dist.watching import Watch

    plain_logging()
    folder = RunFolder(arguments.run)
    config = checked(read_config(folder), arguments.imports)
    controls = beside(folder, arguments.controls) if arguments.controls else None
    baseline = None if controls is None else controls.baseline
    if arguments.pick == "differ" and baseline is None:
        raise DataError("--pick differ compares runs; name one with other settings by --controls")
    out: Path = arguments.out or folder.report
    with Watch(config.log.every_seconds) as watch, watch.task("report"):
        record, examples = with_examples(
            RunRecord.read(folder),
            [] if baseline is None else [baseline.folder],
            World(0, 1, 0, 1, torch.device("cpu")),
            watch,
            arguments.pick,
        )
        try:
            write_report(out, record, examples, controls)
        except OSError as error:
            raise DataError(f"{out} cannot be written: {problem_of(error)}; name another file by --out") from None
    for problem in record.problems:
        tell(f"left out: {problem}", on_stderr=is_stdout(out))
    tell(f"written: {out}", on_stderr=is_stdout(out))
    return SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    add_imports(parser)
    parser.add_argument("run", type=local_path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--controls", type=local_path, nargs="+", default=[], metavar="RUN", help="folders of finished runs beside it"
    )
    parser.add_argument("--pick", choices=PICKS, default=PICKS[0], help="which videos (default: random)")
    parser.add_argument("--out", type=local_path, metavar="FILE", help="where to (default: report.html in the run's)")
    return parser
