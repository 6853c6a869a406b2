"""`jomold compare-worlds`, for who types tools/compare_worlds.py: see jomold_dist/commands/compare_worlds.py."""

import sys

from jomold_dist.commands.compare_worlds import main

if __name__ == "__main__":
    sys.exit(main())
