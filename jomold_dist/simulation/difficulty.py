"""How hard a world's features are: factors on the signal of each modality, beside which nuisance and noise stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jomold_dist.errors import UserError, nearest

STRONGEST = 10.0  # far beyond what any network misses, and inside float16


@dataclass(frozen=True)
class Difficulty:
    """Factors on the prototypes' norms: 1 leaves a modality as it is, 0 takes its events away."""

    audio: float
    visual: float

    @property
    def factors(self) -> tuple[float, float]:
        """By modality."""
        return self.audio, self.visual

    def __str__(self) -> str:
        """Its name, or its factors."""
        names = (name for name, named in DIFFICULTIES.items() if named == self)
        return next(names, ",".join(repr(factor).removesuffix(".0") for factor in self.factors))


EASY = Difficulty(1.0, 1.0)
DIFFICULTIES = {
    "easy": EASY,
    "hard": Difficulty(0.6, 0.4),
    # HAN as published, trained on LLP's real labels with such features, scores what it scores on LLP: docs/worlds.md.
    "calibrated": Difficulty(0.43, 0.185),
}


def parse_difficulty(text: str) -> Difficulty:
    """The difficulty `NAME` or `A,V`. UserError if it is neither."""
    if text in DIFFICULTIES:
        return DIFFICULTIES[text]
    try:
        audio, visual = map(float, text.split(","))
    except ValueError:
        raise UserError(
            f"unknown difficulty {text!r}{nearest(text, DIFFICULTIES)}; it is one of {', '.join(DIFFICULTIES)}, or two "
            "factors on the signals of audio and visual, such as 0.6,0.4"
        ) from None
    if not all(math.isfinite(f) and 0 <= f <= STRONGEST for f in (audio, visual)):
        raise UserError(f"the factors of --difficulty {text} must be from 0 to {STRONGEST:g}")
    return Difficulty(audio, visual)
