#!/usr/bin/env bash
# Train on eight Ascend devices. Further flags are those of `python -m training.train`.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash run_distribute_train.sh RANK_TABLE_FILE DATA_PATH [FLAGS]" >&2
  exit 2
fi
exec "${PYTHON:-python}" -m training.train --platform "${PLATFORM:-Ascend}" \
  --is-distributed 1 --group-size "${PROCESSES:-8}" --rank-table "$1" \
  --recipe "${RECIPE:-resnext152_imagenet_ascend_8p}" --data-dir "$2" "${@:3}"
