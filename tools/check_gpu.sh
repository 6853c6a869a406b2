#!/bin/sh
# Everything that a GPU can show in eight minutes, with what lies in this folder and no package index:
#   tools/check_gpu.sh [--out DIR] [--device auto|cpu|cuda] [--minutes N] [--small]
# The report, DIR/check_gpu.md, grows while the parts run. DIR: $OUT if that is set, else runs/check_gpu.
cd "$(dirname "$0")/.." || exit 1
PYTHONPATH="$PWD:$PWD/tools${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python3}" tools/check_gpu.py "$@"
