"""What `jomold labels` judges labels by: a run, or a file of probabilities."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jomold_dist.cleaning.given_probabilities import judge, read_probabilities
from jomold_dist.cleaning.judged import JudgedLabels
from jomold_dist.cleaning.of_run import estimator_of, judged_by, table_of, truth_of
from jomold_dist.cleaning.suspects import Suspect
from jomold_dist.commands.evaluate import check_owner
from jomold_dist.config import Config
from jomold_dist.data.checking.start_check import problems_of_shards
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.packing.event_tables import Length, with_event_tables
from jomold_dist.data.packing.label_tables import read_label_tables
from jomold_dist.data.packing.presets import read_preset
from jomold_dist.data.reading.source import Source
from jomold_dist.distributed.environment import read_environment
from jomold_dist.distributed.world import World
from jomold_dist.errors import DataError, UserError, raise_together
from jomold_dist.labels import CategorySet
from jomold_dist.launching import launch
from jomold_dist.methods.registry import checked
from jomold_dist.models.network import Network
from jomold_dist.showing.reports.suspect_timelines import suspect_timelines
from jomold_dist.showing.timelines.media import media_files
from jomold_dist.showing.timelines.parsed import Videos
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.training.loading import load_found
from jomold_dist.training.preflight import find_data, with_shards
from jomold_dist.training.run import Run
from jomold_dist.training.run_folder import RunFolder
from jomold_dist.training.run_reading import read_config, read_owner
from jomold_dist.training.stage import ready_to_compute
from jomold_dist.watching import Watch

ANY_LENGTH = Length(1, 1.0)  # labels alone have no time
LEARNT_BY_ESTIMATOR = (
    "its estimator has looked once more at the labels that it has learnt, and so with them some of their noise: "
    "confidences may be too high. Those of a run with method=mixture are honest"
)
LEARNT_BY_MODEL = (
    "its model has looked once more at the labels that it has learnt, and finds nearly all of them right: its "
    "confidences find hardly any noise. A run with method=mixture judges labels unseen"
)


@dataclass(frozen=True)
class RunData:
    """A run's data set and its model, for timelines."""

    config: Config
    source: Source
    manifest: Manifest
    world: World
    network: Network

    def timelines(self, suspects: Sequence[Suspect], media: Path | None) -> list[Timeline]:
        """Of the first suspects, with pictures from a folder of video files, if there is one."""
        files = {} if media is None else media_files(media)
        videos = Videos(self.config, self.source, self.manifest, self.world)
        return suspect_timelines(suspects, self.network, videos, files)


@dataclass(frozen=True)
class Judging:
    """The labels with what is thought of them, a sentence that says by what, and what is to be told beside."""

    labels: JudgedLabels
    title: str
    source: str
    notes: list[str] = field(default_factory=list)
    data: RunData | None = None
    by_removals: bool = False
    """Whether what a training has removed tells more of noise than the confidences."""

    @property
    def simulated(self) -> str | None:
        """The world, where the run's data are known to be simulated."""
        return None if self.data is None else self.data.manifest.world


def judge_given(arguments: argparse.Namespace) -> Judging:
    """By --probabilities. DataError."""
    path: Path = arguments.probabilities
    given = read_probabilities(path)
    if arguments.annotations:
        kind, folder = arguments.annotations
        labels = read_preset(kind, folder, ANY_LENGTH.segments)
    else:
        labels = read_label_tables(arguments.labels, given.categories)
        truth = {arguments.split: arguments.truth} if arguments.truth else {}
        labels = with_event_tables(labels, {}, truth, ANY_LENGTH)
    if arguments.split not in labels.splits:
        raise DataError(f"the labels have no split {arguments.split!r}; they have {', '.join(labels.splits)}")
    judged, notes = judge(given, labels.splits[arguments.split], labels.categories)
    source = (
        f"{path.name}: labels judged by the mixture, from given probabilities. If the model has trained on these "
        "labels, it has learnt some of their noise, and the confidence is too low or too high"
    )
    return Judging(judged, path.name, source, [*labels.findings, *notes])


def judge_run(arguments: argparse.Namespace, then: Callable[[Judging], None]) -> int:
    """By a run: the exit code."""
    folder = RunFolder(arguments.run)
    if read_environment(os.environ).size > 1:
        raise DataError("labels runs as one process: start it without a launcher, and without WORLD_SIZE set")
    return launch(
        lambda: checked(read_config(folder), arguments.imports),
        lambda config, world: then(_of_run(config, world, folder, arguments)),
        {},
    )


def _of_run(config: Config, world: World, folder: RunFolder, arguments: argparse.Namespace) -> Judging:
    owner = read_owner(folder, config)
    network, info, weights = load_found(folder.path)
    check_owner(info, owner, weights, folder)
    table, notes = table_of(folder, CategorySet(info.categories), owner.manifest), list[str]()
    data = None
    if arguments.shards:
        config = with_shards(config, arguments.shards)
    try:
        other = arguments.other_features
        source, manifest = find_data(config, info, owner.manifest, any_other=False, other_features=other)
        raise_together(problems_of_shards(config.data, source, manifest, ["train"]))
        data = RunData(config, source, manifest, world, ready_to_compute(network, config, world))
    except UserError as error:
        if table is None or arguments.shards:
            raise
        notes.append(f"the data set is not used, so there are no timelines, and no truth: {error}")
    title = f"{folder.path.name}, {config.method}"
    if table is not None:
        source_text = f"{folder.labels()}: every label was judged by an estimator that has not learnt it"
        return Judging(_with_truth(table, data), title, source_text, notes, data)
    assert data is not None
    judge_network, source_text = data.network, LEARNT_BY_MODEL
    if (estimator := estimator_of(folder)) is not None:
        judge_network, source_text = ready_to_compute(load_found(estimator)[0], config, world), LEARNT_BY_ESTIMATOR
    with Watch(config.log.every_seconds) as watch:
        run = Run(data.config, data.manifest, world, folder, watch=watch, records=False)
        judged = _with_truth(judged_by(judge_network, run), data)
    by_removals = estimator is None and judged.epochs_removed is not None
    return Judging(judged, title, f"{folder.path}: {source_text}", notes, data, by_removals)


def _with_truth(judged: JudgedLabels, data: RunData | None) -> JudgedLabels:
    return judged if data is None else replace(judged, there=truth_of(judged, data.source, data.manifest))
