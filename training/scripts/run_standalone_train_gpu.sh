#!/usr/bin/env bash
# Train on one GPU. Further flags are those of `python -m training.train`.
set -euo pipefail
if (($# < 1)); then
  echo "usage: bash run_standalone_train_gpu.sh DATA_DIR [FLAGS]" >&2
  exit 2
fi
exec "${PYTHON:-python}" -m training.train --platform "${PLATFORM:-GPU}" \
  --recipe "${RECIPE:-resnext152_imagenet_gpu_1p}" --data-dir "$1" "${@:2}"
