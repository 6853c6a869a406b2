"""Train: estimator, noise ratios, model, and the scores on test.

python launchers/train.py --config configs/llp.yaml train.epochs=10
torchrun --nproc-per-node 2 launchers/train.py --config configs/llp.yaml
deepspeed --num_gpus 2 launchers/train.py --config configs/llp.yaml
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from jomold_dist.config import Config
from jomold_dist.config_files import load_config
from jomold_dist.denoising.methods import METHODS
from jomold_dist.distributed.world import World, agree_on_errors
from jomold_dist.errors import StoppedError, UserError
from jomold_dist.launching import FAILURE, USER_ERROR, launch, progress_bar, stop_on_signal
from jomold_dist.tables import scores_table
from jomold_dist.tracking import open_recorder, ui_command
from jomold_dist.training.preflight import prepare_run
from jomold_dist.training.recorder import NullRecorder
from jomold_dist.training.run import Run, no_progress
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.stages import run_stages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="a YAML file, see configs/ and docs/settings.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher passes it; LOCAL_RANK is read
    arguments = parser.parse_args()
    return launch(
        lambda: load_config(arguments.config, arguments.overrides, {"method": METHODS}),
        lambda config: config.distributed,
        train,
    )


def train(config: Config, world: World) -> None:
    """Collective: one run from config to scores."""
    manifest = prepare_run(config, world)
    folder = RunFolder(Path(config.run.dir))
    with agree_on_errors(world):
        if world.is_main:
            folder.claim(config, manifest.digest)
    tracked = open_recorder(config, manifest, world) if world.is_main else nullcontext(NullRecorder())
    try:
        with stop_on_signal() as stop_asked, tracked as recorder:
            run = Run(
                config, manifest, world, folder, recorder, progress_bar if world.is_main else no_progress, stop_asked
            )
            scores = run_stages(run).scores
    except BaseException as error:
        if world.is_main:
            state = "stopped" if isinstance(error, StoppedError | KeyboardInterrupt) else "failed"
            code = USER_ERROR if isinstance(error, UserError) else FAILURE
            folder.write_status(state, exit_code=code, message=f"{error}" or type(error).__name__)
        raise
    if world.is_main:
        folder.write_status("finished", exit_code=0)
        print(scores_table({config.method: scores}, "test", simulated=manifest.simulated is not None))
        print(f"run folder: {folder.path}")
        if (folder.path / "mlflow.json").exists():
            print(f"look at it: {ui_command(config)}")


if __name__ == "__main__":
    sys.exit(main())
