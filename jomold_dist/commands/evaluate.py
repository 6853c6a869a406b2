"""Scores of a run's model on a split with dense labels.

    jomold evaluate --run runs/llp-jomold --split val

Prints the ten scores and the scores per category; writes scores_SPLIT.json into the run's folder. The model of a run
that is still training is its best one so far, from its newest checkpoint.

--shards names another place: where the run's data set lies now, or any other data set of the same categories and
features. Scores of another one are written to scores_SPLIT_of_MANIFEST.json, named by its manifest's digest, and those
of an earlier stage's weights (--weights) to scores_SPLIT_STAGE.json. Under
torchrun, a -- before the script or module keeps torchrun from taking --run for an option of its own.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from jomold_dist.command_line import add_imports, add_other_features, command, command_parser, tell
from jomold_dist.config import Config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.distributed.world import World, agree_on_errors, broadcast_object, gather_objects
from jomold_dist.errors import DataError, RunFolderError, raise_together
from jomold_dist.files import write_json
from jomold_dist.launching import launch
from jomold_dist.methods.registry import checked
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.places import local_path, place
from jomold_dist.reading import parse_json
from jomold_dist.tables import category_table, scores_table, system_name
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import agree_on_manifest, find_data, with_shards
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import Owner, read_config, read_owner
from jomold_dist.training.scores import RunScores, ScoredModel
from jomold_dist.training.stage import ready_to_compute
from jomold_dist.training.stages import evaluate_model
from jomold_dist.training.trained import MODEL
from jomold_dist.watching import Watch


@command
def main() -> int:
    parser = command_parser(__doc__)
    add_imports(parser)
    parser.add_argument("--run", type=local_path, required=True, help="folder of a run")
    parser.add_argument("--split", default="test", help="split of the data set (default: test)")
    parser.add_argument(
        "--shards",
        type=place,
        nargs="+",
        metavar="PLACE",
        help="where the data set lies, a folder or its URL, or several that are joined (default: where the run's did)",
    )
    parser.add_argument(
        "--weights", type=local_path, help="other weights of the run: a checkpoint or a .safetensors file"
    )
    add_other_features(parser)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    return launch(
        lambda: checked(read_config(folder), arguments.imports),
        lambda config, world: evaluate(config, world, folder, arguments),
        {"split": arguments.split},
    )


def evaluate(config: Config, world: World, folder: RunFolder, arguments: argparse.Namespace) -> None:
    """Collective: scores of one split."""
    split: str = arguments.split
    with agree_on_errors(world):
        owner = read_owner(folder, config)
        found = load_found(arguments.weights or folder.path) if world.is_main else None
    network, info, weights = broadcast_object(found, world)
    with agree_on_errors(world):
        check_owner(info, owner, weights, folder)
    config = config if arguments.shards is None else with_shards(config, arguments.shards)
    with agree_on_errors(world):
        source, manifest = find_data(
            config,
            info,
            owner.manifest,
            any_other=arguments.shards is not None,
            other_features=arguments.other_features,
        )
        if not manifest.split(split).dense:
            raise DataError(f"split {split!r} of {config.data.where} has no dense labels to score against")
    agree_on_manifest(manifest, config.data.where, world)
    with agree_on_errors(world):
        share = slice(world.rank, None, world.size)
        problems = problems_of_shards(config.data, source, manifest, [split], share)
    gathered = [problem for share in gather_objects(problems, world) for problem in share]
    with agree_on_errors(world):
        raise_together(gathered)
    with Watch(config.log.every_seconds if world.is_main else None) as watch:
        run = Run(config, manifest, world, folder, watch=watch, records=False)  # the run itself may be going on
        scored = evaluate_model(run, split, ready_to_compute(network, config, world))
    scores = RunScores.of(split, manifest, ScoredModel.of(folder.name_of(weights), info.notes), scored)
    own, stage = manifest.digest == owner.manifest, info.notes.get("stage", MODEL)
    name = f"scores_{split}" if stage == MODEL else f"scores_{split}_{stage}"
    file = folder.path / (f"{name}.json" if own else f"{name}_of_{manifest.digest[:12]}.json")
    with agree_on_errors(world):
        if world.is_main:
            hand_over(report(config, weights, scores, own, run.bad_videos.summary()), scores, file)


def check_owner(info: WeightsInfo, owner: Owner, weights: Path, folder: RunFolder) -> None:
    """RunFolderError if the weights say that they are another run's."""
    noted = info.notes.get("owner")
    if noted is not None and parse_json(noted) != asdict(owner):
        raise RunFolderError(
            f"{weights} is not of the run in {folder.path}: it was trained with another config or on another data set"
        )


def hand_over(text: str, scores: RunScores, file: Path) -> None:
    """Print and write the scores. If one of the two fails, the other is done all the same; RunFolderError says so."""
    untold = tell(text)
    try:
        write_json(file, scores.to_json())
    except OSError as error:
        where = f"cannot be printed either ({untold})" if untold else "are printed above"
        raise RunFolderError(f"{file} cannot be written: {error.strerror or error}; the scores {where}") from None
    if untold:
        raise RunFolderError(f"the scores cannot be printed ({untold}); they are in {file}")


def report(config: Config, weights: Path, scores: RunScores, own: bool, bad_videos: str | None) -> str:
    """What is printed: which model, on what, the ten scores, and those per category."""
    data = f"{scores.data.name}, {config.data.where}" + ("" if own else ", not the data set of the run's training")
    epoch = "unknown" if scores.model.epoch is None else scores.model.epoch
    parts = [
        f"{weights}: epoch {epoch}\ndata set: {data}",
        scores_table({system_name(config): scores.found.scores}, scores.split, simulated=scores.data.simulated),
        "F-scores per category, counted over all videos; a dash where it is neither there nor predicted",
        category_table(scores.found.per_category, scores.found.videos),
        *([bad_videos] if bad_videos else []),
    ]
    return "\n\n".join(parts)
