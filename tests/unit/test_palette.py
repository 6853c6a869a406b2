"""Colours of pages and figures: they can be read, and told apart by everybody."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from jomold_dist.figures import COLOURS
from jomold_dist.palette import BACKGROUNDS, DARK, LIGHT, MEANINGS

TEXT = 4.5  # contrast, of WCAG 2.2, 1.4.3; graphics need 3
APART = 20.0  # a distance in Lab; side by side, 2.3 is just seen

# What is seen without one kind of cone, in linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rrggbb."""
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """1 to 21, as WCAG defines it."""
    darker, lighter = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def lab(colour: str, sight: np.ndarray) -> np.ndarray:
    """CIE Lab of what is seen of a colour."""
    f = np.cbrt(XYZ @ np.clip(sight @ linear(colour), 1e-4, 1) / WHITE)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_colour_can_be_read_as_text(theme: dict[str, str], background: str) -> None:
    found = {name: contrast(theme[name], theme[background]) for name in ("ink", "muted", *MEANINGS)}
    assert {name: value for name, value in found.items() if value < TEXT} == {}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_meanings_are_told_apart(theme: dict[str, str], sight: str) -> None:
    seen = {name: lab(theme[name], SIGHT[sight]) for name in MEANINGS}
    near = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(MEANINGS, 2)}
    assert {pair: distance for pair, distance in near.items() if distance < APART} == {}


def test_contrast_and_distance_are_those_of_the_definitions() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert lab("#ffffff", SIGHT["normal"]) == pytest.approx([100, 0, 0], abs=0.1)
    red, green = (lab(colour, SIGHT["deuteranopia"]) for colour in ("#b02020", "#5a6a10"))
    assert np.linalg.norm(red - green) < 25 < np.linalg.norm(lab("#b02020", np.eye(3)) - lab("#5a6a10", np.eye(3)))


def test_both_themes_have_the_same_colours_and_figures_those_of_the_light_one() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert {name: LIGHT[name] for name in MEANINGS} == COLOURS
