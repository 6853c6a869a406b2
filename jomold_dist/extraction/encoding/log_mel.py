"""What VGGish hears: patches of a log-mel spectrogram (Hershey et al., CNN Architectures for Large-Scale Audio
Classification, 2017, and the constants of the model that was published with it).

Sound of 16 kHz; windows of 25 ms (Hann) every 10 ms, without any beyond the ends; amplitudes, not powers, of 512
points; 64 bands of equal width in mel, 1127 ln(1 + f/700), from 125 to 7500 Hz, whose triangles are straight in mel;
log(x + 0.01); patches of 96 windows, one after the other.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch

RATE = 16_000
WINDOW, HOP, POINTS = 400, 160, 512  # samples
BANDS, LOWEST, HIGHEST = 64, 125.0, 7500.0  # Hz
OFFSET = 0.01
WINDOWS = 96  # of a patch
LEAST = WINDOW + (WINDOWS - 1) * HOP  # samples that fill one patch, 0.975 s


def patches_of(sound: np.ndarray) -> np.ndarray:
    """Patches (n, 96, 64), float32, of sound at 16 kHz, (samples,). What ends within a patch is left out; sound that is
    too short for one is followed by silence."""
    samples = torch.from_numpy(np.pad(sound, (0, max(0, LEAST - len(sound))))).double()
    windows = samples.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
    amplitudes = torch.fft.rfft(windows, n=POINTS).abs()  # (windows, POINTS / 2 + 1)
    logs = torch.log(amplitudes @ mel_matrix() + OFFSET).float()
    count = len(logs) // WINDOWS
    return logs[: count * WINDOWS].reshape(count, WINDOWS, BANDS).numpy()


@cache
def mel_matrix() -> torch.Tensor:
    """How much of each frequency belongs to each band, float64 (257, 64)."""
    frequencies = _mel(torch.linspace(0.0, RATE / 2, POINTS // 2 + 1, dtype=torch.float64))[:, None]
    edges = torch.linspace(_mel_of(LOWEST), _mel_of(HIGHEST), BANDS + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0.0)


def _mel(hertz: torch.Tensor) -> torch.Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)


def _mel_of(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


def describe_log_mel() -> dict[str, Any]:
    """The constants, for a fingerprint."""
    return {
        "rate": RATE,
        "window": WINDOW,
        "hop": HOP,
        "points": POINTS,
        "bands": BANDS,
        "lowest": LOWEST,
        "highest": HIGHEST,
        "offset": OFFSET,
        "windows_per_patch": WINDOWS,
    }
