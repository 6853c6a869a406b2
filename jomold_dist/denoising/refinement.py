"""PURE: MA's label refinement: which labels a video loses after its audio was exchanged with another video's.

A network judges video i three times: as it is, with the audio of a partner j that shares no label with it, and with j's
frames. What is still found in the exchanged video comes from the modality that stayed. A label of i that neither output
finds once the audio is foreign is taken to be audible only, and leaves the visual targets; and the other way round.

Legend: n videos, of N in all; C categories; modality 0 is audio, 1 is visual.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from jomold_dist.denoising.draws import below

DRAWS = 64
"""How often a partner is drawn from all videos before the fitting ones are looked up."""


def count_errors(prob: Tensor, labels: Tensor) -> Tensor:
    """In how many videos each category is judged wrongly: probabilities (..., n, C), labels (n, C) -> int64 (..., C).

    Absent labels count as well as present ones. Counts of parts of a split add up to those of the whole, exactly.
    """
    return ((prob > 0.5) != labels.bool()).sum(-2)


def error_rates(errors: Tensor, videos: int) -> Tensor:
    """1 − the share of all `videos` that are judged rightly, from `count_errors`: float32 (C,), as MA rounds it."""
    return 1 - (videos - errors).to(torch.float32) / videos


def error_weights(errors: Tensor, videos: int) -> Tensor:
    """Error rates relative to the worst category's: `count_errors` of all `videos` -> float32 (C,).

    All are NaN if no category has any error.
    """
    rates = error_rates(errors, videos)
    return rates / rates.max()


def refine(labels: Tensor, foreign_audio: Tensor, foreign_visual: Tensor, weights: Tensor) -> Tensor:
    """The labels (n, C) that leave a modality's targets: bool (2, n, C).

    `foreign_audio` and `foreign_visual` (2, n, C) are the audio and the visual probabilities of the videos with their
    partner's audio, and with their partner's frames; `weights` (2, C) those of `error_weights`. A label leaves the
    visual targets if *both* probabilities under foreign audio, divided by the category's visual weight, are below ½;
    and the audio targets in the same way under foreign frames. Nothing keeps it from leaving both. A category without
    error has weight 0, its quotient is infinite (or not a number), and nothing is removed.
    """
    judging = torch.stack([foreign_visual, foreign_audio])  # (2, 2, n, C): what judges audio's labels, and visual's
    low = judging / weights[:, None, None].to(judging.dtype) < 0.5
    return low.all(1) & labels.bool()


def partners(index: np.ndarray, labels: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    """Whom the videos `index` (n,) exchange their audio with: int64 (n,), -1 where no other video can be taken.

    A partner is drawn uniformly from the `usable` videos, bool (N,), that share no label; `labels` bool (N, C) are
    those of all videos. It is a function of the seed, the video, all labels and what is usable, whoever asks for it.
    """
    index = np.asarray(index, dtype=np.int64)
    found = np.full(len(index), -1, dtype=np.int64)
    rest = np.arange(len(index))
    for draw in range(DRAWS):
        drawn = below(len(labels), seed, index[rest], draw)
        fits = ~(labels[index[rest]] & labels[drawn]).any(1) & usable[drawn] & (drawn != index[rest])
        found[rest[fits]] = drawn[fits]
        rest = rest[~fits]
        if not len(rest):
            return found
    for place in rest:  # whose labels are nearly everywhere
        video = int(index[place])
        fitting = np.flatnonzero(usable & ~labels[:, labels[video]].any(1))
        fitting = fitting[fitting != video]
        if len(fitting):
            found[place] = fitting[below(len(fitting), seed, video, DRAWS)]
    return found
