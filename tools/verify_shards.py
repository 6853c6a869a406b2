"""`jomold verify`, for who types tools/verify_shards.py: see jomold_dist/commands/verify.py."""

import sys

from jomold_dist.commands.verify import main

if __name__ == "__main__":
    sys.exit(main())
