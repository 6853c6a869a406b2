"""What scores.json and scores_SPLIT.json hold: what was scored, on which data set, and the scores."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from jomold_dist.data.format.manifest import Manifest
from jomold_dist.labels import MODALITIES
from jomold_dist.score_names import score_names
from jomold_dist.training.evaluate import Evaluation
from jomold_dist.versions import code_digest, version

SETS = [set(score_names(modalities)) for modalities in (MODALITIES, *((name,) for name in MODALITIES))]


@dataclass(frozen=True)
class ScoredData:
    """The data set that scores are of: its manifest's name and digest, and whether it is simulated."""

    name: str
    manifest: str
    simulated: bool

    @classmethod
    def of(cls, manifest: Manifest) -> ScoredData:
        """The data set of a manifest."""
        return cls(manifest.name, manifest.digest, manifest.simulated is not None)

    def title(self, split: str) -> str:
        """A split of it, as titles say it; the name of a simulated set tells its world."""
        return f"{split} of {self.name}" + (", simulated data" if self.simulated else "")


@dataclass(frozen=True)
class ScoredModel:
    """The weights that scores are of, and after which of how many epochs of training; None where they do not tell."""

    weights: str
    epoch: int | None
    epochs: int | None

    @classmethod
    def of(cls, weights: str, notes: dict[str, str]) -> ScoredModel:
        """By the notes of a weights file."""
        return cls(weights, *(int(notes[n]) if notes.get(n, "").isdecimal() else None for n in ("epoch", "epochs")))


@dataclass(frozen=True)
class RunScores:
    """The scores of a run's model on a split."""

    split: str
    data: ScoredData
    model: ScoredModel
    found: Evaluation
    jomold_dist: str
    """The release that scored it, and the digest of its code."""

    @classmethod
    def of(cls, split: str, manifest: Manifest, model: ScoredModel, found: Evaluation) -> RunScores:
        """What was found just now."""
        return cls(split, ScoredData.of(manifest), model, found, f"{version('jomold_dist')}+{code_digest()[:8]}")

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "split": self.split,
            "data": asdict(self.data),
            "model": asdict(self.model),
            "jomold_dist": self.jomold_dist,
            "scores": self.found.scores,
            "per_class": self.found.per_category,
            "videos": self.found.videos,
        }

    @classmethod
    def of_json(cls, content: Any) -> RunScores:
        """The inverse of `to_json`. ValueError, KeyError or TypeError for anything else."""
        scores = dict(content["scores"])
        if set(scores) not in SETS:
            raise ValueError(f"{', '.join(scores) or 'nothing'} is not the scores of one modality or of both")
        if not all(isinstance(value, float | int) and math.isfinite(value) for value in scores.values()):
            raise ValueError("a score is no number")
        data, model = ScoredData(**content["data"]), ScoredModel(**content["model"])
        if not all(isinstance(text, str) for text in (content["split"], data.name, data.manifest)):
            raise ValueError("the split's or the data set's name is no text")
        found = Evaluation(scores, dict(content["per_class"]), dict(content["videos"]))
        return cls(content["split"], data, model, found, str(content["jomold_dist"]))
