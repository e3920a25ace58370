"""Settings of training and evaluation: flags > environment > resumed run > recipe > defaults.

Names and defaults are those of the upstream resnext152_64x4d scripts, where it has them; what
differs is in training/README.md, under Settings.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    Field,
    FilePath,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bundle.manifest import Normalization
from images.transform import Size as Crop
from images.transform import Stretch, Transform
from training.settings.recipe import RecipeSource
from training.settings.resume import ResumeSource

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

Platform = Literal["Ascend", "GPU", "CPU"]
AmpLevel = Literal["O0", "O1", "O2", "O3"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[PositiveInt, PositiveInt], NoDecode]
Means = Annotated[tuple[float, float, float], NoDecode]
Deviations = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], NoDecode]
Epochs = Annotated[tuple[PositiveInt, ...], NoDecode]

# What upstream's flags could ask for and this trainer does not do as yet: all it accepts.
ONLY_VALUES = {
    "data_sink_mode": False,
}


def _usual_amp_level(known: dict[str, Any]) -> AmpLevel:
    """As the upstream: O3 on Ascend and GPU. A CPU computes float32 fastest."""
    return "O0" if known.get("platform") == "CPU" else "O3"


class CommonConfig(BaseSettings):
    """What training and evaluation share."""

    model_config = SettingsConfigDict(
        env_prefix="RESNEXT_",
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_exit_on_error=False,
        frozen=True,
        extra="forbid",
    )

    platform: Platform = Field("CPU", description="device to run on")
    data_dir: Path = Field(
        FASHION_MNIST, description="IDX files, or a folder with one folder of images per class"
    )
    per_batch_size: PositiveInt = Field(128, description="images per step")
    pretrained: Path | None = Field(
        None, description="weights to start from: .ckpt or .safetensors, of ours or of the upstream"
    )
    is_distributed: bool = Field(
        default=False, description="run in several processes, each on a device of its own"
    )
    group_size: PositiveInt = Field(1, description="processes of a distributed run")
    rank: NonNegativeInt = Field(0, description="of this process; a distributed run sets it")
    rank_table: FilePath | None = Field(
        None, description="Ascend's rank table (.json) for a distributed run; unset: none is needed"
    )
    on_broken_image: Literal["error", "skip"] = Field(
        "error", description="end at a file that is no image, or name it in the log and go on"
    )
    eval_images: PositiveInt | None = Field(
        None, description="evaluate only the first N; unset: all"
    )
    num_workers: PositiveInt | None = Field(
        None, description="threads that decode and augment; unset: one per core"
    )

    @property
    def is_master(self) -> bool:
        """Whether this process writes what there is only one of: reports, logs, best_acc.ckpt."""
        return self.rank == 0

    @property
    def output_path(self) -> Path:
        """Where logs of the processes go."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _is_a_group(self) -> Self:
        if self.group_size > 1 and not self.is_distributed:
            raise ValueError(f"group_size={self.group_size} needs is_distributed=1, not 0")
        if self.rank_table is not None and not self.is_distributed:
            raise ValueError(f"rank_table={self.rank_table} needs is_distributed=1, not 0")
        if self.rank >= self.group_size:
            raise ValueError(f"rank={self.rank} must be less than group_size={self.group_size}")
        return self

    @model_validator(mode="after")
    def _is_supported(self) -> Self:
        for name, only in ONLY_VALUES.items():
            value = getattr(self, name, only)
            if value != only:
                raise ValueError(f"{name}={value} is not supported; it must be {only}")
        return self


class TrainConfig(CommonConfig):
    """Train a ResNeXt. Every flag is also an environment variable: --lr is RESNEXT_LR."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training.train")

    recipe: str | None = Field(None, description="YAML file, or its name in training/recipes")
    architecture: str = Field("resnext152_64x4d", description="member of the network family")
    num_classes: PositiveInt = Field(1000, description="classes of the dataset")
    image_size: Size = Field((224, 224), description="network input: height,width in pixels")
    eval_resize: Size | None = Field(
        None, description="size before the centre crop; unset: 8/7 of image_size"
    )
    antialias: bool = Field(
        default=False, description="widen the kernel when reducing; upstream's evaluation does not"
    )
    mean: Means = Field(IMAGENET_MEAN, description="subtracted per channel, pixel units 0..255")
    std: Deviations = Field(IMAGENET_STD, description="divided by per channel, pixel units 0..255")
    seed: NonNegativeInt = Field(1, description="of initialisation, order and augmentation")

    augmentation: Literal["random_resized_crop", "shift"] = Field(
        "random_resized_crop", description="crop of training images; both also flip"
    )
    shift: NonNegativeInt = Field(2, description="largest shift, in pixels of the network input")
    color_jitter: NonNegativeFloat = Field(
        0.4, description="brightness, contrast and saturation vary by this fraction"
    )
    train_images: PositiveInt | None = Field(None, description="use only the first N; unset: all")

    max_epoch: PositiveInt = Field(150, description="epochs to train")
    lr: PositiveFloat = Field(0.05, description="base learning rate")
    lr_scheduler: Literal["cosine_annealing", "multistep", "exponential"] = Field(
        "cosine_annealing", description="schedule after warm-up; exponential is multistep"
    )
    lr_epochs: Epochs = Field((30, 60, 90, 120), description="epochs at which multistep decays")
    lr_gamma: PositiveFloat = Field(0.1, description="factor of each multistep decay")
    eta_min: NonNegativeFloat = Field(0.0, description="least learning rate of the cosine")
    T_max: PositiveInt = Field(150, description="epochs of half a cosine period")
    warmup_epochs: NonNegativeInt = Field(1, description="epochs of linear warm-up")
    momentum: Fraction = Field(0.9, description="of the optimiser")
    weight_decay: NonNegativeFloat = Field(
        1e-4, description="of weights; biases and batch norm have none"
    )
    label_smooth: bool = Field(default=True, description="smooth the labels")
    label_smooth_factor: Fraction = Field(0.1, description="probability spread over the others")
    is_dynamic_loss_scale: bool = Field(
        default=False,
        description="loss scale from 65536: doubled after 2000 good steps, halved at an overflow",
    )
    loss_scale: float = Field(
        1024.0, ge=1, description="static factor on the loss; gradients are divided by it"
    )
    amp_level: AmpLevel = Field(
        default_factory=_usual_amp_level,
        description="mixed precision, O0 (float32) to O3 (float16); unset: O0 on CPU, else O3",
    )
    clip_global_norm: PositiveFloat | None = Field(
        None, description="largest norm of all gradients together; unset: not clipped"
    )

    run_eval: bool = Field(default=True, description="evaluate while training and at the end")
    eval_data_dir: Path | None = Field(
        None, description="test images; unset: val/ beside a data_dir train/, else data_dir"
    )
    eval_per_batch_size: PositiveInt = Field(128, description="images per evaluation step")
    eval_interval: PositiveInt = Field(1, description="epochs between evaluations")
    eval_start_epoch: NonNegativeInt = Field(1, description="first epoch to evaluate, from 1")
    save_best_ckpt: bool = Field(default=True, description="keep best_acc.ckpt, best by top-1")
    ckpt_interval: PositiveInt = Field(2000, description="steps between checkpoints")
    ckpt_path: Path = Field(Path("outputs"), description="folder of the runs")
    ckpt_format: Literal["ckpt", "safetensors"] = Field("ckpt", description="file of the weights")
    keep_checkpoint_max: PositiveInt = Field(
        5, description="checkpoints that are kept, the newest; the best is kept beside them"
    )
    resume: Path | None = Field(
        None,
        description="run to continue from its newest checkpoint, or folder of runs (such as "
        "outputs), whose newest it is",
    )
    log_interval: PositiveInt = Field(100, description="steps between lines of the log")

    is_save_on_master: bool = Field(default=True, description="write files on rank 0 only")
    data_sink_mode: bool = Field(default=False, description="only 0: batches are fed step by step")

    @field_validator("image_size", "eval_resize", "mean", "std", "lr_epochs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.warmup_epochs >= self.max_epoch:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be less than max_epoch={self.max_epoch}"
            )
        if self.eta_min > self.lr:
            raise ValueError(f"eta_min={self.eta_min} must not be more than lr={self.lr}")
        if self.num_classes == 1 and self.smoothing:
            raise ValueError(
                f"label_smooth_factor={self.label_smooth_factor} is spread over the other classes, "
                f"but num_classes={self.num_classes}; say --label_smooth 0"
            )
        if self.eval_resize and any(np.less(self.eval_resize, self.image_size)):
            raise ValueError(
                f"eval_resize={self.eval_resize} must not be less than image_size={self.image_size}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the first wins; flags come before all of them."""
        return (
            init_settings,
            env_settings,
            ResumeSource(settings_cls),
            RecipeSource(settings_cls),
        )

    @property
    def transform(self) -> Transform:
        """How evaluation and serving make pixels: resize to exactly eval_resize, centre crop."""
        height, width = self.image_size
        resize = self.eval_resize or (height * 8 // 7, width * 8 // 7)
        return Transform(
            resize=Stretch(height=resize[0], width=resize[1]),
            crop=Crop(height=height, width=width),
            antialias=self.antialias,
        )

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation per channel, pixel units."""
        return Normalization(mean=self.mean, std=self.std)

    @property
    def output_path(self) -> Path:
        """Where logs of the processes go."""
        return self.ckpt_path

    @property
    def saves_checkpoints(self) -> bool:
        """Whether this process writes its own: the master always does."""
        return self.is_master or not self.is_save_on_master

    @property
    def ckpt_suffix(self) -> str:
        """How names of the weights' files end."""
        return f".{self.ckpt_format}"

    @property
    def smoothing(self) -> float:
        """Label smoothing in force, a probability."""
        return self.label_smooth_factor if self.label_smooth else 0.0


class EvalConfig(CommonConfig):
    """Evaluate a checkpoint, or each one in a folder. --platform is also RESNEXT_PLATFORM."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training.eval")

    pretrained: Path = Field(description="checkpoint (.ckpt), or a folder of them")
    architecture: str | None = Field(
        None, description="of checkpoints without a .json, as the upstream scripts write them"
    )
    report_path: Path = Field(
        Path("outputs/evaluations"), description="folder for each class's accuracy, .json and .png"
    )

    @property
    def output_path(self) -> Path:
        """Where logs of the processes go."""
        return self.report_path
