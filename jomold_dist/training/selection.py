"""By what a training's weights are chosen, and whether its model is scored: what is asked, as far as the data set's
labels allow it. A set needs no more than a training split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jomold_dist.data.format.manifest import Manifest

LOSS, LAST = "loss", "last"
"""Values of `train.selection` beside the names of scores."""


@dataclass(frozen=True)
class Selection:
    """By which number on val the best epoch is known, a score or LOSS, or that it is the LAST; and why it is not the
    one that was asked for."""

    by: str
    because: str = ""

    def score(self, found: Mapping[str, float]) -> float:
        """What the best moment has most of, by what was found on val then."""
        if self.by == LAST:
            return 0.0
        return -found[LOSS] if self.by == LOSS else found[self.by]

    def text(self, score: float) -> str:
        """A score in digits: a loss has four, an F-score in percent one."""
        return f"{-score:.4f}" if self.by == LOSS else f"{score:.1f}"

    @property
    def better(self) -> str:
        """What a better epoch has."""
        return "lower loss on val" if self.by == LOSS else f"better {self.by}"

    @property
    def kept(self) -> str:
        """Which epoch is kept, in words."""
        if self.by == LAST:
            epoch = "the last epoch"
        else:
            epoch = "the epoch of the " + ("lowest loss" if self.by == LOSS else f"highest {self.by}") + " on val"
        return f"{self.because}: kept is {epoch}" if self.because else f"kept is {epoch}"


def selection_of(asked: str, manifest: Manifest) -> Selection:
    """What `train.selection` comes to on a data set."""
    if asked == LAST:
        return Selection(LAST)
    unscored = why_unscored(manifest, "val")
    if "val" not in manifest.splits:
        return Selection(LAST, unscored)
    return Selection(LOSS, unscored) if unscored and asked != LOSS else Selection(asked)


def why_unscored(manifest: Manifest, split: str = "test") -> str:
    """Why there are no scores on a split; nothing where there are some."""
    info = manifest.splits.get(split)
    if info is None:
        return f"the data set has no {split}"
    return "" if info.dense else f"{split} has no dense labels"


def splits_of_run(manifest: Manifest) -> tuple[str, ...]:
    """The splits that a run reads."""
    val = ("val",) if "val" in manifest.splits else ()
    return ("train", *val, *(() if why_unscored(manifest) else ("test",)))
