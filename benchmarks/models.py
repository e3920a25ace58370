"""`python -m benchmarks.models`: untrained networks as bundles, and photos for them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import NoDecode

from benchmarks.command import Benchmark, configured, start
from benchmarks.photos import write_photos
from bundle.kinds import Precision

Network = Literal["resnext14_8x4d_224", "resnext152_64x4d"]
NAME: Network = "resnext14_8x4d_224"
FULL: Network = "resnext152_64x4d"


class Models(Benchmark):
    """Write the bundle and the photos of the benchmark that a decoder and a network share."""

    model_config = configured("benchmarks.models")

    output: Path = Field(Path("build/benchmarks"), description="folder for bundle and photos")
    network: Network = Field(
        NAME,
        description="the first costs milliseconds per photo on a CPU, the other is the full one",
    )
    precision: Annotated[tuple[Precision, ...] | None, NoDecode] = Field(
        None,
        description="precisions of the ONNX file, comma-separated; unset: fp32, int8, and bf16 if "
        "this CPU has it",
    )

    batch_size: PositiveInt = Field(32, description="largest batch that a server warms up")

    def run(self) -> None:
        """Write both."""
        # Here, so that --help need not wait for onnx.
        from benchmarks.untrained import original, write_original
        from export.config import FromOnnxConfig
        from export.pipeline import export_bundle
        from export.report import show_export
        from serving.backends.devices import Device
        from serving.backends.hardware import missing

        precision = self.precision
        if not precision:
            lacks_bf16 = missing("openvino", Device("cpu"), precision="bf16")
            precision = ("fp32", "int8") if lacks_bf16 else ("fp32", "bf16", "int8")
        write_photos(self.output / "photos")
        config = FromOnnxConfig.model_validate(
            {
                **write_original(self.network, self.output / "originals"),
                "output_kind": "logits",
                "output": self.output,
                "name": self.network,
                "version": "1",
                "overwrite": True,
                "batch_size": self.batch_size,
            }
        )
        # Not validated: without images for int8, the original has its own way.
        config = config.model_copy(update={"precision": precision})
        show_export(*export_bundle(original(config), config))

    @field_validator("precision", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value


if __name__ == "__main__":
    start(Models)
