"""The real OpenVINO: answers, precisions, and what it says when something is wrong."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest

from bundle.files import BundleError
from bundle.manifest import MANIFEST, Manifest, ModelFile, Precision
from bundle.store import Bundle
from images.transform import Pixels
from serving.backends import hardware
from serving.backends.backend import Backend, predict
from serving.backends.devices import Device
from serving.backends.openvino import library
from serving.backends.openvino import model as compiling
from serving.backends.runtimes import load
from serving.backends.settings import DEFAULTS, RuntimeSettings
from serving.errors import StartupError
from serving.loader import Loader
from tests.support.bundles import BUCKETS, SIDE, probabilities
from tests.support.paths import ROOT, SHIPPED

CPU = Device("cpu")


@pytest.fixture
def manifest(tiny: Path) -> Manifest:
    return Manifest.model_validate_json((tiny / MANIFEST).read_bytes())


def opened(
    path: Path,
    manifest: Manifest,
    file: ModelFile | None = None,
    instances: int = 1,
    threads: int = 1,
) -> list[Backend]:
    return load(
        path,
        manifest,
        file or manifest.files[0],
        device=CPU,
        runtime="openvino",
        instances=instances,
        settings=RuntimeSettings(threads=threads),
    )


def pixels(images: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)


def test_gives_the_probabilities_that_numpy_gives_in_every_bucket(
    tiny: Path, manifest: Manifest
) -> None:
    [backend] = opened(tiny, manifest)
    assert backend.describe() == ("openvino", "cpu", "fp32")
    for bucket in [*BUCKETS, *reversed(BUCKETS)]:
        images = pixels(bucket, seed=bucket)
        answers = predict(backend, [bucket], images)
        np.testing.assert_allclose(answers, probabilities(images), atol=1e-6)
        backend.trim()
    backend.close()


def test_instances_run_at_once_and_more_of_them_than_there_are_cores(
    tiny: Path, manifest: Manifest
) -> None:
    backends = opened(tiny, manifest, instances=5)
    images = [pixels(8, seed) for seed, _ in enumerate(backends)]

    def run(backend: Backend, images: Pixels) -> np.ndarray:
        return np.stack([predict(backend, BUCKETS, images) for _ in range(20)])

    with ThreadPoolExecutor(len(backends)) as pool:
        answers = [*pool.map(run, backends, images)]
    for expected, given in zip(map(probabilities, images), answers, strict=True):
        np.testing.assert_allclose(given, np.broadcast_to(expected, given.shape), atol=1e-6)


def test_answers_survive_the_next_batch_and_padding_is_not_answered(
    tiny: Path, manifest: Manifest
) -> None:
    [backend] = opened(tiny, manifest)
    buffer = backend.allocate(4)
    assert backend.allocate(4) is buffer
    buffer[:3] = pixels(3)
    first = backend.run(buffer, 3)
    backend.run(np.ones_like(buffer), 4)  # of another's memory, too
    np.testing.assert_allclose(first, probabilities(pixels(3)), atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_shipped_bundle_proves_itself(precision: Precision) -> None:
    bundle = Bundle.open(SHIPPED)
    file = bundle.file("onnx", precision)
    for instance in Loader(bundle, file, file.buckets, DEFAULTS, "openvino").open(CPU, 2):
        assert instance.backend.describe() == ("openvino", "cpu", precision)
        instance.backend.close()


def test_bf16_runs_where_the_cpu_has_it_and_is_refused_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.open(SHIPPED)
    file = bundle.file("onnx", "fp32").model_copy(update={"precision": "bf16"})
    if hardware.missing("openvino", CPU, None, "bf16") is None:
        [backend] = opened(SHIPPED, bundle.manifest, file)
        [exact] = opened(SHIPPED, bundle.manifest)
        assert backend.describe() == ("openvino", "cpu", "bf16")
        images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8)
        differences = predict(backend, [4], images) - predict(exact, [4], images)
        assert 1e-5 < np.abs(differences).max() < 0.1
    monkeypatch.setattr(hardware, "BF16", {"amx_bf32"})
    with pytest.raises(StartupError, match=r"this CPU cannot compute in bf16: .* amx_bf32"):
        opened(SHIPPED, bundle.manifest, file)


def test_another_precision_than_asked_for_is_an_error(
    tiny: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Mock(get_type_name=lambda: "bf16")
    compiled = Mock(get_property=lambda _: other)
    monkeypatch.setattr(compiling, "_compile", lambda *_: compiled)
    with pytest.raises(StartupError, match=r"fp32 was asked for, .* in f32, but it uses bf16"):
        opened(tiny, manifest)


def test_more_threads_than_cores_cost_a_warning(
    tiny: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    [backend] = opened(tiny, manifest, threads=1000)
    assert " threads, not on 1000: it uses no more than there are cores" in caplog.text
    answers = predict(backend, BUCKETS, pixels(3))
    np.testing.assert_allclose(answers, probabilities(pixels(3)), atol=1e-6)


def test_both_threads_of_a_core_are_asked_for(
    tiny: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    core = library.core

    def compile_model(model: object, device: str, settings: dict[str, object]) -> object:
        asked.update(settings)
        return core.compile_model(model, device, settings)

    watched = Mock(read_model=core.read_model, compile_model=compile_model)
    monkeypatch.setattr(compiling, "core", watched)
    opened(tiny, manifest)
    assert asked["ENABLE_HYPER_THREADING"] is True


SIGNAL = """
import gc, os, signal
from pathlib import Path
from bundle.store import Bundle
from serving.backends.devices import Device
from serving.backends.runtimes import load

bundle = Bundle.open(Path({bundle!r}))
file = bundle.file("onnx", "fp32")
[backend] = load(bundle.path, bundle.manifest, file, runtime="openvino", device=Device("cpu"))
backend.close()
del backend
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_handled_after_a_model_is_closed() -> None:
    program = SIGNAL.format(bundle=str(SHIPPED))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "asked to end\n")


def test_a_missing_package_is_named(
    tiny: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "serving.backends.openvino.library", None)
    with pytest.raises(StartupError, match=r"device cpu: openvino cannot be imported .*; install"):
        opened(tiny, manifest)


@pytest.mark.parametrize("content", [b"no model", b"", b"cut"])
def test_a_file_that_is_no_model_is_refused(
    tiny: Path, manifest: Manifest, tmp_path: Path, content: bytes
) -> None:
    if content == b"cut":
        content = (tiny / "model.onnx").read_bytes()[:-100]
    (tmp_path / "model.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    file = manifest.files[0].model_copy(update={"sha256": digest})
    with pytest.raises(StartupError, match=r"model\.onnx: .*(cannot load it on cpu|has none)"):
        opened(tmp_path, manifest, file)


def test_a_model_in_a_format_of_openvino_itself_is_refused(
    tiny: Path, manifest: Manifest, tmp_path: Path
) -> None:
    model = library.core.read_model(tiny / "model.onnx")
    library.openvino.save_model(model, tmp_path / "model.xml")
    content = (tmp_path / "model.xml").rename(tmp_path / "model.onnx").read_bytes()
    file = manifest.files[0].model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    with pytest.raises(StartupError, match=r"model\.onnx: .* on cpu: it is no ONNX file"):
        opened(tmp_path, manifest, file)


def test_a_file_that_is_not_the_stated_one_is_never_loaded(
    tiny: Path, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.onnx: its sha256 is not the one"):
        opened(tmp_path, manifest)


def test_a_file_put_in_its_place_after_the_check_does_not_run(
    tiny: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes((tiny / "model.onnx").read_bytes())
    given: list[bytes] = []
    core = library.core

    def read_model(model: Path, **settings: object) -> object:
        (tmp_path / "other").write_bytes(b"another")
        (tmp_path / "other").rename(path)
        given.append(model.read_bytes())
        return core.read_model(model, **settings)

    watched = Mock(read_model=read_model, compile_model=core.compile_model)
    monkeypatch.setattr(compiling, "core", watched)
    with pytest.raises(BundleError, match=r"model\.onnx was changed while it was loaded"):
        opened(tmp_path, manifest)
    assert given == [(tiny / "model.onnx").read_bytes()]


def test_a_graph_with_other_tensors_than_stated_is_refused(tiny: Path, manifest: Manifest) -> None:
    other = manifest.input.model_copy(update={"name": "pixels"})
    stated = manifest.model_copy(update={"input": other})
    with pytest.raises(StartupError, match=r"states pixels: .*graph has images: uint8"):
        opened(tiny, stated)


def test_a_file_of_another_manifest_is_refused(tiny: Path, manifest: Manifest) -> None:
    stated = manifest.model_copy(update={"labels": [*manifest.labels[:-1], "gnu"]})
    with pytest.raises(BundleError, match="the manifest's labels is not the one"):
        opened(tiny, stated)


def test_a_graph_of_one_batch_size_runs_no_other(
    tiny: Path, manifest: Manifest, tmp_path: Path
) -> None:
    model = onnx.load(tiny / "model.onnx")
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "model.onnx")
    digest = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    file = manifest.files[0].model_copy(update={"sha256": digest})
    with pytest.raises(StartupError, match=r"runs batches of 4 and no others, .* not 1, 2, 4, 8"):
        opened(tmp_path, manifest, file)
    [backend] = opened(tmp_path, manifest, file.model_copy(update={"buckets": [4]}))
    answers = predict(backend, [4], pixels(3))
    np.testing.assert_allclose(answers, probabilities(pixels(3)), atol=1e-6)


# In a process of its own, whose memory ends soon after the model is loaded.
SHORT_OF_MEMORY = """
import resource
from pathlib import Path
from bundle.store import Bundle
from serving.backends.devices import Device
from serving.backends.openvino import backend
from serving.backends.runtimes import load

backend.SHARED_FROM_BYTES = {shared_from}
bundle, device = Bundle.open(Path({bundle!r})), Device("cpu")
file, buckets = bundle.file("onnx", "fp32"), [1, 4096]
asked = {{"device": device, "runtime": "openvino", "instances": 2, "buckets": buckets}}
backends = load(bundle.path, bundle.manifest, file, **asked)
for backend in backends:
    for bucket in buckets:
        backend.allocate(bucket)
backends[0].run(backends[0].allocate(1), 1)
status = Path("/proc/self/status").read_text().split()
limit = (int(status[status.index("VmSize:") + 1]) << 10) + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for backend, bucket in zip([backends[0], *backends], [4096, 1, 1]):
    try:
        backend.run(backend.allocate(bucket), bucket)
        print("answered")
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_without_memory_is_not_answered_and_the_model_must_be_reopened(
    *, shared: bool
) -> None:
    program = SHORT_OF_MEMORY.format(bundle=str(SHIPPED), shared_from=0 if shared else 1 << 40)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True, check=True
    )
    first, again, other = done.stdout.splitlines()
    reason = "cpu: a batch of 4096 does not fit into its memory: Failed to allocate "
    assert first.startswith(f"OutOfDeviceMemoryError {reason}")
    lost = f"DeviceLostError the model must be reopened: {reason}"
    assert again.startswith(lost)
    assert other.startswith(lost if shared else "answered")
