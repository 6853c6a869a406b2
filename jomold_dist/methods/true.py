"""The ceiling: the truth of the training labels, where it is known."""

from __future__ import annotations

from jomold_dist.config import Config
from jomold_dist.data.format.manifest import Manifest
from jomold_dist.data.format.truth_file import truth_name
from jomold_dist.data.reading.source import source_of
from jomold_dist.data.reading.truth import read_truth
from jomold_dist.errors import UserError
from jomold_dist.methods.essential import without_denoising
from jomold_dist.methods.marked import Marked
from jomold_dist.training.marked_labels import TrueLabels
from jomold_dist.training.stage import Stage
from jomold_dist.training.trained import Trained


class TruthTaught(Marked):
    """Every label of what is not really there is removed: no denoiser can do better."""

    han_without_removals = True

    @classmethod
    def stages(cls, config: Config) -> tuple[Stage, ...]:
        return (TrueLabels(), Trained("train", cls))

    @classmethod
    def problems(cls, config: Config, manifest: Manifest) -> list[str]:
        source = source_of(config.data)
        try:
            if read_truth(source, manifest, "train") is not None:
                return []
        except UserError as error:
            return [str(error)]
        return [
            f"method = 'true' needs the truth of the training labels, and {source} has none ({truth_name('train')}); "
            "it is known of simulated data, and of real data that publish which labels are heard and which are seen"
        ]

    @classmethod
    def essential(cls, config: Config) -> Config:
        return without_denoising(config)
