"""The settings of `python -m serving tune`; imports nothing heavy, so that --help is quick."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeFloat
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from cli.program import FLAGS
from serving.backends.settings import DEFAULTS
from serving.settings.types import LitePython, Milliseconds, Seconds


class TuneConfig(BaseSettings):
    """Find the fastest settings for a bundle on this machine; `python -m serving` then uses them.

    Measures requests with your photos, decoding included, and compares each candidate with the
    defaults by turns. What it finds is kept under --cache-dir.
    """

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="SERVING_", cli_prog_name="python -m serving tune"
    )

    model: CliPositionalArg[Path] = Field(description="bundle directory")
    images: Path = Field(
        description="image or folder of images like those that callers send; of many, 64 are taken"
    )
    budget_s: Seconds = Field(
        180.0, description="time that all of it may take, loading included, in seconds"
    )
    slo_ms: Milliseconds | None = Field(
        None,
        description="target for the 99th percentile of latency, in milliseconds: the most images "
        "per second within it are sought, for servers that run with the same --slo-ms; unset: the "
        "most images per second",
    )
    max_accuracy_drop: NonNegativeFloat = Field(
        0.0,
        description="top-1 accuracy that a faster precision may cost, in percentage points, by the "
        "bundle's own record; 0: fp32 only; 100: any, also without a record",
    )
    in_flight: Annotated[int | None, Field(gt=0, le=1024)] = Field(
        None,
        description="images that callers keep in flight, with --slo-ms at most; unset: 16 per "
        "core, at least 32, fewer if the model answers less than half of them per second",
    )
    device: str = Field("cpu", description="only cpu can be tuned")
    cache_dir: Path | None = Field(
        DEFAULTS.cache_dir, description="the server's --cache-dir, where the choice is kept"
    )
    lite_python: LitePython = DEFAULTS.lite_python
    picture: Path | None = Field(
        None,
        description="also draw what was tried into this file (.png, .svg or .pdf; needs "
        "matplotlib)",
    )
