"""Settings: precedence, the upstream's defaults, and clear refusals."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from training.config import TrainConfig
from training.errors import RecipeError

UPSTREAM = {
    "image_size": (224, 224),
    "num_classes": 1000,
    "per_batch_size": 128,
    "lr": 0.05,
    "lr_scheduler": "cosine_annealing",
    "lr_epochs": (30, 60, 90, 120),
    "lr_gamma": 0.1,
    "eta_min": 0,
    "T_max": 150,
    "max_epoch": 150,
    "warmup_epochs": 1,
    "weight_decay": 0.0001,
    "momentum": 0.9,
    "is_dynamic_loss_scale": 0,
    "loss_scale": 1024,
    "label_smooth": 1,
    "label_smooth_factor": 0.1,
    "ckpt_interval": 2000,
    "ckpt_path": Path("outputs/"),
    "is_save_on_master": 1,
    "rank": 0,
    "group_size": 1,
}


def parse(*arguments: str) -> TrainConfig:
    return CliApp.run(TrainConfig, cli_args=list(arguments))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("lr: 0.2\nmax_epoch: 7\nseed: 3\n")
    return path


def test_defaults_are_the_upstreams() -> None:
    config = parse().model_dump()
    assert {name: config[name] for name in UPSTREAM} == UPSTREAM


def test_flag_beats_environment_beats_recipe_beats_default(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNEXT_LR", "0.3")
    monkeypatch.setenv("RESNEXT_MAX_EPOCH", "8")
    config = parse("--recipe", str(recipe), "--lr", "0.4")
    assert (config.lr, config.max_epoch, config.seed, config.momentum) == (0.4, 8, 3, 0.9)


def test_upstreams_spellings_are_understood() -> None:
    config = parse("--image_size", "32,48", "--lr_epochs", "1,2", "--T_max", "9", "--run_eval", "0")
    assert (config.image_size, config.lr_epochs, config.T_max) == ((32, 48), (1, 2), 9)
    assert not config.run_eval


def test_an_unknown_key_of_a_recipe_is_named(recipe: Path) -> None:
    recipe.write_text("lr: 0.2\nlearning_rate: 0.3\n")
    with pytest.raises(RecipeError, match=r"mine.yaml: there is no setting learning_rate"):
        parse("--recipe", str(recipe))


def test_a_missing_recipe_is_answered_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'imagenet'.*fashion_mnist_cpu.*smoke"):
        parse("--recipe", "imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--warmup_epochs", "5", "--max_epoch", "5"), "warmup_epochs=5 .* max_epoch=5"),
        (("--is_distributed", "1", "--rank", "1"), "rank=1 must be less than group_size=1"),
        (("--group_size", "8"), "group_size=8 needs is_distributed=1, not 0"),
        (("--lr", "-1"), "greater than 0"),
        (
            ("--eval_resize", "20,20", "--image_size", "28,28"),
            r"eval_resize=\(20, 20\) .* image_size=\(28, 28\)",
        ),
    ],
)
def test_impossible_settings_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(*arguments)


def test_evaluation_resizes_as_the_upstream_does() -> None:
    transform = parse().transform
    assert transform.resize.model_dump() == {"kind": "stretch", "height": 256, "width": 256}
    assert (transform.crop.height, transform.antialias) == (224, False)
