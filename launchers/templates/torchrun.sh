#!/usr/bin/env bash
# One node's part of a run on several nodes, with torchrun. On every node, in any order, where jomold_dist is
# installed, or from the folder of a checkout:
#
#   NODES=2 RANKS=8 FIRST=node-0 launchers/templates/torchrun.sh --config llp run.dir=/shared/runs/llp
#
# NODES, RANKS (on each node) and FIRST (name or address of one of the nodes, where they meet) are the same everywhere.
# PORT is a free port of FIRST. The exit code is the run's own: see docs/clusters.md.
set -euo pipefail
: "${NODES:?is not set: how many nodes}" "${RANKS:?is not set: ranks on each node}" "${FIRST:?is not set: the first node}"

# The nodes meet at FIRST and number themselves. A node waits 600 s for the others. torchrun kills ranks that have not
# ended 300 s after it was told to stop (30 s otherwise), which leaves time for a checkpoint.
exec python -m jomold_dist start torchrun \
  --nnodes "$NODES" --nproc-per-node "$RANKS" \
  --rdzv-backend c10d --rdzv-endpoint "$FIRST:${PORT:-29400}" --rdzv-id jomold \
  --rdzv-conf join_timeout=600 --shutdown-timeout 300 \
  -m jomold_dist train "$@"
