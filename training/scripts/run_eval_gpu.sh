#!/usr/bin/env bash
# Evaluate a checkpoint, or each one in a folder, on a GPU.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash run_eval_gpu.sh DATA_DIR PATH_CHECKPOINT [FLAGS]" >&2
  exit 2
fi
exec "${PYTHON:-python}" -m training.eval --platform "${PLATFORM:-GPU}" \
  --data-dir "$1" --pretrained "$2" "${@:3}"
