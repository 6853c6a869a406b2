"""What `jomold train` does once its words are read: a dry run, one of a batch a stage, or the run itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from jomold_dist.command_line import show, tell
from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.liveness import naming_lost_ranks
from jomold_dist.distributed.stacks import StackWriter
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import SUCCESS, ConfigError, UserError
from jomold_dist.methods.registry import method_class
from jomold_dist.reading import is_there
from jomold_dist.stopping import StopRequest
from jomold_dist.tables import scores_table, system_name
from jomold_dist.tracking import open_recorder, ui_command
from jomold_dist.training.banner import tell_start
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.training.forecast import forecast
from jomold_dist.training.forecast_report import forecast_report
from jomold_dist.training.preflight import inspect_run, prepare_run
from jomold_dist.training.provenance import record_start
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.removal_table import removals_of
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.selection import why_unscored
from jomold_dist.training.smoke import smoke_run
from jomold_dist.training.stages import run_stages
from jomold_dist.training.trained import MODEL
from jomold_dist.watching import Watch

logger = logging.getLogger(__name__)


def dry_run(load: Callable[[], Config], ranks: int | None) -> int:
    """Tells what a run on so many ranks would do (None: on those that were started); they need not meet for it."""
    place = read_environment(os.environ, meeting=False)
    if place.rank > 0:
        tell(f"rank {place.rank} of {place.size} (RANK, WORLD_SIZE) leaves the dry run to rank 0", on_stderr=True)
    else:
        config, ranks = load(), ranks or place.size
        manifest = inspect_run(config, ranks)
        show(forecast_report(forecast(config, manifest, ranks), config, manifest))
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
        show(held)


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
                folder.write_end(error)
            raise
        with agree_on_errors(world):
            if world.is_main:
                with folder.writes():
                    folder.write_status("finished", exit_code=0)
        if world.is_main and until is None:  # before MLflow takes what the folder holds
            from jomold_dist.showing.reports.report import report_run  # only rank 0 needs it, at its end

            report_run(run)
    if world.is_main:
        if until is None:
            _tell_results(config, manifest, folder, evaluation)
        show(f"\nrun folder: {folder.path}")
        if is_there(folder.report):
            show(f"report:     {folder.report}")
        if (folder.path / "mlflow.json").exists():
            show(f"look at it: {ui_command(config)}")


def _tell_results(config: Config, manifest: Manifest, folder: RunFolder, evaluation: Evaluation | None) -> None:
    """The scores, or why there are none, and what was removed."""
    if evaluation is None:
        show(f"nothing was scored: {why_unscored(manifest)}. The model's weights: {folder.weights(MODEL)}")
    else:
        scores = {system_name(config): evaluation.scores}
        show(scores_table(scores, "test", simulated=manifest.simulated is not None))
    try:
        if removed := removals_of(folder, manifest.categories.names):
            show(f"\n{removed}")
    except UserError as error:  # the run is finished, and the other ranks have left
        logger.warning("no table of the removals: %s", error)
