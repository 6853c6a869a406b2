"""`jomold pack-llp`, for who types tools/pack_llp.py: see jomold_dist/commands/pack_llp.py."""

import sys

from jomold_dist.commands.pack_llp import main

if __name__ == "__main__":
    sys.exit(main())
