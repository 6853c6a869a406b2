"""docs/settings.md is what the config's docstrings give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import document_settings
import pytest

from jomold_dist.config_values import schema
from jomold_dist.tuning.config import Sweep

pytestmark = pytest.mark.lengthy

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_page_is_current() -> None:
    """In a process of its own: other tests register methods."""
    command = [sys.executable, "tools/document_settings.py", "--check"]
    result = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_stale_page_is_found_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "settings.md"
    monkeypatch.setattr(document_settings, "PAGE", page)

    def code(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["document_settings.py", *words])
        return document_settings.main()

    assert code("--check") == 1
    assert not page.exists()
    assert code() == code("--check") == 0
    page.write_text(page.read_text(encoding="utf-8").replace("`128`", "`129`"), encoding="utf-8")
    assert code("--check") == 1
    assert "python tools/document_settings.py" in capsys.readouterr().err


def test_every_setting_is_on_the_page() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert [name for name in schema(Sweep) if f"\n| `{name}` | " not in page] == []
