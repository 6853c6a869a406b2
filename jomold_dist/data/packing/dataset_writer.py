"""Writing a data set: shards of fixed-size records, then the manifest, then one rename that makes them appear.

With a recipe, packing that ends early leaves its finished shards beside `out`, and goes on after them when it is
started again. The result is byte for byte that of an undisturbed run. Where `out` is a link, its target is meant.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from jomold_dist.data.format.damage import unreadable
from jomold_dist.data.format.dense_truth import has_positives, truth_problem
from jomold_dist.data.format.feature_rows import feature_problems
from jomold_dist.data.format.manifest import FEATURE_NAMES, MANIFEST_NAME, FeatureSpec, Manifest, ShardInfo, SplitInfo
from jomold_dist.data.format.records import DENSE, record_keys, strided
from jomold_dist.data.format.truth_file import truth_name, write_truth
from jomold_dist.data.packing.shard_writer import ENCODING, BadVideosError, ShardFormat, Video, write_shard
from jomold_dist.data.packing.workplace import FinishedShard, Workplace, check_free
from jomold_dist.errors import DataError
from jomold_dist.files import problem_of, sync
from jomold_dist.labels import CategorySet
from jomold_dist.reading import regular_file

logger = logging.getLogger(__name__)


class Videos(Protocol):
    """Videos by number: a list of them, or what makes them when they are asked for. A slice may be read once.

    While it is read it may raise DataError, with a problem for every video of it that cannot be had.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Iterable[Video]: ...


@dataclass(frozen=True)
class SplitSource:
    """A split that can be written, and parts of it again: the arguments of DatasetWriter.write_split."""

    name: str
    videos: Videos
    max_labels: int
    dense: bool
    origin: Callable[[slice], str] = lambda part: ""
    shuffled: int | None = None


def shard_name(split: str, number: int) -> str:
    """The path of a split's shard below the data set's folder."""
    return f"{split}/shard-{number:06d}.tar"


class DatasetWriter:
    """Writes a data set into a folder beside `out` and renames it to `out` in finish().

    `recipe` tells, as JSON values, what decides the content of the videos; what decides how they are stored is added.
    A writer with an equal recipe takes over the shards that an earlier one had finished when it ended early; with
    another recipe, they are removed if `restart` says so.

    A context manager. Leaving it without finish(), or by an exception, removes what was written, unless there is a
    recipe and a finished shard. DataError if `out` exists and is not empty, if another process writes it, or if
    finished shards of another recipe wait there.
    """

    def __init__(
        self,
        out: Path,
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
    ) -> None:
        unknown = set(features) - set(FEATURE_NAMES)
        if unknown or not features:
            raise DataError(
                f"features must be some of {', '.join(FEATURE_NAMES)}; given: {', '.join(features) or 'none'}"
            )
        if problems := feature_problems(features, segments):
            raise DataError(*(f"no data set can be made of these features: {problem}" for problem in problems))
        if videos_per_shard < 1:
            raise DataError(f"videos_per_shard must be at least 1; given: {videos_per_shard}")
        self._name, self._categories, self._segments = name, categories, segments
        self._features = {f: features[f] for f in FEATURE_NAMES if f in features}
        self._simulated, self._videos_per_shard = simulated, videos_per_shard
        self._segment_seconds, self._made_by = segment_seconds, dict(made_by or {})
        self._splits: dict[str, SplitInfo] = {}
        self._true: set[str] = set()
        self._keys: set[str] = set()
        self._bad = self._finished = False
        self._resumable = recipe is not None
        if os.path.ismount(os.path.realpath(out)):
            raise DataError(
                f"{out} is a mount point, and a folder is renamed to become the data set; choose a folder inside it, "
                f"such as {Path(out) / name}"
            )
        self._workplace = Workplace(out)
        try:
            check_free(self._workplace.out)
            said = self._workplace.begin(None if recipe is None else {**self._form(), **recipe}, restart=restart)
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
        videos: Videos,
        *,
        max_labels: int,
        dense: bool,
        shuffled: int | None = None,
        origin: Callable[[slice], str] = lambda part: "",
        progress: Callable[[int], object] = lambda videos: None,
    ) -> None:
        """Writes all videos of a split, in their order. `max_labels`: at most so many labels a video. `shuffled`: the
        seed by which somebody has shuffled them; None if nobody has.

        `origin` stands for what a part of the videos is made from, where the recipe leaves that open: a finished shard
        of another origin is written anew. `progress` is called with the number of videos of every shard that is there.

        BadVideosError names all videos of the split that cannot be stored; the shards without any are finished all the
        same, other splits can still be written, and finish() no more.
        """
        if split in self._splits:
            raise DataError(f"split {split!r} is written twice")
        if not split.isidentifier():
            raise DataError(f"a split's name must be a word of letters, digits and '_'; given: {split!r}")
        if not len(videos):
            raise DataError(f"split {split!r} has no videos")
        form = ShardFormat(self._features, self._categories, self._segments, max_labels, dense)
        try:
            (self.aside / split).mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write {problem_of(error)}; free some space or choose another folder") from None
        shards: list[FinishedShard] = []
        problems: list[str] = []
        for number, first in enumerate(range(0, len(videos), self._videos_per_shard)):
            part = slice(first, min(first + self._videos_per_shard, len(videos)))
            name, source = shard_name(split, number), f"{form.max_labels} {form.dense} {origin(part)}"
            shard = self._taken_over(name, part.stop - part.start, source, form)
            try:
                shards.append(shard or self._written(name, videos[part], source, form))
            except BadVideosError as error:
                problems += error.problems
            progress(part.stop - part.start)
        if problems:
            self._bad = True
            raise BadVideosError(*problems)
        infos = tuple(
            ShardInfo(s.name, s.videos, s.bytes, s.sha256, np.array(s.positives, dtype=np.int32)) for s in shards
        )
        self._splits[split] = SplitInfo(
            split, max(s.most for s in shards), dense, form.layout, infos, shuffled=shuffled
        )

    def write_truth(self, split: str, keys: Sequence[str], present: np.ndarray) -> None:
        """Writes which labels of a split are really heard and seen: bool (n, 2, C), audio first, of the videos `keys`
        in the order of the shards. It is written each time: a writer takes over nothing but shards.

        DataError unless the split is written, and these are its videos and the data set's categories.
        """
        if split not in self._splits:
            raise DataError(f"the truth of split {split!r} can be written only after its videos")
        shape = (len(keys), 2, len(self._categories))
        if present.shape != shape:
            raise DataError(f"the truth of split {split!r} must be of shape {shape}, not {present.shape}")
        if list(keys) != self._stored_keys(self._splits[split]):
            raise DataError(f"the keys of the truth of split {split!r} must be those of its videos, in their order")
        path = self.aside / truth_name(split)
        try:
            path.parent.mkdir(exist_ok=True)
            write_truth(path, keys, present)
            sync(path)
        except OSError as error:
            raise DataError(f"cannot write {problem_of(error)}; free some space or choose another folder") from None
        self._true.add(split)

    def finish(self) -> Manifest:
        """Writes the manifest and makes the data set appear at `out`."""
        if not self._splits or self._bad:
            raise DataError("a data set needs at least one split, and all the videos that it was given")
        told = self._true if self._simulated is None else set()
        splits = {name: replace(split, truth=name in told) for name, split in self._splits.items()}
        manifest = Manifest(
            self._name,
            self._segments,
            self._categories,
            self._features,
            splits,
            self._simulated,
            self._segment_seconds,
            self._made_by,
        )
        for split in self._splits.values():
            if split.dense and (problem := truth_problem(self._dense_positives(split))):
                logger.warning("split %r cannot be scored: %s", split.name, problem)
        out = self._workplace.out
        path = self.aside / MANIFEST_NAME
        try:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(manifest.lines())
            sync(path)
            sync(self.aside)
            os.rename(self.aside, out)  # takes the place of an empty folder
        except OSError as error:
            raise DataError(f"cannot finish the data set {out}: {error}; free some space or choose another") from None
        self._finished = True
        sync(out.parent)
        return manifest

    def _dense_positives(self, split: SplitInfo) -> np.ndarray:
        """Whether a split's dense labels have a positive, by modality: bool (2,)."""
        found = np.zeros(2, dtype=bool)
        offset, shape = split.record.members[DENSE].offset, (2, len(self._categories), self._segments)
        for shard in split.shards:
            records = np.memmap(self.aside / shard.name, mode="r", shape=(shard.videos, split.record.bytes))
            found |= has_positives(strided(records, offset, shape, "uint8"))
            if found.all():
                break
        return found

    def _stored_keys(self, split: SplitInfo) -> list[str]:
        """The keys of a split, in the order of its shards."""
        found: list[str] = []
        for shard in split.shards:
            records = np.memmap(self.aside / shard.name, mode="r", shape=(shard.videos, split.record.bytes))
            found += record_keys(records, split.record)
        return found

    def _form(self) -> dict[str, Any]:
        """What decides how videos are stored. Another numpy may average or round them to another last bit."""
        return {
            "encoding": ENCODING,
            "numpy": np.__version__,
            "name": self._name,
            "categories": self._categories.names,
            "segments": self._segments,
            "segment seconds": self._segment_seconds,
            "made by": self._made_by,
            "features": {name: [*spec.shape, spec.dtype] for name, spec in self._features.items()},
            "simulated": self._simulated,
            "videos a shard": self._videos_per_shard,
        }

    def _taken_over(self, name: str, videos: int, source: str, form: ShardFormat) -> FinishedShard | None:
        """The shard of an earlier start, if it is what is to be written and still what it was.

        One that is not stays where it is until it is written again. DataError if it cannot be read.
        """
        shard = self._workplace.finished.get(name)
        if shard is None:
            return None
        if (shard.videos, shard.origin) != (videos, source):
            logger.info("%s is written again: what its videos are made from has changed since", name)
            return None
        path = self.aside / name
        try:
            with regular_file(path).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(str(path), error) from None
        if digest != shard.sha256:
            logger.info("%s is written again: it is damaged", name)
            return None
        keys = record_keys(np.memmap(path, mode="r", shape=(videos, form.layout.bytes)), form.layout)
        if not self._keys.isdisjoint(keys):
            return None  # written again, it names those that come twice
        self._keys.update(keys)
        return shard

    def _written(self, name: str, videos: Iterable[Video], source: str, form: ShardFormat) -> FinishedShard:
        made = write_shard(self.aside / name, videos, form, taken=self._keys)
        self._keys.update(made.keys)
        shard = FinishedShard(name, len(made.keys), made.bytes, made.sha256, made.positives, made.most, source)
        self._workplace.add(shard)
        return shard
