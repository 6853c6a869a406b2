"""`jomold quickstart`, for who types launchers/quickstart.py: see jomold_dist/commands/quickstart.py."""

import sys

from jomold_dist.commands.quickstart import main

if __name__ == "__main__":
    sys.exit(main())
