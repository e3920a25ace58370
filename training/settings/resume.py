"""Continuing a run that was cut short: which checkpoint, and with which settings."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.errors import CheckpointError
from training.settings.whole_source import WholeSource

if TYPE_CHECKING:
    from training.checkpoint.checkpoints import CheckpointInfo
    from training.settings.config import TrainConfig

SUFFIXES = (".ckpt", ".safetensors")
STEP_CHECKPOINT = re.compile(r"\d+-(\d+)_(\d+)")
MASTERS = "ckpt_0"
# Settings of the run that a resumed one does not share.
NOT_TAKEN_OVER = {"rank", "resume"}
# With another value the saved state, or the position in the order of the images, has no meaning.
FIXED = (
    "architecture",
    "num_classes",
    "seed",
    "per_batch_size",
    "group_size",
    "train_images",
    "is_dynamic_loss_scale",
)


class ResumeSource(WholeSource):
    """Settings of the run that the setting `resume` names, as its newest checkpoint holds them."""

    def __call__(self) -> dict[str, Any]:
        """Return the settings; raise CheckpointError where there is nothing to resume."""
        folder = self.current_state.get("resume")
        if folder is None:
            return {}
        described = newest_checkpoint(find_run(Path(folder))).with_suffix(".json")
        settings = json.loads(described.read_text())["config"]
        return {name: value for name, value in settings.items() if name not in NOT_TAKEN_OVER}


def find_run(folder: Path) -> Path:
    """Return the folder, if it is a run with checkpoints, else the newest such run in it."""
    runs = [folder, *sorted(folder.glob("*"), reverse=True)]
    for run in runs:
        if not (run.is_symlink() and run != folder) and step_checkpoints(run / MASTERS):
            return run.resolve()
    raise CheckpointError(
        f"nothing to resume: {folder} holds no {MASTERS}/0-<epoch>_<step>.ckpt; "
        "give the folder of a run, or of runs, such as outputs"
    )


def newest_checkpoint(run: Path) -> Path:
    """Return the master's checkpoint of the last step; `run` has one, as `find_run` saw to."""
    return step_checkpoints(run / MASTERS)[-1]


def step_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints, oldest first; weights appear once the rest is there."""
    found = [
        (int(name[1]), int(name[2]), path)
        for path in folder.glob("*")
        if path.suffix in SUFFIXES and (name := STEP_CHECKPOINT.fullmatch(path.stem))
    ]
    return [path for _, _, path in sorted(found)]


def check_same_run(config: "TrainConfig", before: Mapping[str, Any]) -> None:
    """Raise CheckpointError naming settings that a run cannot change on its way."""
    now = config.model_dump(mode="json")
    changed = [name for name in FIXED if name in before and now[name] != before[name]]
    if changed:
        raise CheckpointError(
            "a run is resumed as it was: "
            + ", ".join(f"{name}={before[name]}, not {now[name]}" for name in changed)
        )


def check_same_size(info: "CheckpointInfo", images: int, steps: int) -> None:
    """Raise CheckpointError where the run had another number of training images or of steps."""
    before = (info.training_images, info.steps_per_epoch)
    if before not in ((None, None), (images, steps)):
        raise CheckpointError(
            f"a run is resumed as it was: it began with {before[0]} training images, {before[1]} "
            f"steps an epoch; --data_dir now has {images}, {steps}"
        )
