"""`jomold ray-train`, for who types launchers/ray_train.py: see jomold_dist/commands/ray_train.py."""

import sys

from jomold_dist.commands.ray_train import main

if __name__ == "__main__":
    sys.exit(main())
