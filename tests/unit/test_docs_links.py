"""Links within README and docs lead to files and headings that are there, and pictures say what they show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jomold_dist.data.format.manifest_file import parse_manifest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        assert link["text"].strip(), f"{link[0]}: a link, or a picture for who cannot see it, needs words"
        path, _, anchor = link["target"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link[0]
        assert not anchor or anchor in anchors(target), link[0]


def test_the_manifest_that_is_shown_is_one() -> None:
    """All but its digest: the one that stands there is that of wider shards."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    shown = re.search(r"```json\n(\{\"schema\".*?)```", text, re.DOTALL)
    assert shown
    content = {name: value for name, value in json.loads(shown[1]).items() if name != "digest"}
    manifest = parse_manifest(json.dumps(content).encode(), "docs/data.md")
    assert {name: spec.shape for name, spec in manifest.features.items()} == {"audio": (5, 512), "frames": (5, 768)}
    names = dict(zip(manifest.categories.names, manifest.split("train").positives.tolist(), strict=True))
    assert names == {"Owl, barn": 13, "Robin": 13, "Wren": 6}
