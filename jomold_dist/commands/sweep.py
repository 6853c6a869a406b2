"""Train what a sweep file asks for, on Ray Tune, and tabulate it.

    jomold sweep --config sweeps/table2b train.epochs=4

Started again, it trains only what is missing. It tells when trials start and end, and how far the whole is; it ends
with its table, the best row, and where everything lies. With --dry-run nothing is trained or written: settings and data
are checked, and the rows are printed with what is done of them, what is missing, and how long that may take.

Exit codes: 0 all trained, 1 some trials failed, 2 a mistake in the settings, 75 stopped on request.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from jomold_dist.command_line import command, say, show, tell
from jomold_dist.config_command import ConfigParser, print_config
from jomold_dist.errors import FAILURE, PREEMPTED, SUCCESS
from jomold_dist.tuning.config import Sweep, load_sweep, resolve_sweep


@command
def main() -> int:
    parser = ConfigParser(__doc__, Sweep)
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what would be trained")
    asked = parser.parse()
    if asked.imports:  # as a setting, so that every trial has them
        own = resolve_sweep(asked.config, asked.overrides).config.imports
        asked.overrides.append(f"imports={json.dumps([*own, *asked.imports])}")
    if asked.print_config:
        return print_config(asked, resolve_sweep, "; the files that its rows name are looked for beside it")
    from jomold_dist.launching import plain_logging  # imports torch, which takes a second
    from jomold_dist.stopping import sigterm_as_ctrl_c

    plain_logging()
    try:
        with sigterm_as_ctrl_c():
            return sweep(asked.config, asked.overrides, asked.dry_run)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on")
        return PREEMPTED


def sweep(config: Path, overrides: list[str], only_plan: bool) -> int:
    """Plan it and, unless that is all, run it; the exit code."""
    from jomold_dist.tuning.dry_run import dry_run
    from jomold_dist.tuning.plan import plan_sweep
    from jomold_dist.tuning.watcher import Teller

    plan = plan_sweep(config, overrides, load_sweep(config, overrides))
    show(plan.summary())
    if only_plan:
        show(f"\n{dry_run(plan)}")
        return SUCCESS
    from jomold_dist.tuning.sweep import run_sweep  # imports Ray, which takes seconds

    ran = run_sweep(plan, Teller(tell_progress, plan.cells[0].config.log.every_seconds))
    tell(f"\n{ran.text}")
    return FAILURE if ran.failed else SUCCESS


def tell_progress(text: str) -> None:
    """A line of the sweep's progress. One that cannot be printed ends no trial."""
    tell(f"{time.strftime('%H:%M:%S')} {text}")
