"""`python -m benchmarks.models`: a network that costs milliseconds per photo, and photos for it."""

import hashlib
from pathlib import Path

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
from pydantic import Field
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

from benchmarks.photos import write_photos
from export.config import ExportConfig
from export.contract.manifest import Normalization
from export.contract.transform import Size, Stretch, Transform
from export.formats import writer
from export.graph import Deployment, predictor
from export.original import IMAGES_AT_ONCE, Original
from export.pipeline import export_bundle
from export.report import show
from training.resnext import Architecture, ResNeXt, Stem

NAME = "resnext14_8x4d_224"
ARCHITECTURE = Architecture(
    (1, 1, 1, 1), cardinality=8, base_width=4, outputs=64, stem=Stem(channels=32, kernel=3)
)
CLASSES = 1000
TRANSFORM = Transform(
    resize=Stretch(height=256, width=256), crop=Size(height=224, width=224), antialias=False
)
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


class Models(BaseSettings):
    """Write the bundle and the photos of the benchmark that a decoder and a network share."""

    model_config = SettingsConfigDict(
        env_prefix="BENCH_MODELS_", cli_prog_name="python -m benchmarks.models"
    )

    output: Path = Field(Path("build/benchmarks"), description="folder for bundle and photos")

    def cli_cmd(self) -> None:
        """Write both."""
        write_photos(self.output / "photos")
        nowhere = Path("random weights")
        config = ExportConfig(
            ckpt_file=nowhere, output=self.output, name=NAME, version="1", overwrite=True
        )
        show(export_bundle(original(), config))


def original() -> Original:
    """Return the network with random weights, the same ones at every call."""
    mindspore.set_seed(0)
    network = ResNeXt(ARCHITECTURE, CLASSES).set_train(False)
    deployment = Deployment(network, IMAGENET, TRANSFORM.crop)
    weights = b"".join(parameter.asnumpy().tobytes() for parameter in network.get_parameters())
    return Original(
        architecture=NAME,
        sha256=hashlib.sha256(weights).hexdigest(),
        labels=[str(index) for index in range(CLASSES)],
        transform=TRANSFORM,
        normalization=IMAGENET,
        predict=predictor(deployment.graph(), IMAGES_AT_ONCE),
        write=lambda file_format, path: writer(file_format)(deployment, path),
    )


if __name__ == "__main__":
    CliApp.run(Models)
