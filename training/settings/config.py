"""Settings of evaluation, and those that training shares with it.

Flags win over the environment, the environment over a resumed run or a recipe, those over defaults.
Names and defaults are those of the upstream resnext152_64x4d scripts, if it has them; what differs
is in training/README.md, under Settings.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, FilePath, NonNegativeInt, PositiveInt, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.program import FLAGS

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

Platform = Literal["Ascend", "GPU", "CPU"]


class CommonConfig(BaseSettings):
    """What training and evaluation share."""

    model_config = SettingsConfigDict(**FLAGS, env_prefix="RESNEXT_", frozen=True, extra="forbid")

    platform: Platform = Field("CPU", description="device to run on")
    data_dir: Path = Field(
        FASHION_MNIST, description="IDX files, or a folder with one folder of images per class"
    )
    per_batch_size: PositiveInt = Field(128, description="images per step and process")
    pretrained: Path | None = Field(
        None, description="weights to start from: .ckpt or .safetensors, ours or the upstream's"
    )
    is_distributed: bool = Field(
        default=False, description="run in several processes, each on its own device"
    )
    group_size: PositiveInt = Field(1, description="number of processes of a distributed run")
    rank: NonNegativeInt = Field(0, description="of this process; a distributed run sets it")
    rank_table: FilePath | None = Field(
        None, description="Ascend rank table (.json) of a distributed run; optional"
    )
    on_broken_image: Literal["error", "skip"] = Field(
        "error", description="stop at a file that is not an image, or log it and go on"
    )
    eval_images: PositiveInt | None = Field(
        None, description="evaluate only the first N images; unset: all"
    )
    num_workers: PositiveInt | None = Field(
        None, description="threads that decode and augment; unset: one per core"
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

    pretrained: Path = Field(description="checkpoint (.ckpt or .safetensors), or a folder of them")
    architecture: str | None = Field(
        None, description="of checkpoints without a .json, as the upstream scripts write them"
    )
    report_path: Path = Field(
        Path("outputs/evaluations"),
        description="folder for the accuracy of each class, as .json and .png",
    )

    @property
    def output_path(self) -> Path:
        """Folder for the logs of the processes."""
        return self.report_path
