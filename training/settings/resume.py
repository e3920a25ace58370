"""Resuming a run: which checkpoint to continue from, and what must be as it was."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.errors import CheckpointError

# Of files of weights.
SUFFIXES = (".ckpt", ".safetensors")
STEP_CHECKPOINT = re.compile(r"\d+-(\d+)_(\d+)")
MASTERS = "ckpt_0"
# With another value of these, the saved state or the position in the epoch means nothing.
FIXED = (
    "architecture",
    "num_classes",
    "seed",
    "per_batch_size",
    "group_size",
    "train_images",
    "is_dynamic_loss_scale",
)


def find_run(folder: Path) -> Path:
    """Return the folder, if it is a run with checkpoints, else the newest such run in it.

    Raises CheckpointError if there is none.
    """
    runs = [folder, *sorted(folder.glob("*"), reverse=True)]
    for run in runs:
        if not (run.is_symlink() and run != folder) and step_checkpoints(run / MASTERS):
            return run.resolve()
    raise CheckpointError(
        f"nothing to resume: {folder} holds no {MASTERS}/0-<epoch>_<step>.ckpt; "
        "give the folder of a run, or of runs, such as outputs"
    )


def newest_checkpoint(run: Path) -> Path:
    """Return the master's checkpoint of the last step; `run` has one, as `find_run` made sure."""
    return step_checkpoints(run / MASTERS)[-1]


def step_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first; the weights are the last file to appear."""
    found = [
        (int(name[1]), int(name[2]), path)
        for path in folder.glob("*")
        if path.suffix in SUFFIXES and (name := STEP_CHECKPOINT.fullmatch(path.stem))
    ]
    return [path for _, _, path in sorted(found)]


def check_same_settings(now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Raise CheckpointError naming the settings that a resumed run may not change."""
    changed = [name for name in FIXED if name in before and now[name] != before[name]]
    if changed:
        raise CheckpointError(
            "a run is resumed as it was: "
            + ", ".join(f"{name}={before[name]}, not {now[name]}" for name in changed)
        )


def check_same_size(now: tuple[int, int], before: tuple[int | None, int | None]) -> None:
    """Raise CheckpointError unless training images and steps per epoch are those of before.

    They are None in checkpoints that are older than these fields.
    """
    if before not in ((None, None), now):
        raise CheckpointError(
            f"a run is resumed as it was: it began with {before[0]} training images, {before[1]} "
            f"steps an epoch; --data-dir now has {now[0]}, {now[1]}"
        )
