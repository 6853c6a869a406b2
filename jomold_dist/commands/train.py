"""Train: estimator, noise ratios, model, and the scores on test.

    jomold train --config llp train.epochs=10
    torchrun --nproc-per-node 2 -m jomold_dist train --config llp
    deepspeed --num_gpus 2 --module jomold_dist train --config llp

`jomold start` before any launcher exits with the run's own code and leaves no process behind. In a checkout,
launchers/train.py does the same as -m jomold_dist train.

With --smoke, every stage is tried with one optimizer batch, from training to scores, and nothing is left of it.
With --dry-run nothing is trained or written: config, manifest and shards are checked as for a start on --ranks ranks,
and what such a run would do is printed.
"""

from __future__ import annotations

from jomold_dist.command_line import command
from jomold_dist.config import Config
from jomold_dist.config_command import print_config, training_parser
from jomold_dist.config_files import load_config
from jomold_dist.methods.registry import checked


@command
def main() -> int:
    parser = training_parser(__doc__)
    arguments = parser.parse()
    if arguments.ranks and not arguments.dry_run:
        parser.error("--ranks goes with --dry-run; a run has the ranks that its launcher starts")
    if arguments.smoke and (arguments.dry_run or arguments.until):
        parser.error("--smoke goes through all stages, and neither with --dry-run nor with --until")
    if arguments.print_config:
        return print_config(arguments)
    from jomold_dist.commands.training import dry_run, smoke, train  # imports torch, which takes seconds
    from jomold_dist.launching import launch
    from jomold_dist.stopping import hear_signals

    stop = hear_signals()

    def load() -> Config:
        return checked(load_config(arguments.config, arguments.overrides), arguments.imports)

    if arguments.dry_run:
        return dry_run(load, arguments.ranks)
    if arguments.smoke:
        return launch(load, lambda config, world: smoke(config, world, stop), {"smoke": True})
    options = {"until": arguments.until}
    return launch(load, lambda config, world: train(config, world, stop, arguments.until), options, traces=True)
