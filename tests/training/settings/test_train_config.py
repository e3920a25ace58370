"""Settings: precedence, the upstream's defaults, and clear refusals."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from cli.program import Command, main
from training.errors import RecipeError
from training.settings.train_config import TrainConfig

UPSTREAM = {
    "image_size": (224, 224),
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
    found: list[TrainConfig] = []
    words = ("--image_size", "32,48", "--lr_epochs", "1,2", "--T_max=9", "--run_eval", "0")
    assert main({"": Command(TrainConfig, found.append)}, tuple, words) == 0
    [config] = found
    assert (config.image_size, config.lr_epochs, config.T_max) == ((32, 48), (1, 2), 9)
    assert not config.run_eval


def test_settings_of_several_values_come_from_flags_and_recipes(recipe: Path) -> None:
    recipe.write_text("crop_scale: [0.5, 1]\nclass_weights: [1, 2]\nrandaugment: [3, 7.5]\n")
    config = parse("--recipe", str(recipe))
    assert (config.crop_scale, config.class_weights) == ((0.5, 1), (1, 2))
    assert config.randaugment == (3, 7.5)
    flags = ("--crop-scale", "0.2,0.3", "--class-weights", "balanced", "--randaugment", "2,9")
    config = parse("--recipe", str(recipe), *flags)
    assert (config.crop_scale, config.class_weights) == ((0.2, 0.3), "balanced")
    assert config.randaugment == (2, 9)
    assert parse("--class-weights", "0.5,3").class_weights == (0.5, 3)
    again = TrainConfig.model_validate(config.model_dump(mode="json"))
    assert again == config


def test_the_number_of_classes_is_that_of_the_data_unless_set() -> None:
    assert parse().num_classes is None
    assert parse("--num-classes", "7").classes == 7
    with pytest.raises(ValueError, match="not known before the data are opened"):
        parse().classes  # noqa: B018


@pytest.mark.parametrize("name", ["cpu", "hour"])
def test_the_recipes_of_fashion_mnist_take_data_of_any_number_of_classes(name: str) -> None:
    assert parse("--recipe", f"fashion_mnist_{name}").num_classes is None


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
        (("--warmup-epochs", "5", "--max-epoch", "5"), "warmup_epochs=5 .* max_epoch=5"),
        (("--is-distributed", "1", "--rank", "1"), "rank=1 must be less than group_size=1"),
        (("--group-size", "8"), "group_size=8 needs is_distributed=1, not 0"),
        (("--rank-table", __file__), "rank_table=.* needs is_distributed=1, not 0"),
        (("--rank-table", "none.json"), "does not point to a file"),
        (("--lr", "-1"), "greater than 0"),
        (("--eta-min", "0.2", "--lr", "0.1"), r"eta_min=0.2 .* lr=0.1"),
        (("--num-classes", "1"), r"label_smooth_factor=0.1 .* num_classes=1; say --label-smooth 0"),
        (("--mixup", "0.2", "--per-batch-size", "3"), r"in pairs: per_batch_size=3 must be even"),
        (("--crop-scale", "1,0.5"), r"crop_scale=1.0,0.5 must be the least, then the most"),
        (("--randaugment", "2,11"), "less than or equal to 10"),
        (("--class-weights", "equal"), r"'balanced'(.|\n)*valid number"),
        (("--lr-per-step", "1", "--lr-scheduler", "multistep"), "lr_per_step=True needs .*cosine"),
        (("--ema", "1"), "less than 1"),
        (
            ("--progressive-scales", "0.5", "--progressive-epochs", "1,2"),
            "must have the same length",
        ),
        (("--progressive-scales", "1", "--progressive-epochs", "2"), "less than 1"),
        (
            ("--progressive-scales", "0.5,0.7", "--progressive-epochs", "6,6"),
            r"progressive_epochs=\(6, 6\) must increase",
        ),
        (
            ("--progressive-scales", "0.5", "--progressive-epochs", "9", "--max-epoch", "9"),
            r"progressive_epochs=\(9,\) must increase, and end before max_epoch=9",
        ),
        (("--patience", "2", "--run-eval", "0"), "patience=2 needs run_eval=1"),
        (("--data-sink-mode", "1"), "data_sink_mode=True is not supported; it must be False"),
        (
            ("--eval-resize", "20,20", "--image-size", "28,28"),
            r"eval_resize=\(20, 20\) .* image_size=\(28, 28\)",
        ),
    ],
)
def test_impossible_settings_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(*arguments)


def test_training_images_grow_at_the_epochs_that_are_set() -> None:
    assert parse().image_size_in(0) == (224, 224)
    growing = ("--progressive-scales", "0.5,0.7", "--progressive-epochs", "6,18")
    config = parse("--image-size", "28,40", *growing)
    sizes = [config.image_size_in(epoch) for epoch in (0, 5, 6, 17, 18, 149)]
    assert sizes == [(14, 20), (14, 20), (20, 28), (20, 28), (28, 40), (28, 40)]
    assert parse("--image-size", "1,1", *growing).image_size_in(0) == (1, 1)
    assert [parse("--shift", "3", *growing).shift_in(epoch) for epoch in (0, 6, 18)] == [2, 2, 3]


def test_an_empty_flag_empties_a_list_of_the_recipe() -> None:
    recipe = ("--recipe", "fashion_mnist_hour")
    assert parse(*recipe).image_size_in(0) == (20, 20)
    config = parse(*recipe, "--progressive-scales", "", "--progressive-epochs", "")
    assert config.image_size_in(0) == (28, 28)


def test_evaluation_resizes_as_the_upstream_does() -> None:
    transform = parse().transform
    assert transform.resize.model_dump() == {"kind": "stretch", "height": 256, "width": 256}
    assert (transform.crop.height, transform.antialias) == (224, False)


@pytest.mark.parametrize(("platform", "level"), [("CPU", "O0"), ("GPU", "O3"), ("Ascend", "O3")])
def test_mixed_precision_is_the_upstreams_on_its_platforms(platform: str, level: str) -> None:
    assert parse("--platform", platform).amp_level == level
    assert parse("--platform", platform, "--amp-level", "O2").amp_level == "O2"


@pytest.mark.parametrize(
    ("name", "platform", "processes", "batch", "lr"),
    [
        ("ascend_8p", "Ascend", 8, 128, 0.4),
        ("ascend_1p", "Ascend", 1, 128, 0.05),
        ("gpu_8p", "GPU", 8, 16, 0.05),
        ("gpu_1p", "GPU", 1, 32, 0.0125),
    ],
)
def test_recipes_of_the_upstream_are_its_settings(
    name: str, platform: str, processes: int, batch: int, lr: float
) -> None:
    config = parse("--recipe", f"resnext152_imagenet_{name}")
    own = ("platform", "group_size", "is_distributed", "per_batch_size", "lr", "amp_level")
    own = (*own, "num_classes")
    found = [getattr(config, field) for field in own]
    assert found == [platform, processes, processes > 1, batch, lr, "O3", 1000]
    rest = config.model_dump(exclude={*own, "recipe"})
    assert rest == parse("--platform", platform).model_dump(exclude={*own, "recipe"})


def test_every_setting_is_described_and_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not [name for name, field in TrainConfig.model_fields.items() if not field.description]
    for name, value in UPSTREAM.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        monkeypatch.setenv(f"RESNEXT_{name.upper()}", text)
    config = TrainConfig()
    assert {name: getattr(config, name) for name in UPSTREAM} == UPSTREAM
    assert config.model_fields_set >= UPSTREAM.keys()
