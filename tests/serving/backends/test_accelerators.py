"""What only a GPU or NPU can show: collected everywhere, skipped with the reason elsewhere."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bundle.kinds import Precision
from bundle.manifest import MANIFEST, ModelFile
from bundle.stamp import stamp
from bundle.store import Bundle, seal, sha256
from clients.client import ClassifierClient
from clients.types import Prediction
from export.precision.fp16 import write_fp16
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.runtimes import choose, load
from serving.backends.settings import DEFAULTS, RuntimeSettings
from serving.errors import OutOfDeviceMemoryError, StartupError
from serving.loader import Loader
from tests.support.paths import SHIPPED
from tests.support.process import metric, serve

TOLERANCES: dict[Precision, float] = {"fp32": 1e-5, "fp16": 0.02}
CUDA, TENSORRT, ASCEND = Device("cuda"), Device("tensorrt"), Device("ascend")


def needs(device: Device) -> list[pytest.MarkDecorator]:
    reason = missing("onnxruntime", device)
    kind = pytest.mark.ascend if device == ASCEND else pytest.mark.gpu
    return [kind, pytest.mark.skipif(reason is not None, reason=str(reason))]


EACH_DEVICE = pytest.mark.parametrize(
    "device", [pytest.param(d, marks=needs(d)) for d in (CUDA, TENSORRT, ASCEND)], ids=str
)
EACH_PRECISION = pytest.mark.parametrize("precision", list(TOLERANCES))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped bundle, and its network in fp16 beside."""
    path = tmp_path_factory.mktemp("models") / "1"
    shutil.copytree(SHIPPED, path)
    stated = Bundle.open(SHIPPED).manifest
    [exact] = [f for f in stated.files if (f.format, f.precision) == ("onnx", "fp32")]
    half = path / "model_fp16.onnx"
    write_fp16(path / exact.path, half)
    model = onnx.load(half)
    onnx.helper.set_model_props(model, stamp(stated, "fp16"))
    onnx.save(model, half)
    update = {
        "path": half.name,
        "precision": "fp16",
        "sha256": sha256(half),
        "tolerance": TOLERANCES["fp16"],
    }
    files = [*stated.files, exact.model_copy(update=update)]
    changed = stated.model_copy(update={"files": files})
    (path / MANIFEST).write_text(changed.model_dump_json())
    seal(path)
    return Bundle.open(path)


@pytest.fixture
def settings(tmp_path: Path) -> RuntimeSettings:
    return RuntimeSettings(cache_dir=tmp_path)


def held(bundle: Bundle, precision: Precision) -> ModelFile:
    return choose(bundle.manifest, Device("cpu"), precision).file


def test_the_bundle_in_fp16_is_one(bundle: Bundle) -> None:
    """On the CPU, so that the tests below are known to begin with a good bundle."""
    file = held(bundle, "fp16")
    Loader(bundle, file, [1, 4], DEFAULTS).open(Device("cpu"), 1)


@EACH_DEVICE
@EACH_PRECISION
def test_every_bucket_gives_what_the_cpu_gives(
    bundle: Bundle, device: Device, precision: Precision, settings: RuntimeSettings
) -> None:
    [cpu] = load(bundle.path, bundle.manifest, held(bundle, "fp32"), device=Device("cpu"))
    file = held(bundle, precision)
    [opened] = Loader(bundle, file, file.buckets, settings).open(device, 1)
    accelerator = opened.backend
    assert accelerator.describe() == ("onnxruntime", str(device), precision)
    for bucket in [*file.buckets, *reversed(file.buckets)]:
        pixels = noise(bucket)
        np.testing.assert_allclose(
            predict(accelerator, file.buckets, pixels),
            predict(cpu, file.buckets, pixels),
            atol=TOLERANCES[precision],
        )
    accelerator.close()


@EACH_DEVICE
@EACH_PRECISION
def test_the_server_answers_and_says_where(
    bundle: Bundle, device: Device, precision: Precision, tmp_path: Path
) -> None:
    flags = ["--device", str(device), "--runtime", "onnxruntime", "--precision", precision]
    images = [bundle.path / p for p in bundle.manifest.attachments if p.endswith((".png", ".jpg"))]
    cache = ["--cache-dir", str(tmp_path)]
    with serve(bundle.path, *flags, *cache) as server, ClassifierClient(server.grpc) as client:
        answers = client.classify(images, timeout_s=60)
        assert all(isinstance(answer, Prediction) for answer in answers)
        place = f'device="{device}",.*precision="{precision}",runtime="onnxruntime"'
        assert metric(server, "serving_model_info{" + place) == 1
        if device != ASCEND:
            memory = f'serving_device_memory_bytes{{device="{device}",kind="used"}}'
            assert metric(server, memory) > 0


@pytest.mark.parametrize("device", [pytest.param(CUDA, marks=needs(CUDA))], ids=str)
def test_memory_is_bounded(bundle: Bundle, device: Device) -> None:
    limited = RuntimeSettings(device_memory_mib=1)
    file = held(bundle, "fp32")
    with pytest.raises((StartupError, OutOfDeviceMemoryError)):
        load(bundle.path, bundle.manifest, file, device=device, settings=limited)[0].allocate(32)


def noise(images: int) -> NDArray[np.uint8]:
    return np.random.default_rng(images).integers(0, 256, (images, 28, 28, 3), np.uint8)
