"""PURE: what of a video was made up, since its file does not have it. A note is no failure: the features are there.

==================  ====================================================================
kind                what was made up
==================  ====================================================================
frames later        the first frame stands for what is before it
frames shorter      the last frame is held to the end
no sound            all samples are 0, and the features those of silence
silent              nothing, but no sample is louder than -80 dB
sound later         samples before the sound are 0
sound shorter       samples behind the sound are 0
sound gaps          samples of moments that the file leaves out are 0
==================  ====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

KINDS = ("frames later", "frames shorter", "no sound", "silent", "sound later", "sound shorter", "sound gaps")
UNNOTED = Fraction(1, 10)  # seconds that are made up without a word: nearly every file lacks some at an end


@dataclass(frozen=True)
class MediaNote:
    """One thing that was made up: its kind, one of KINDS, and a sentence for people, with the figures."""

    kind: str
    text: str


def frame_notes(first: Fraction, end: Fraction, wanted: Fraction) -> tuple[MediaNote, ...]:
    """For frames that are there from `first` to `end`, where `wanted` seconds are asked for."""
    notes = []
    if first > UNNOTED:
        text = f"its frames begin at {_seconds(first)}; the first stands for what is before"
        notes.append(MediaNote("frames later", text))
    if wanted - end > UNNOTED:
        text = f"its frames end at {_seconds(end)} of {_seconds(wanted)}; the last is held"
        notes.append(MediaNote("frames shorter", text))
    return tuple(notes)


def sound_notes(first: Fraction, end: Fraction, wanted: Fraction, gaps: Fraction, loudest: float) -> list[MediaNote]:
    """For sound that is there from `first` to `end` but for `gaps` seconds, and whose loudest sample is `loudest`."""
    notes = []
    if first > UNNOTED:
        notes.append(MediaNote("sound later", f"its sound begins at {_seconds(first)}; before is silence"))
    if wanted - end > UNNOTED:
        text = f"its sound ends at {_seconds(end)} of {_seconds(wanted)}; behind is silence"
        notes.append(MediaNote("sound shorter", text))
    if gaps > UNNOTED:
        notes.append(MediaNote("sound gaps", f"its sound leaves out {_seconds(gaps)}; they are silence"))
    if loudest < SILENCE:
        notes.append(MediaNote("silent", "its sound is silent"))
    return notes


SILENCE = 1e-4  # of full scale, -80 dB: three steps of 16 bits
NO_SOUND = MediaNote("no sound", "it has no sound where it is looked at; silence stands for it")


def _seconds(value: Fraction) -> str:
    return f"{float(value):.2f} s"
