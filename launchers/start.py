"""`jomold start`, for who types launchers/start.py: see jomold_dist/commands/start.py."""

import sys

from jomold_dist.commands.start import main

if __name__ == "__main__":
    sys.exit(main())
