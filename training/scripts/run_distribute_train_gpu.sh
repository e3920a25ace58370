#!/usr/bin/env bash
# Train on eight GPUs. Further flags are those of `python -m training.train`.
set -euo pipefail
if (($# < 1)); then
  echo "usage: bash run_distribute_train_gpu.sh DATA_DIR [FLAGS]" >&2
  exit 2
fi
exec "${PYTHON:-python}" -m training.train --platform "${PLATFORM:-GPU}" \
  --is-distributed 1 --group-size "${PROCESSES:-8}" \
  --recipe "${RECIPE:-resnext152_imagenet_gpu_8p}" --data-dir "$1" "${@:2}"
