"""Settings of training; the upstream's names and defaults, if it has them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    Field,
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

from bundle.manifest import IMAGENET, Normalization
from images.transform import Size as Crop
from images.transform import Stretch, Transform
from training.settings.config import CommonConfig
from training.settings.files import FileSettings

AmpLevel = Literal["O0", "O1", "O2", "O3"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[tuple[PositiveInt, PositiveInt], NoDecode]
Means = Annotated[tuple[float, float, float], NoDecode]
Deviations = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], NoDecode]
Epochs = Annotated[tuple[PositiveInt, ...], NoDecode]


def _usual_amp_level(known: dict[str, Any]) -> AmpLevel:
    """As the upstream: O3 on Ascend and GPU. A CPU computes float32 fastest."""
    return "O0" if known.get("platform") == "CPU" else "O3"


class TrainConfig(CommonConfig):
    """Train a ResNeXt. Every flag is also an environment variable: --lr is RESNEXT_LR."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training.train")

    recipe: str | None = Field(None, description="YAML file, or its name in training/recipes")
    architecture: str = Field("resnext152_64x4d", description="member of the network family")
    num_classes: PositiveInt = Field(1000, description="classes of the dataset")
    image_size: Size = Field((224, 224), description="network input: height,width in pixels")
    eval_resize: Size | None = Field(
        None, description="height,width before the centre crop; unset: 8/7 of --image-size"
    )
    antialias: bool = Field(
        default=False, description="widen the kernel when reducing; the upstream does not"
    )
    mean: Means = Field(
        IMAGENET.mean, description="subtracted per channel, in pixel units (0 to 255)"
    )
    std: Deviations = Field(
        IMAGENET.std, description="divided by per channel, in pixel units (0 to 255)"
    )
    seed: NonNegativeInt = Field(
        1, description="of initial weights, order of images and augmentation"
    )

    augmentation: Literal["random_resized_crop", "shift"] = Field(
        "random_resized_crop", description="crop of training images; both also flip"
    )
    shift: NonNegativeInt = Field(2, description="largest shift, in pixels of the network's input")
    color_jitter: NonNegativeFloat = Field(
        0.4, description="brightness, contrast and saturation vary by this fraction"
    )
    train_images: PositiveInt | None = Field(
        None, description="train on only the first N images; unset: all"
    )

    max_epoch: PositiveInt = Field(150, description="epochs to train")
    lr: PositiveFloat = Field(0.05, description="base learning rate")
    lr_scheduler: Literal["cosine_annealing", "multistep", "exponential"] = Field(
        "cosine_annealing",
        description="schedule after warm-up; exponential is another name of multistep",
    )
    lr_epochs: Epochs = Field((30, 60, 90, 120), description="epochs at which multistep decays")
    lr_gamma: PositiveFloat = Field(0.1, description="factor of each decay of multistep")
    eta_min: NonNegativeFloat = Field(0.0, description="lowest learning rate of the cosine")
    T_max: PositiveInt = Field(150, description="epochs in half a period of the cosine")
    warmup_epochs: NonNegativeInt = Field(1, description="epochs of linear warm-up")
    momentum: Fraction = Field(0.9, description="of the optimiser")
    weight_decay: NonNegativeFloat = Field(
        1e-4, description="of weights; biases and batch norm are not decayed"
    )
    label_smooth: bool = Field(default=True, description="smooth the labels")
    label_smooth_factor: Fraction = Field(
        0.1, description="probability spread over the other classes"
    )
    is_dynamic_loss_scale: bool = Field(
        default=False,
        description="loss scale from 65536: doubled after 2000 good steps, halved at an overflow",
    )
    loss_scale: float = Field(
        1024.0, ge=1, description="static factor of the loss; gradients are divided by it"
    )
    amp_level: AmpLevel = Field(
        default_factory=_usual_amp_level,
        description="mixed precision, O0 (float32) to O3 (float16); unset: O0 on CPU, else O3",
    )
    clip_global_norm: PositiveFloat | None = Field(
        None, description="clip gradients to this norm, taken over all of them; unset: not clipped"
    )

    run_eval: bool = Field(default=True, description="evaluate while training and at the end")
    eval_data_dir: Path | None = Field(
        None, description="test images; unset: val/ beside a --data-dir train/, else --data-dir"
    )
    eval_per_batch_size: PositiveInt = Field(128, description="images per evaluation step")
    eval_interval: PositiveInt = Field(1, description="epochs between evaluations")
    eval_start_epoch: NonNegativeInt = Field(1, description="first epoch to evaluate, from 1")
    save_best_ckpt: bool = Field(
        default=True, description="keep the checkpoint with the best top-1, best_acc.ckpt"
    )
    ckpt_interval: PositiveInt = Field(2000, description="steps between checkpoints")
    ckpt_path: Path = Field(Path("outputs"), description="folder that holds the runs")
    ckpt_format: Literal["ckpt", "safetensors"] = Field(
        "ckpt", description="file format of the weights"
    )
    keep_checkpoint_max: PositiveInt = Field(
        5, description="number of newest checkpoints to keep; best_acc.ckpt is kept as well"
    )
    resume: Path | None = Field(
        None,
        description="run to continue from its newest checkpoint; given a folder of runs (such as "
        "outputs), its newest run",
    )
    log_interval: PositiveInt = Field(100, description="steps between lines of the log")
    stop_interval: PositiveInt = Field(
        20, description="steps after which the processes of a run agree whether to stop early"
    )

    is_save_on_master: bool = Field(default=True, description="write files on rank 0 only")
    data_sink_mode: bool = Field(
        default=False, description="must be 0: batches are fed step by step"
    )

    @field_validator("image_size", "eval_resize", "mean", "std", "lr_epochs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.warmup_epochs >= self.max_epoch:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be less than max_epoch={self.max_epoch}"
            )
        if self.eta_min > self.lr:
            raise ValueError(f"eta_min={self.eta_min} must not be more than lr={self.lr}")
        if self.num_classes == 1 and self.smoothing:
            raise ValueError(
                f"label_smooth_factor={self.label_smooth_factor} is spread over the other classes, "
                f"but num_classes={self.num_classes}; say --label-smooth 0"
            )
        if self.eval_resize and any(np.less(self.eval_resize, self.image_size)):
            raise ValueError(
                f"eval_resize={self.eval_resize} must not be less than image_size={self.image_size}"
            )
        if self.data_sink_mode:
            raise ValueError("data_sink_mode=True is not supported; it must be False")
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
        """Return the sources, the first of which wins; flags come before all of them."""
        return init_settings, env_settings, FileSettings(settings_cls)

    @property
    def transform(self) -> Transform:
        """How evaluation and serving prepare images: resize to exactly eval_resize, centre crop."""
        height, width = self.image_size
        resize = self.eval_resize or (height * 8 // 7, width * 8 // 7)
        return Transform(
            resize=Stretch(height=resize[0], width=resize[1]),
            crop=Crop(height=height, width=width),
            antialias=self.antialias,
        )

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation per channel, in pixel units."""
        return Normalization(mean=self.mean, std=self.std)

    @property
    def output_path(self) -> Path:
        """Folder for the logs of the processes."""
        return self.ckpt_path

    @property
    def saves_checkpoints(self) -> bool:
        """Whether this process writes checkpoints; the master always does."""
        return self.is_master or not self.is_save_on_master

    @property
    def ckpt_suffix(self) -> str:
        """Suffix of the files of weights."""
        return f".{self.ckpt_format}"

    @property
    def smoothing(self) -> float:
        """The label smoothing in force, a probability."""
        return self.label_smooth_factor if self.label_smooth else 0.0
