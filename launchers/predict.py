"""`jomold predict`, for who types launchers/predict.py: see jomold_dist/commands/predict.py."""

import sys

from jomold_dist.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
