"""Writes docs/settings.md, as `jomold settings` prints it.

python tools/document_settings.py            writes the page
python tools/document_settings.py --check    exits with 1 if the page is not current
"""

from __future__ import annotations

import sys
from pathlib import Path

from jomold_dist.command_line import command, command_parser
from jomold_dist.settings_page import page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


@command
def main() -> int:
    parser = command_parser("Writes docs/settings.md from the config's docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    check = parser.parse_args().check
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{PAGE} is not current; run: python tools/document_settings.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
