"""Settings of training; the upstream's names and defaults, if it has them."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
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
from training.settings.augmentation import AugmentationConfig
from training.settings.config import COMMAS, Fraction, UserPath
from training.settings.files import FileSettings
from training.settings.optimization import Epochs, OptimizationConfig
from training.trackers.tracker import Name, check_installed

Size = Annotated[tuple[PositiveInt, PositiveInt], NoDecode, COMMAS]
Scales = Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], NoDecode, COMMAS]
Means = Annotated[tuple[float, float, float], NoDecode, COMMAS]
Deviations = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], NoDecode, COMMAS]
Weights = Annotated[tuple[PositiveFloat, ...], COMMAS]
Tracker = Annotated[Name, AfterValidator(check_installed)]


class TrainConfig(AugmentationConfig, OptimizationConfig):
    """Train a ResNeXt. Every flag is also an environment variable: --lr is RESNEXT_LR."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training.train")

    recipe: str | None = Field(None, description="YAML file, or its name in training/recipes")
    architecture: str = Field("resnext152_64x4d", description="member of the network family")
    num_classes: PositiveInt | None = Field(
        None, description="classes of the dataset; unset: as many as it has"
    )
    image_size: Size = Field((224, 224), description="network input: height,width in pixels")
    progressive_scales: Scales = Field(
        (),
        description="training images are smaller in the first epochs, by these factors, "
        "such as 0.5,0.7",
    )
    progressive_epochs: Epochs = Field(
        (),
        description="until which epochs, one for each of --progressive-scales, such as 6,18: "
        "epochs 1 to 6, and 7 to 18",
    )
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
    init_per_group: bool = Field(
        default=False,
        description="initialise grouped convolutions by the fan-out of one group, as the upstream "
        "does on Ascend, and not by that of all, as it does on GPU",
    )

    train_images: PositiveInt | None = Field(
        None, description="train on only N images, the same share of each class; unset: all"
    )

    label_smooth: bool = Field(default=True, description="smooth the labels")
    label_smooth_factor: Fraction = Field(
        0.1, description="probability spread over the other classes"
    )
    class_weights: Annotated[Literal["balanced"] | Weights | None, NoDecode] = Field(
        None,
        description="factor of each class in the loss, in order of the classes, such as 1,2.5,1; "
        "balanced: the rarer a class, the larger; unset: all equal",
    )

    run_eval: bool = Field(default=True, description="evaluate while training and at the end")
    eval_data_dir: UserPath | None = Field(
        None, description="test images; unset: val/ beside a --data-dir train/, else --data-dir"
    )
    eval_mirror: bool = Field(
        default=False,
        description="evaluate, export and serve the mean of an image and its mirror image, which "
        "takes twice the time",
    )
    eval_per_batch_size: PositiveInt = Field(128, description="images per evaluation step")
    eval_interval: PositiveInt = Field(1, description="epochs between evaluations")
    eval_start_epoch: NonNegativeInt = Field(1, description="first epoch to evaluate, from 1")
    patience: PositiveInt | None = Field(
        None, description="end after N evaluations without a better top-1; unset: never"
    )
    save_best_ckpt: bool = Field(
        default=True, description="keep the checkpoint with the best top-1, best_acc.ckpt"
    )
    save_each_epoch: bool = Field(default=True, description="a checkpoint after each epoch")
    ckpt_interval: PositiveInt = Field(
        2000, description="steps between checkpoints, besides those after each epoch"
    )
    ckpt_path: UserPath = Field(Path("outputs"), description="folder that holds the runs")
    ckpt_format: Literal["ckpt", "safetensors"] = Field(
        "ckpt", description="file format of the weights"
    )
    keep_checkpoint_max: PositiveInt = Field(
        5, description="number of newest checkpoints to keep; best_acc.ckpt is kept as well"
    )
    resume: UserPath | None = Field(
        None,
        description="run to continue from its newest checkpoint; given a folder of runs (such as "
        "outputs), its newest run",
    )
    tracker: Tracker | None = Field(
        None,
        description="where epochs go besides metrics.jsonl; unset: tensorboard if it is installed",
    )
    profile: PositiveInt | None = Field(
        None,
        description="write a MindSpore profile of N steps, after 3 others, to profile/ of the run",
    )
    log_interval: PositiveInt = Field(100, description="steps between lines of the log")
    stop_interval: PositiveInt = Field(
        20, description="steps after which the processes of a run agree whether to stop early"
    )

    is_save_on_master: bool = Field(default=True, description="write files on rank 0 only")
    data_sink_mode: bool = Field(
        default=False, description="must be 0: batches are fed step by step"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.num_classes == 1 and self.smoothing:
            raise ValueError(
                f"label_smooth_factor={self.label_smooth_factor} is spread over the other classes, "
                f"but num_classes={self.num_classes}; say --label-smooth 0"
            )
        if self.eval_resize and any(np.less(self.eval_resize, self.image_size)):
            raise ValueError(
                f"eval_resize={self.eval_resize} must not be less than image_size={self.image_size}"
            )
        self._check_progression()
        if self.patience and not (self.run_eval and self.save_best_ckpt):
            raise ValueError(f"patience={self.patience} needs run_eval=1 and save_best_ckpt=1")
        if self.data_sink_mode:
            raise ValueError("data_sink_mode=True is not supported; it must be False")
        return self

    def _check_progression(self) -> None:
        scales, epochs = self.progressive_scales, self.progressive_epochs
        if len(scales) != len(epochs):
            raise ValueError(
                f"progressive_scales={scales} and progressive_epochs={epochs} must have the same "
                "length"
            )
        if any(np.diff((0, *epochs, self.max_epoch)) <= 0):
            raise ValueError(
                f"progressive_epochs={epochs} must increase, and end before "
                f"max_epoch={self.max_epoch}"
            )

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

    def image_size_in(self, epoch: int) -> tuple[int, int]:
        """Return height and width of training images in an epoch, from 0.

        Small images first: Tan & Le 2021 (arXiv:2104.00298), section 4.2, with the schedule of the
        settings and without its changes of the augmentation.
        """
        height, width = (max(1, round(self._scale_in(epoch) * side)) for side in self.image_size)
        return height, width

    def shift_in(self, epoch: int) -> int:
        """Return the largest shift of training images in an epoch, from 0, in their pixels."""
        return round(self._scale_in(epoch) * self.shift)

    def _scale_in(self, epoch: int) -> float:
        scales = zip(self.progressive_scales, self.progressive_epochs, strict=True)
        return next((scale for scale, end in scales if epoch < end), 1.0)

    @property
    def classes(self) -> int:
        """How many classes the network tells apart, once the data have been opened."""
        if self.num_classes is None:
            raise ValueError("num_classes is not known before the data are opened")
        return self.num_classes

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation per channel, in pixel units."""
        return Normalization(mean=self.mean, std=self.std)

    @property
    def images_per_step(self) -> int:
        """Images of this process in a step of the optimiser."""
        return self.per_batch_size * self.accumulate

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
