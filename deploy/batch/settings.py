"""The settings of `python -m deploy.ray.classify_dataset`; imports nothing heavy."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSuppress,
    CliToggleFlag,
    NoDecode,
    SettingsConfigDict,
)

from cli.program import FLAGS
from serving.config import ServingConfig
from serving.settings.limits import ImageLimitSettings
from serving.settings.models import ModelSettings
from serving.settings.signature import SignatureSettings


class RaySettings(BaseSettings):
    """How many engines a Ray cluster runs, and where."""

    ray_address: str = Field(
        "auto",
        description="with --engine ray: auto, the cluster that RAY_ADDRESS names or that runs on "
        "this machine; local, a new one on this machine, for this run; or the address of a cluster",
    )
    workers: PositiveInt | None = Field(
        None,
        description="with --engine ray: engines; unset: as many as the cluster has room for",
    )
    worker_cpus: PositiveInt | None = Field(
        None,
        description="with --engine ray: cores that each engine uses; unset: those of the smallest "
        "node, shared by the engines that its devices make room for",
    )


class DatasetConfig(ImageLimitSettings, SignatureSettings, RaySettings, ModelSettings):
    """Classify a data set at rest: a folder, a glob, Parquet files or tars, into Parquet files.

    Each image of SOURCE gets one row in TARGET, a broken one too. A run that was stopped or killed
    goes on when the same command is given again.
    """

    model_config = SettingsConfigDict(
        **FLAGS,
        env_prefix="DATASET_",
        cli_prog_name="python -m deploy.ray.classify_dataset",
        frozen=True,
        extra="forbid",
    )

    source: CliPositionalArg[str] = Field(
        description="folder (searched recursively), glob in quotes, image, Parquet file with a "
        "column of images or of paths, or tar (WebDataset); several files are of one kind"
    )
    target: CliPositionalArg[Path] = Field(
        description="folder for the rows: new, empty, or that of a run of the same command"
    )
    model: Annotated[list[Path], NoDecode] = Field(
        min_length=1, max_length=1, description="bundle directory"
    )
    # What was found on one machine may be another precision: rows must not depend on where they are
    # made.
    tuned: CliSuppress[Literal["auto", "off"]] = "off"
    engine: Literal["local", "ray"] = Field(
        "local",
        description="local: one engine in this process, without Ray; ray: an engine in each of the "
        "workers of a Ray cluster, which all see SOURCE, TARGET and the bundle under these names",
    )
    top_k: PositiveInt = Field(5, description="labels per image, the most probable first")
    all_probabilities: CliToggleFlag[bool] = Field(
        default=False, description="also write the probabilities of all labels, in label order"
    )
    column: str | None = Field(
        None,
        description="column of a Parquet source with the images (bytes, or structs with bytes) or "
        "with their paths; unset: the only column of bytes",
    )
    key_column: str | None = Field(
        None,
        description="column of a Parquet source whose value goes with each row; unset: the number "
        "of the row",
    )
    shard_images: PositiveInt = Field(
        1000, description="images per file of TARGET, which are done again if a run is killed"
    )
    readers: Annotated[int, Field(gt=0, le=256)] = Field(
        4, description="files of TARGET that an engine works on at once, each with a reader"
    )

    @field_validator("source")
    @classmethod
    def _from_root(cls, source: str) -> str:
        if "://" in source:
            raise ValueError(f"{source} is an address; copy or mount it, and name a path")
        return os.path.abspath(source)  # noqa: PTH100 - it keeps links, and a glob

    @field_validator("target")
    @classmethod
    def _target_from_root(cls, target: Path) -> Path:
        return target.absolute()

    @field_validator("model")
    @classmethod
    def _models_from_root(cls, model: list[Path]) -> list[Path]:
        return [path.absolute() for path in model]

    @property
    def bundle(self) -> Path:
        """The bundle's directory."""
        return self.model[0]

    def serving(self, **changes: object) -> ServingConfig:
        """Return the settings of an engine; `changes` count instead of these."""
        shared = ServingConfig.model_fields.keys() & DatasetConfig.model_fields.keys()
        return ServingConfig.model_validate(
            {name: getattr(self, name) for name in shared} | changes
        )
