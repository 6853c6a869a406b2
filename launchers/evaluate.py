"""`jomold evaluate`, for who types launchers/evaluate.py: see jomold_dist/commands/evaluate.py."""

import sys

from jomold_dist.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
