"""docs/settings.md is what the config's docstrings give."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from jomold_dist.config_files import schema

ROOT = Path(__file__).resolve().parents[2]


def check(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/document_settings.py", "--check"]
    env = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)


def test_the_committed_page_is_current() -> None:
    result = check(ROOT)
    assert result.returncode == 0, result.stderr


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    for name in ("tools/document_settings.py", "docs/settings.md"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    page = tmp_path / "docs/settings.md"
    page.write_text(page.read_text(encoding="utf-8").replace("`128`", "`129`"), encoding="utf-8")
    result = check(tmp_path)
    assert result.returncode == 1
    assert "python tools/document_settings.py" in result.stderr
    page.unlink()
    assert check(tmp_path).returncode == 1


def test_every_setting_is_on_the_page() -> None:
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert [name for name in schema() if f"\n| `{name}` | " not in page] == []
