"""A recipe is a YAML file of settings that differ from the defaults."""

from pathlib import Path
from typing import Any

import yaml

from training.errors import RecipeError
from training.settings.whole_source import WholeSource

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeSource(WholeSource):
    """Settings from the file that the setting `recipe`, known from flags or environment, names."""

    def __call__(self) -> dict[str, Any]:
        """Return the recipe's settings; raise RecipeError that names file and key."""
        name, resume = (self.current_state.get(key) for key in ("recipe", "resume"))
        # A resumed run brings the settings of its recipe along.
        return (
            {}
            if name is None or resume is not None
            else read(find(str(name)), set(self.settings_cls.model_fields))
        )


def find(name: str) -> Path:
    """Return the file of a recipe named by path, or by its name in training/recipes."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe {name!r}; give a YAML file or one of {known}")
    return path


def read(path: Path, settings: set[str]) -> dict[str, Any]:
    """Return what a recipe sets; raise RecipeError where that is not one of `settings`."""
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
