"""Every setting of runs and sweeps: with its type, its default, the values that are allowed, and what it does.

    jomold settings | less
    jomold settings --schema > settings.schema.json

`jomold train --help SECTION` tells of one section, `jomold train --help SETTING` of one setting.
"""

from __future__ import annotations

import json

from jomold_dist.command_line import command, command_parser, show
from jomold_dist.settings_page import page
from jomold_dist.settings_schema import json_schema
from jomold_dist.tuning.config import Sweep


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--schema", action="store_true", help="as the JSON schema of a config file, for editors")
    show(json.dumps(json_schema(Sweep), indent=2) if parser.parse_args().schema else page())
