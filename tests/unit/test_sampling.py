"""Which moments of a video are looked at, over grids of segments, their seconds and frames."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from fractions import Fraction

import pytest

from jomold_dist.errors import ConfigError
from jomold_dist.extraction.media.sampling import Sampling

SEGMENTS, SECONDS, FRAMES = (1, 3, 10, 200), (0.1, 0.96, 1.0, 2.5, 1 / 3), (1, 2, 8, 16)
RATES = (8000, 16_000, 22_050, 48_000)


@pytest.mark.parametrize(("segments", "seconds", "frames"), [*itertools.product(SEGMENTS, SECONDS, FRAMES)])
def test_each_segment_has_k_frames_that_lie_evenly_about_its_centre(segments: int, seconds: float, frames: int) -> None:
    times = Sampling(segments, seconds, frames).frame_times()
    assert len(times) == segments * frames
    length = Fraction(str(seconds))
    for segment in range(segments):
        own = times[segment * frames : (segment + 1) * frames]
        assert all(segment * length < time < (segment + 1) * length for time in own)
        assert sum(own) / frames == (segment + Fraction(1, 2)) * length
        assert {after - before for before, after in itertools.pairwise(own)} <= {length / frames}
    assert list(times) == sorted(set(times))


@pytest.mark.parametrize(("segments", "seconds", "rate"), [*itertools.product(SEGMENTS, SECONDS, RATES)])
def test_each_sample_belongs_to_one_segment(segments: int, seconds: float, rate: int) -> None:
    sampling = Sampling(segments, seconds)
    parts = sampling.segment_samples(rate)
    assert len(parts) == segments
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == sampling.samples(rate)
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert abs(sampling.samples(rate) - segments * seconds * rate) <= 0.5 + 1e-6


def test_the_usual_sampling() -> None:
    sampling = Sampling()
    assert [float(time) for time in sampling.frame_times()[:9]] == [(2 * n + 1) / 16 for n in range(9)]
    assert sampling.seconds == 10.0
    assert sampling.samples(16_000) == 160_000
    assert sampling.segment_samples(16_000)[-1] == slice(144_000, 160_000)


def test_decimal_seconds_are_as_written() -> None:
    """0.96 is not to be had in binary: ten segments of it would drift from the samples."""
    parts = Sampling(1000, 0.96).segment_samples(16_000)
    assert {part.stop - part.start for part in parts} == {15_360}


def test_a_sampling_says_all_that_is_wrong_with_it() -> None:
    with pytest.raises(ConfigError) as told:
        Sampling(0, math.nan, 10**6)
    assert "segments is 0" in str(told.value)
    assert "segment_seconds is nan" in str(told.value)
    assert "frames_per_segment is 1000000" in str(told.value)


def test_a_fingerprint_tells_samplings_apart() -> None:
    usual = Sampling()
    others = [dataclasses.replace(usual, **{name: 2}) for name in ("segments", "segment_seconds", "frames_per_segment")]
    said = [json.dumps(sampling.describe(), sort_keys=True) for sampling in (usual, *others)]
    assert len(set(said)) == 4
    assert Sampling(10, 1).describe() == usual.describe()
