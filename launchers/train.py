"""`jomold train`, for who types launchers/train.py: see jomold_dist/commands/train.py."""

import sys

from jomold_dist.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
