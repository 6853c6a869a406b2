"""Writing a data set: shards of fixed-size records, then the manifest, with which it appears."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jomold_dist.data.format.dense_truth import truth_problem
from jomold_dist.data.format.feature_rows import feature_problems
from jomold_dist.data.format.manifest import FEATURE_NAMES, FeatureSpec, Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.manifest_file import set_problem, split_problem
from jomold_dist.data.format.records import TAR_BLOCK, label_slot
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.packing.appending import append_problems, extended, label_room, split_to_extend
from jomold_dist.data.packing.destination import destination_of
from jomold_dist.data.packing.shard_writer import ENCODING, BadVideosError, ShardFormat, Video
from jomold_dist.data.packing.split_packer import SplitPacker
from jomold_dist.data.packing.splits import Origin, Videos
from jomold_dist.data.packing.truth_writer import write_truth
from jomold_dist.data.packing.workers import Workers
from jomold_dist.errors import DataError, raise_together
from jomold_dist.files import problem_of
from jomold_dist.labels import CategorySet

logger = logging.getLogger(__name__)


class DatasetWriter:
    """Writes a data set, which appears whole in finish(), and not before.

        with DatasetWriter(
            "shards",
            name="mine",
            categories=CategorySet(("Speech", "Dog", "Rain")),
            segments=10,
            features={"audio": FeatureSpec((10, 512), "float16"), "frames": FeatureSpec((10, 768), "float16")},
        ) as writer:
            writer.write_split("train", (Video(key, arrays, labels) for key, arrays, labels in my_videos))
            writer.finish()

    `out` is a folder (new, empty, or a link to one), which is written beside itself and renamed, or a URL that fsspec
    can write to: then each shard is sent when it is finished, and removed here, and the manifest goes last. What is
    here meanwhile lies in `work`, by default this user's cache; credentials are taken from the environment. With
    `append`, the set that is at `out` gets shards of more videos; it stays as it is until finish().

    `recipe` tells, as JSON values, what decides the content of the videos; what decides how they are stored is added.
    A writer with an equal recipe goes on after the shards that an earlier one had finished when it ended early, and the
    result is byte for byte that of an undisturbed run; with another recipe, they are removed if `restart` says so.
    `jobs` processes write shards, the same whatever their number. `made_by` goes to the manifest.

    A context manager. Leaving it without finish(), or by an exception, removes what was written, unless there is a
    recipe and a finished shard. DataError if `out` is not free (or cannot be added to), if another process writes it,
    or if finished shards of another recipe wait there.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        name: str,
        categories: CategorySet,
        segments: int,
        features: dict[str, FeatureSpec],
        simulated: dict[str, Any] | None = None,
        segment_seconds: float = 1.0,
        made_by: Mapping[str, Any] | None = None,
        videos_per_shard: int = 500,
        recipe: Mapping[str, Any] | None = None,
        restart: bool = False,
        append: bool = False,
        jobs: int = 1,
        work: Path | None = None,
    ) -> None:
        unknown = set(features) - set(FEATURE_NAMES)
        if unknown or not features:
            raise DataError(
                f"features must be some of {', '.join(FEATURE_NAMES)}; given: {', '.join(features) or 'none'}"
            )
        if problems := feature_problems(features, segments):
            raise DataError(*(f"no data set can be made of these features: {problem}" for problem in problems))
        for what, count in (("videos_per_shard", videos_per_shard), ("jobs", jobs)):
            if count < 1:
                raise DataError(f"{what} must be at least 1; given: {count}")
        own = {f: features[f] for f in FEATURE_NAMES if f in features}
        self._set = Manifest(name, segments, categories, own, {}, simulated, segment_seconds, dict(made_by or {}))
        self._refuse_unreadable(self._set)
        self._videos_per_shard, self._resumable = videos_per_shard, recipe is not None
        self._splits: dict[str, SplitInfo] = {}
        self._true: set[str] = set()
        self._bad = self._finished = False
        self._destination = destination_of(out, append=append, work=work)
        self._workplace = self._destination.workplace()
        self._workers = Workers(jobs, self._workplace.lock)
        self._packer = SplitPacker(self._workplace, self._workers, videos_per_shard, self._destination.remote)
        try:
            self._existing = self._existing_set()
            wanted = None if recipe is None else {**self._form(), **recipe}
            said = self._workplace.begin(wanted, restart=restart, moved_to=self._destination.moved_to)
            for split in () if self._existing is None else self._existing.splits.values():
                for digests in self._destination.keys(split):
                    self._packer.keys.add(digests)
        except BaseException:
            self._workplace.close(keep=self._workplace.holds_work())
            raise
        if said:
            logger.info("%s: %s", out, said)

    @property
    def aside(self) -> Path:
        """The folder that finish() renames. A file that is put there beside the shards must be put there each time."""
        return self._workplace.set

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.close(at_once=error is not None)
        shards = len(self._workplace.finished)
        keep = self._resumable and not self._finished and shards > 0
        self._workplace.close(keep=keep)
        if keep:
            logger.info(
                "finished shards are kept (%d in %s); the same command goes on after them",
                shards,
                self._workplace.folder,
            )

    def write_split(
        self,
        split: str,
        videos: Videos | Iterable[Video],
        *,
        dense: bool = False,
        max_labels: int | None = None,
        shuffled: int | None = None,
        origin: Origin | None = None,
        progress: Callable[[int], object] = lambda videos: None,
    ) -> None:
        """Writes all videos of a split, in their order. `dense`: with dense labels. `shuffled`: the seed by which
        somebody has shuffled them; None if nobody has. `max_labels` makes room for so many labels a video: without it
        there are 512 bytes for them, which take about ninety.

        Videos with a length and slices are written by several processes (they must be picklable for that, and so must
        `origin`) and gone on with after a stop. `origin` stands for what a part of them is made from, where the recipe
        leaves that open: a finished shard of another origin is written anew. Any other iterable is read once, a shard
        at a time, in this process; after a stop it begins anew. `progress` is called with the number of videos of every
        shard that is there.

        BadVideosError names all videos of the split that cannot be stored; the shards without any are finished all the
        same, other splits can still be written, and finish() no more.
        """
        if split in self._splits:
            raise DataError(f"split {split!r} is written twice")
        existing = split_to_extend(self._existing, split, dense)
        if existing is not None:
            slot = label_room(existing)
        else:
            slot = TAR_BLOCK if max_labels is None else label_slot(max_labels, len(self._set.categories))
        form = ShardFormat(self._set.features, self._set.categories, self._set.segments, dense, slot)
        if unreadable := split_problem(split, shuffled, form.layout.bytes):
            raise DataError(f"no data set can be made of this: {unreadable}")
        used_names = {shard.name for shard in existing.shards} if existing is not None else set()
        try:
            shards = self._packer.pack(split, videos, form, origin, used_names, progress)
        except BadVideosError:
            self._bad = True
            raise
        if dense and (problem := truth_problem(np.any([s.modalities for s in shards], axis=0))):
            logger.warning("split %r cannot be scored: %s", split, problem)
        most = max(s.max_labels for s in shards)
        infos = tuple(ShardInfo(s.name, s.videos, s.bytes, s.sha256, s.positives) for s in shards)
        self._splits[split] = SplitInfo(split, most, dense, form.layout, infos, shuffled=shuffled)

    def write_truth(self, split: str, keys: Sequence[str], present: np.ndarray) -> None:
        """Writes which labels of a split are really heard and seen: bool (n, 2, C), audio first, of the videos `keys`
        in the order of the shards. It is written each time: a writer takes over nothing but shards.

        DataError unless the split is written, and these are its videos and the data set's categories; or if there is no
        room for it.
        """
        if split not in self._splits:
            raise DataError(f"the truth of split {split!r} can be written only after its videos")
        shape = (len(keys), 2, len(self._set.categories))
        if present.shape != shape:
            raise DataError(f"the truth of split {split!r} must be of shape {shape}, not {present.shape}")
        shards = self._splits[split].shards
        if not self._packer.are_keys([s.name for s in shards], [s.videos for s in shards], keys):
            raise DataError(f"the keys of the truth of split {split!r} must be those of its videos, in their order")
        write_truth(self.aside / truth_name(split), keys, present)
        self._true.add(split)

    def finish(self) -> Manifest:
        """Writes the manifest and makes the data set appear at `out`, or what is added to it."""
        if not self._splits or self._bad:
            raise DataError("a data set needs at least one split, and all the videos that it was given")
        told = self._true if self._set.simulated is None else set()
        splits = {name: replace(split, truth=name in told) for name, split in self._splits.items()}
        manifest = replace(self._set, splits=splits)
        files = {shard.name for split in splits.values() for shard in split.shards} | set(map(truth_name, self._true))
        if self._existing is not None:
            manifest = extended(self._existing, manifest)
            self._refuse_unreadable(manifest)
        try:
            self._workplace.publish(manifest.digest, files)
            self._destination.publish(self.aside, manifest)
        except OSError as error:
            raise DataError(
                f"cannot finish the data set: {problem_of(error)}; free some space or choose another place"
            ) from None
        self._finished = True
        return manifest

    @staticmethod
    def _refuse_unreadable(manifest: Manifest) -> None:
        """DataError if nobody could read a set of this manifest."""
        if problem := set_problem(manifest):
            raise DataError(f"no data set can be made of this: {problem}")

    def _existing_set(self) -> Manifest | None:
        """The set that is added to; its keys are known from here on. DataError if it cannot be added to."""
        existing = self._destination.existing()
        if existing is None:
            return None
        self._workplace.forget_published(existing.digest)
        raise_together([f"this data set cannot be added to: {text}" for text in append_problems(existing, self._set)])
        return existing

    def _form(self) -> dict[str, Any]:
        """What decides how videos are stored. Another numpy may average or round them to another last bit."""
        form = {
            "encoding": ENCODING,
            "numpy": np.__version__,
            "name": self._set.name,
            "categories": self._set.categories.names,
            "segments": self._set.segments,
            "segment seconds": self._set.segment_seconds,
            "made by": self._set.origin,
            "features": {
                name: [*spec.shape, spec.dtype, spec.pooled, *filter(None, [spec.fingerprint])]
                for name, spec in self._set.features.items()
            },
            "simulated": self._set.simulated,
            "videos a shard": self._videos_per_shard,
        }
        return form if self._existing is None else form | {"added to": self._existing.digest}
