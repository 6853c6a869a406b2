"""The page and the pictures of `jomold show`: what is drawn lies where it belongs, and everything is there in words."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jomold_dist.errors import DataError
from jomold_dist.figures import DPI
from jomold_dist.palette import LIGHT
from jomold_dist.showing.pages.page import render
from jomold_dist.showing.timelines.gallery import PAGE, write_gallery
from jomold_dist.showing.timelines.timeline import Timeline
from jomold_dist.showing.timelines.timeline_figure import LEFT, RIGHT
from jomold_dist.showing.timelines.timelines import timeline_of
from tests.browser import THEMES, WIDTHS, browser
from tests.parsed_videos import parsed_video, random_videos

DOG, SPEECH = ("Dog", "audio"), ("Speech", "visual")
LONG = "jomold, denoise.audio_threshold=1.6, model.network=some.module:Network"


class Drawn(HTMLParser):
    """What a page's timelines hold: of each lane how many segments have shades, and its boxes in percent."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lanes: list[tuple[int, list[str]]] = []
        self.figures: list[str] = []
        self.pictures: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if given.get("class", "") == "tl":
            self.figures.append(given["id"] or "")
        if given.get("role") == "img":
            self.pictures.append(given.get("aria-label"))
        if given.get("class") == "tl-track":
            self.lanes.append((0, []))
        if tag == "i" and "style" in given:
            self.lanes[-1] = (self.lanes[-1][0] + 1, self.lanes[-1][1])
        if tag == "b" and "style" in given:
            self.lanes[-1][1].append(given["style"] or "")


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (96, 72)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG")
    return content.getvalue()


def some_timelines() -> list[Timeline]:
    """Videos of every kind: with truth and thumbnails, never packed, of many categories, with names that are markup."""
    video = parsed_video("-0A9suni5YA", found={DOG: "##.#"}, truth={DOG: ".###", SPEECH: "#" * 10}, labels=("Dog",))
    han = parsed_video("-0A9suni5YA", found={SPEECH: "######"}, truth={DOG: ".###", SPEECH: "#" * 10}, labels=("Dog",))
    hostile = parsed_video("a clip, called <b>&.mp4", labels=None)
    names = tuple(f"A_rather_long_category_number_{number}" for number in range(309))
    many = parsed_video("many", found={(name, "visual"): "#.#" for name in names[:30]}, categories=names)
    deaf = parsed_video("deaf", labels=("Car",), segments=5, segment_seconds=2.0, modalities=("visual",))
    deaf_truth = {("Car", "visual"): "##"}
    seeing = parsed_video("deaf", labels=("Car",), segments=5, segment_seconds=2.0, truth=deaf_truth)
    pictures = [jpeg((25 * n, 80, 200 - 20 * n), (72, 96) if n % 2 else (128, 72)) for n in range(10)]
    return [
        timeline_of([("han", han), (LONG, video)], [12.0, 88.0], ["It has no sound."], pictures),
        timeline_of([("han", hostile), (LONG, hostile)]),
        timeline_of([("han", many), (LONG, many)]),
        timeline_of([("han", seeing), (LONG, deaf)], [0.0, None]),
    ]


def write(out: Path, timelines: list[Timeline]) -> Path:
    runs = [("han", "runs/han"), (LONG, "runs/jomold")]
    return write_gallery(out, timelines, title="Timelines", about="Some.", runs=runs, notes=["bad.mp4: is damaged"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all kinds of videos, with their pictures beside it."""
    return write(tmp_path_factory.mktemp("gallery"), some_timelines())


def test_lanes_and_boxes_lie_where_the_events_are(written: Path) -> None:
    assert Drawn(written.read_text()).lanes[:12] == [
        (0, []), (10, []), (10, []),  # Speech, which nobody hears: truth and two runs
        (0, ["left:0%;width:100%"]), (10, ["left:0%;width:60%"]), (10, []),
        (0, ["left:10%;width:30%"]), (10, []), (10, ["left:0%;width:20%", "left:30%;width:10%"]),  # Dog
        (0, []), (10, []), (10, []),
    ]  # fmt: skip


def test_every_picture_has_words(written: Path) -> None:
    timelines, text = some_timelines(), written.read_text()
    drawn = Drawn(text)
    assert drawn.pictures == [timeline.summary() for timeline in timelines]
    assert drawn.figures == [f"video-{timeline.anchor}" for timeline in timelines]
    assert {"video--0A9suni5YA", "video-many"} < set(drawn.figures)
    assert text.count("<summary>In words</summary>") == 4
    assert "<b>&.mp4" not in text
    for words in (
        "Dog heard 0–2 s (0.75), 3–4 s (0.75)",
        "It has no sound.",
        "bad.mp4: is damaged",
        "18 more categories",
    ):
        assert words in text


def test_a_page_opens_without_a_complaint_and_fits_the_window(written: Path) -> None:
    with browser() as chromium:
        for width in WIDTHS:
            for theme in THEMES:
                seen = chromium.open(written, width, theme)
                assert (seen.complaints, seen.requests, seen.overflow) == ([], [], 0)
            # the axis stands below the lanes, and a box within its lane, at its place in time
            at = "(e => { const r = e.getBoundingClientRect(); return [r.left, r.right] })"
            track = chromium.evaluate(f"{at}(document.querySelector('.tl-track'))")
            axis = chromium.evaluate(f"{at}(document.querySelector('.tl-axis'))")
            thumbs = chromium.evaluate(f"{at}(document.querySelector('.tl-thumbs'))")
            assert track == pytest.approx(axis, abs=0.6)
            assert track == pytest.approx(thumbs, abs=0.6)
            box = chromium.evaluate(f"{at}(document.querySelector('.tl-truth b'))")
            inside = [(edge - track[0]) / (track[1] - track[0]) for edge in box]
            assert inside == pytest.approx([0, 1], abs=0.005)


def test_a_picture_shows_the_truth_as_long_as_it_is(written: Path) -> None:
    """The PNG by its pixels: the truth's colour fills its share of the axis, no more and no less."""
    names = sorted(path.name for path in written.parent.iterdir())
    assert names == sorted([*(f"{timeline.anchor}.png" for timeline in some_timelines()), PAGE])
    with Image.open(written.parent / "deaf.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    colour = [int(LIGHT["truth"][at : at + 2], 16) for at in (1, 3, 5)]
    widest = (np.abs(pixels - colour).sum(-1) < 6).sum(1).max()
    assert widest == pytest.approx(0.4 * (RIGHT - LEFT) * DPI, abs=2)


def test_many_videos_have_a_list_of_links() -> None:
    timelines = [timeline_of([("han", video)]) for video in random_videos(13, 0)]
    values = {"title": "Many", "about": "Some.", "runs": [("han", "runs/han")], "notes": [], "simulated": None}
    text = render("show.html", timelines=timelines, **values)
    assert all(f'href="#video-{timeline.key}"' in text for timeline in timelines)
    assert 'class="tl-many"' in text


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"--out .* cannot be written"):
        write(tmp_path / "file" / "out", some_timelines()[:1])
