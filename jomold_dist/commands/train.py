"""Train: estimator, noise ratios, model, and the scores on test.

python launchers/train.py --config configs/llp.yaml train.epochs=10
torchrun --nproc-per-node 2 launchers/train.py --config configs/llp.yaml
deepspeed --num_gpus 2 launchers/train.py --config configs/llp.yaml

launchers/start.py before any of these exits with the run's own code and leaves no process behind.

With --smoke, every stage is tried with one optimizer batch, from training to scores, and nothing is left of it.
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
from jomold_dist.distributed.stacks import StackWriter
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import SUCCESS, ConfigError, StoppedError, UserError
from jomold_dist.launching import launch
from jomold_dist.methods.registry import checked, method_class
from jomold_dist.stopping import StopRequest, hear_signals
from jomold_dist.tables import scores_table, system_name
from jomold_dist.tracking import open_recorder, ui_command
from jomold_dist.training.banner import tell_start
from jomold_dist.training.forecast import forecast
from jomold_dist.training.forecast_report import forecast_report
from jomold_dist.training.preflight import SPLITS, inspect_run, prepare_run
from jomold_dist.training.provenance import record_start
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.removal_table import removals_of
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.smoke import smoke_run
from jomold_dist.training.stages import run_stages
from jomold_dist.watching import Watch

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

    if arguments.smoke and (arguments.dry_run or arguments.until):
        parser.error("--smoke goes through all stages, and neither with --dry-run nor with --until")
    if arguments.dry_run:
        return dry_run(load, arguments.ranks)
    if arguments.smoke:
        return launch(load, lambda config, world: smoke(config, world, stop), {"smoke": True})
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


def smoke(config: Config, world: World, stop: StopRequest) -> None:
    """Collective: a run of one batch a stage that leaves nothing behind."""
    with (
        Watch(config.log.every_seconds if world.is_main else None) as watch,
        stop.heeded(world, None),
        naming_lost_ranks(world.liveness),
    ):
        held = smoke_run(config, world, watch, stop)
    if world.is_main:
        print(held)


def train(config: Config, world: World, stop: StopRequest, until: str | None) -> None:
    """Collective: one run from config to scores, or until a stage."""
    with agree_on_errors(world):
        stages = [stage.name for stage in method_class(config.method).stages(config)]
        if until is not None and until not in stages:
            raise ConfigError(f"--until {until!r} is no stage of method {config.method!r}: {', '.join(stages)}")
    folder = RunFolder(Path(config.run.dir))
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(config.log.every_seconds if world.is_main else None))
        with watch.task("checking the data set"):
            manifest = prepare_run(config, world)
        with agree_on_errors(world):
            if world.is_main:
                stack.enter_context(folder.claimed(config, manifest.digest))
        patience = config.distributed.timeout_seconds if world.size > 1 else None
        stacks = stack.enter_context(StackWriter(folder.stacks, world.rank, world.size, patience, watch.where))
        record_start(folder, world)
        recorder = stack.enter_context(open_recorder(config, manifest, world)) if world.is_main else NullRecorder()
        run = Run(config, manifest, world, folder, recorder, watch, stop)
        try:
            tell_start(run, ui_command(config) if world.is_main and config.tracking.enabled else None)
            with stop.heeded(world, config.run.wall_minutes), naming_lost_ranks(world.liveness, stacks.write):
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
