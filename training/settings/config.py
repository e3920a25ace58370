"""Settings of evaluation, and those that training shares with it.

Flags win over the environment, the environment over a resumed run or a recipe, those over defaults.
Names and defaults are those of the upstream resnext152_64x4d scripts, if it has them; what differs
is in training/README.md, under Settings.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from pydantic.types import PathType
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.program import FLAGS

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def expanded(path: Path) -> Path:
    """Return the path with the home folder for `~`, which no shell does in a YAML file."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises if it knows no home


UserPath = Annotated[Path, AfterValidator(expanded)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def split_at_commas(value: object) -> object:
    """Return the words of a flag or variable that holds several values; of a recipe, its list.

    Of an empty one there are none.
    """
    if not isinstance(value, str):
        return value
    return value.split(",") if value else []


# Of a setting with several values, beside NoDecode: 0.08,1 on the command line.
COMMAS = BeforeValidator(split_at_commas)

Platform = Literal["Ascend", "GPU", "CPU"]


class CommonConfig(BaseSettings):
    """What training and evaluation share."""

    model_config = SettingsConfigDict(**FLAGS, env_prefix="RESNEXT_", frozen=True, extra="forbid")

    platform: Platform = Field("CPU", description="device to run on")
    data_dir: UserPath = Field(
        FASHION_MNIST,
        description="folder with IDX files, one folder of images per class, tars (WebDataset) or "
        "MindRecord files; or such files themselves, as train-{000..123}.tar",
    )
    per_batch_size: PositiveInt = Field(128, description="images per batch and process")
    pretrained: UserPath | None = Field(
        None,
        description="weights to start from, ours or those of the upstream, mindcv, torchvision or "
        "timm: .ckpt, .safetensors, .pth",
    )
    is_distributed: bool = Field(
        default=False, description="run in several processes, each on its own device"
    )
    group_size: PositiveInt = Field(1, description="number of processes of a distributed run")
    rank: NonNegativeInt = Field(0, description="of this process; a distributed run sets it")
    rank_table: Annotated[UserPath, PathType("file")] | None = Field(
        None, description="Ascend rank table (.json) of a distributed run; optional"
    )
    on_broken_image: Literal["error", "skip"] = Field(
        "error", description="stop at a file that is not an image, or log it and go on"
    )
    eval_images: PositiveInt | None = Field(
        None, description="evaluate only N images, the same share of each class; unset: all"
    )
    num_workers: NonNegativeInt | None = Field(
        None,
        description="processes that read, decode and augment; 0: this one does; unset: one per "
        "core, divided by --group-size. Images in IDX files are in memory, and need none",
    )

    @property
    def is_master(self) -> bool:
        """Whether this process writes what exists only once: reports, logs, best_acc.ckpt."""
        return self.rank == 0

    @property
    def output_path(self) -> Path:
        """Folder for the logs of the processes."""
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


class EvalConfig(CommonConfig):
    """Evaluate a checkpoint, or each one in a folder. --platform is also RESNEXT_PLATFORM."""

    model_config = SettingsConfigDict(cli_prog_name="python -m training.eval")

    pretrained: UserPath = Field(
        description="checkpoint (.ckpt, .safetensors or .pth), or a folder of them"
    )
    architecture: str | None = Field(
        None,
        description="of checkpoints without a .json, as the upstream scripts write them; unset: "
        "what their weights say",
    )
    transform: str | None = Field(
        None,
        description="how images are prepared for a checkpoint without a .json: imagenet (shorter "
        "side 256, centre crop 224, ImageNet mean and std), or a JSON file with the fields "
        "transform and normalization; unset: as those evaluate whose weights they are",
    )
    report_path: UserPath = Field(
        Path("outputs/evaluations"),
        description="folder for the accuracy of each class, as .json and .png",
    )

    @property
    def output_path(self) -> Path:
        """Folder for the logs of the processes."""
        return self.report_path
