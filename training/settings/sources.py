"""Settings from files: a recipe, or the run that is resumed."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from training.errors import RecipeError
from training.settings.resume import find_run, newest_checkpoint

RECIPES = Path(__file__).parents[1] / "recipes"
# Settings that a resumed run does not take over.
NOT_TAKEN_OVER = {"rank", "resume"}


class FileSettings(PydanticBaseSettingsSource):
    """Settings from the run that `resume` names, else from the recipe that `recipe` names.

    Both names come from the flags or the environment. A run already holds its recipe's settings.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the settings; raise RecipeError or CheckpointError that says what is wrong."""
        resume, recipe = (self.current_state.get(name) for name in ("resume", "recipe"))
        if resume is not None:
            return settings_of_run(Path(resume))
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
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe {name!r}; give a YAML file or one of {known}")
    return path


def read_recipe(path: Path, settings: set[str]) -> dict[str, Any]:
    """Return what a recipe sets; raise RecipeError if one of its keys is not in `settings`."""
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold lines of `setting: value`")
    unknown = [str(key) for key in values if key not in settings]
    if unknown:
        raise RecipeError(f"{path}: there is no setting {', '.join(unknown)}")
    return values
