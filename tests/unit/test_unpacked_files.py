"""Files that were never packed are sampled as those of the training were."""

from __future__ import annotations

import pytest

from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.models.network import FeatureSizes
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.showing.timelines.unpacked import sampling_of


@pytest.mark.parametrize("order", [("audio", "frames", "motion"), ("motion", "frames", "audio")])
def test_frames_are_sampled_as_frames_and_not_as_clips(order: tuple[str, ...]) -> None:
    seconds = {"segments": 5, "segment_seconds": 2.0}
    said = {
        "audio": {"sampling": seconds},
        "frames": {"sampling": Sampling(frames_per_segment=4, **seconds).describe()},
        "motion": {"sampling": Sampling(frames_per_segment=16, **seconds).describe()},
    }
    info = WeightsInfo(("Dog",), 5, 2.0, FeatureSizes(8, 8, 8), {}, {}, {name: said[name] for name in order})
    assert sampling_of(info) == Sampling(5, 2.0, 4)


def test_what_is_not_known_is_what_the_model_parses() -> None:
    assert sampling_of(WeightsInfo(("Dog",), 5, 2.0, FeatureSizes(8, 8), {}, {})) == Sampling(5, 2.0)
