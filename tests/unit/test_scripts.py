"""The scripts of tools/ and launchers/."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for folder in ("tools", "launchers") for path in (ROOT / folder).glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_takes_the_place_of_a_package(script: Path) -> None:
    """Python looks first beside the script it runs: a tools/tabulate.py would be what torch imports by that name."""
    installed = [path for path in sys.path if "site-packages" in path]
    assert PathFinder.find_spec(script.stem, installed) is None
    assert script.stem not in sys.stdlib_module_names
