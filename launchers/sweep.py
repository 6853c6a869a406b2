"""`jomold sweep`, for who types launchers/sweep.py: see jomold_dist/commands/sweep.py."""

import sys

from jomold_dist.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
