"""Train: estimator, noise ratios, model, and the scores on test.

    jomold train --config llp train.epochs=10
    torchrun --nproc-per-node 2 -m jomold_dist train --config llp
    deepspeed --num_gpus 2 --module jomold_dist train --config llp

`jomold start` before any launcher exits with the run's own code and leaves no process behind. In a checkout,
launchers/train.py does the same as -m jomold_dist train.

With --dry-run nothing is trained or written: config, manifest and shards are checked as for a start on --ranks ranks,
and what such a run would do is printed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from jomold_dist.command_line import command, exit_code, tell, training_parser
from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.liveness import naming_lost_ranks
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import SUCCESS, ConfigError, StoppedError, UserError
from jomold_dist.launching import launch, tell_where
from jomold_dist.methods.registry import checked, method_class
from jomold_dist.stopping import StopRequest, hear_signals
from jomold_dist.tables import scores_table, system_name
from jomold_dist.tracking import open_recorder, ui_command
from jomold_dist.training.forecast import forecast
from jomold_dist.training.forecast_report import forecast_report
from jomold_dist.training.preflight import SPLITS, inspect_run, prepare_run
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.removal_table import removals_of
from jomold_dist.training.run import Run, no_progress
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stages import run_stages
from jomold_dist.watching import progress_bar

logger = logging.getLogger(__name__)


@command
def main() -> int:
    stop = hear_signals()
    parser = training_parser(__doc__)
    arguments = parser.parse_intermixed_args()
    if arguments.ranks and not arguments.dry_run:
        parser.error("--ranks goes with --dry-run; a run has the ranks that its launcher starts")

    def load() -> Config:
        return checked(load_config(arguments.config, arguments.overrides), arguments.imports)

    if arguments.dry_run:
        return dry_run(load, arguments.ranks)
    return launch(load, lambda config, world: train(config, world, stop, arguments.until), {"until": arguments.until})


def dry_run(load: Callable[[], Config], ranks: int | None) -> int:
    """Tells what a run on so many ranks would do (None: on those that were started); they need not meet for it."""
    place = read_environment(os.environ, meeting=False)
    if place.rank > 0:
        tell(f"rank {place.rank} of {place.size} (RANK, WORLD_SIZE) leaves the dry run to rank 0", on_stderr=True)
    else:
        config, ranks = load(), ranks or place.size
        manifest = inspect_run(config, ranks)
        print(forecast_report(forecast(config, manifest, ranks, SPLITS), config, manifest))
    return SUCCESS


def train(config: Config, world: World, stop: StopRequest, until: str | None) -> None:
    """Collective: one run from config to scores, or until a stage."""
    with agree_on_errors(world):
        stages = [stage.name for stage in method_class(config.method).stages(config)]
        if until is not None and until not in stages:
            raise ConfigError(f"--until {until!r} is no stage of method {config.method!r}: {', '.join(stages)}")
    manifest = prepare_run(config, world)
    folder = RunFolder(Path(config.run.dir))
    with ExitStack() as stack:
        with agree_on_errors(world):
            if world.is_main:
                stack.enter_context(folder.claimed(config, manifest.digest))
        recorder = stack.enter_context(open_recorder(config, manifest, world)) if world.is_main else NullRecorder()
        progress = progress_bar if world.is_main else no_progress
        run = Run(config, manifest, world, folder, recorder, progress, stop)
        try:
            tell_where(config, world)
            with stop.heeded(world, config.run.wall_minutes), naming_lost_ranks(world.liveness):
                evaluation = run_stages(run, until)
        except BaseException as error:  # told before MLflow is, which may take its time
            if world.is_main:
                state = "preempted" if isinstance(error, StoppedError) else "failed"
                with suppress(OSError):  # a full disk must not hide what happened
                    folder.write_status(state, exit_code=exit_code(error), message=f"{error}" or type(error).__name__)
            raise
        with agree_on_errors(world):
            if world.is_main:
                with folder.writes():
                    folder.write_status("finished", exit_code=0)
    if world.is_main:
        if evaluation is not None:
            scores = {system_name(config): evaluation.scores}
            print(scores_table(scores, "test", simulated=manifest.simulated is not None))
            try:
                if removed := removals_of(folder, manifest.categories.names):
                    print(f"\n{removed}\n")
            except UserError as error:  # the run is finished, and the other ranks have left
                logger.warning("no table of the removals: %s", error)
        print(f"run folder: {folder.path}")
        if (folder.path / "mlflow.json").exists():
            print(f"look at it: {ui_command(config)}")
