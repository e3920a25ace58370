#!/usr/bin/env bash
# Evaluate a checkpoint, or each one in a folder, on Ascend or GPU.
set -euo pipefail
if (($# < 3)); then
  echo "usage: bash run_eval.sh DEVICE_ID DATA_PATH PRETRAINED_CKPT_PATH [PLATFORM [FLAGS]]" >&2
  exit 2
fi
export DEVICE_ID=$1
exec "${PYTHON:-python}" -m training.eval --platform "${4:-Ascend}" \
  --data-dir "$2" --pretrained "$3" "${@:5}"
