"""`jomold compare`, for who types tools/compare_runs.py: see jomold_dist/commands/compare.py."""

import sys

from jomold_dist.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
