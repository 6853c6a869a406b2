"""How near a training comes to removing other labels: what makes it right to ask for the same removals in float32.

Another number of ranks, another engine or another processor adds in another order, and probabilities and losses then
differ by their rounding. Algorithm 1 compares losses, and equation 1 probabilities with a threshold: both may decide
otherwise where what they compare lies that near, and from there on trainings differ for good. A test that asks for the
same removals first shows that no decision was near.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from jomold_dist.denoising.noise_ratio import Predictions
from jomold_dist.denoising.removal import Rows
from jomold_dist.methods.base import Choice, Moment
from jomold_dist.methods.jomold import Jomold

# What rounding does to the tests' trainings with SGD in float32, of twenty steps at most. Weights come apart by 1e-7 a
# step, and by 3e-5 where the input of a hidden unit lies within rounding of 0, so that a second of a video has part in
# the unit's gradient in one training and not in the other. Then losses come apart by 1e-4, else by 1e-6.
WEIGHTS_APART = 2e-4
LOSSES_APART = 5e-4


def margin(rows: Rows, audio_ratio: Tensor, visual_ratio: Tensor) -> float:
    """By how much the losses of a batch must change, one against another, for the joint rule to decide otherwise."""
    nearest = math.inf
    for category in range(len(audio_ratio)):
        of = rows.valid & (rows.category == category)
        losses = rows.columns[of, 0].double(), rows.columns[of, 1].double()
        for ratio, high, low in ((audio_ratio, *losses), (visual_ratio, *losses[::-1])):
            k = int(float(ratio[category]) * len(high))
            if 0 < k < len(high):  # removed: above 0 in both, so the lower of the two says how far it is from a change
                decided = torch.minimum(_beyond_border(-high, k), _beyond_border(low, k))
                nearest = min(nearest, float(decided.abs().min()))
    return nearest


def _beyond_border(loss: Tensor, k: int) -> Tensor:
    """How far each loss is from the border between the k lowest and the others: positive for the k lowest."""
    ordered = loss.sort().values
    inside = loss <= ordered[k - 1]
    return torch.where(inside, ordered[k] - loss, ordered[k - 1] - loss)


def record_margins(patch: pytest.MonkeyPatch) -> list[float]:
    """The margins of every decision that jomold takes in this process from now on: the noise ratios' (their nearest
    probability), and then every step's. The list grows."""
    margins: list[float] = []
    choose, noise_counts = Jomold.choose, Predictions.noise_counts

    def recording(self: Jomold, rows: Rows, moment: Moment) -> Choice:
        margins.append(margin(rows, *self.ratios(moment)))
        return choose(self, rows, moment)

    def counting(self: Predictions, audio_threshold: float, visual_threshold: float, visual_scale: float) -> Tensor:
        audio = self.audio - audio_threshold * self.audio_mean[self.category]
        visual = self.visual - visual_threshold / visual_scale * self.visual_mean[self.category]
        margins.append(float(torch.cat([audio, visual]).abs().min()))
        return noise_counts(self, audio_threshold, visual_threshold, visual_scale)

    patch.setattr(Jomold, "choose", recording)
    patch.setattr(Predictions, "noise_counts", counting)
    return margins
