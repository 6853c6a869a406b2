#!/usr/bin/env bash
# One node's part of a run on the nodes of a hostfile, with deepspeed. On every node, in any order, where
# jomold_dist is installed, or from the folder of a checkout:
#
#   HOSTFILE=hostfile NODE=0 launchers/templates/deepspeed.sh --config llp run.dir=/shared/runs/llp
#
# NODE is this node's line in HOSTFILE, from 0; everything else is the same everywhere. PORT is a free port of the first
# node. The exit code is the run's own: see docs/clusters.md.
set -euo pipefail
: "${HOSTFILE:?is not set: see launchers/templates/hostfile}" "${NODE:?is not set: this node, from 0}"

first=$(awk '!/^#/ && NF { print $1; exit }' "$HOSTFILE")
exec python -m jomold_dist start deepspeed --quiet \
  --hostfile "$HOSTFILE" --no_ssh --node_rank "$NODE" --master_addr "$first" --master_port "${PORT:-29500}" \
  --module jomold_dist train "$@"
