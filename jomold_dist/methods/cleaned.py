"""`han` trained on cleaned labels: a table tells which labels are heard and which are seen, and all others are removed.

The table may be anybody's. The whole video's labels stay.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jomold_dist.config import Config, DenoiseConfig
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.errors import UserError
from jomold_dist.methods.essential import without_denoising
from jomold_dist.methods.marked import Marked
from jomold_dist.training.cleaned_labels import CleanedLabels, read_cleaned
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class Cleaned(Marked):
    """What `denoise.cleaned_labels` does not tell of a video that it names is removed."""

    han_without_removals = True

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (CleanedLabels(), Trained("train", cls))

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        try:
            read_cleaned(Path(str(config.denoise.cleaned_labels)), manifest.categories)
        except UserError as error:
            return [str(error)]
        return []

    @classmethod
    def essential(cls, config: Config) -> Config:
        named = DenoiseConfig(cleaned_labels=config.denoise.cleaned_labels)
        return replace(without_denoising(config), denoise=named)
