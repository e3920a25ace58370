"""Settings from files: a recipe, or the run that is resumed, which some may not change."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from training.errors import CheckpointError, RecipeError
from training.settings.config import expanded

RECIPES = Path(__file__).parents[1] / "recipes"
# Settings that a resumed run does not take over.
NOT_TAKEN_OVER = {"rank", "resume"}
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
    "accumulate",
    "group_size",
    "train_images",
    "opt",
    "freeze",
    "ema",
    "is_dynamic_loss_scale",
)


class FileSettings(PydanticBaseSettingsSource):
    """Settings from the run that `resume` names, else from the recipe that `recipe` names.

    Both names come from the flags or the environment. A run already holds its recipe's settings.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the settings; raise RecipeError or CheckpointError that says what is wrong."""
        resume, recipe = (self.current_state.get(name) for name in ("resume", "recipe"))
        if resume is not None:
            return settings_of_run(expanded(Path(resume)))
        if recipe is not None:
            return read_recipe(find_recipe(str(recipe)), set(self.settings_cls.model_fields))
        return {}

    def get_field_value(
        self,
        field: FieldInfo,  # noqa: ARG002
        field_name: str,
    ) -> tuple[Any, str, bool]:
        """Return nothing: `__call__` returns all settings at once."""
        return None, field_name, False


def settings_of_run(folder: Path) -> dict[str, Any]:
    """Return the settings in the newest checkpoint of a run, or of the newest run in a folder.

    Raises CheckpointError if there is nothing to resume.
    """
    info = newest_checkpoint(find_run(folder)).with_suffix(".json")
    settings = json.loads(info.read_text())["config"]
    return {name: value for name, value in settings.items() if name not in NOT_TAKEN_OVER}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe given by path, or by its name in training/recipes."""
    given = name.endswith((".yaml", ".yml"))
    path = expanded(Path(name)) if given else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe {name!r}; give a YAML file or one of {known}")
    return path


def read_recipe(path: Path, settings: set[str]) -> dict[str, Any]:
    """Return what a recipe sets; raise RecipeError if one of its keys is not in `settings`."""
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold lines of `setting: value`")
    unknown = [str(key) for key in values if key not in settings]
    if unknown:
        raise RecipeError(f"{path}: there is no setting {', '.join(unknown)}")
    return values


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
