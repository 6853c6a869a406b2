"""`jomold simulate`, for who types tools/simulate_llp.py: see jomold_dist/commands/simulate.py."""

import sys

from jomold_dist.commands.simulate import main

if __name__ == "__main__":
    sys.exit(main())
