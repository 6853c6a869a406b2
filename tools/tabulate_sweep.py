"""`jomold tabulate`, for who types tools/tabulate_sweep.py: see jomold_dist/commands/tabulate.py."""

import sys

from jomold_dist.commands.tabulate import main

if __name__ == "__main__":
    sys.exit(main())
