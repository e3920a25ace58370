#!/usr/bin/env bash
# Train on one Ascend device. Further flags are those of `python -m training.train`.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash run_standalone_train.sh DEVICE_ID DATA_PATH [FLAGS]" >&2
  exit 2
fi
export DEVICE_ID=$1
exec "${PYTHON:-python}" -m training.train --platform "${PLATFORM:-Ascend}" \
  --recipe "${RECIPE:-resnext152_imagenet_ascend_1p}" --data-dir "$2" "${@:3}"
