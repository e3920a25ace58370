"""From a bundle to a model that has proved itself, and what does not pass."""

import errno
import logging
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from prometheus_client import CollectorRegistry

from bundle import golden
from bundle.golden import GOLDEN, GoldenSet
from bundle.manifest import Normalization
from bundle.stamp import stamp
from bundle.store import Bundle, BundleError, sha256
from cli.cores import Cores
from images.transform import Stretch
from serving import loading
from serving.backends.backend import Backend, Placement, predict
from serving.backends.devices import Device
from serving.backends.ort.library import onnxruntime
from serving.backends.runtimes import Choice, load
from serving.backends.settings import DEFAULTS
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.errors import StartupError
from serving.loader import Loader
from serving.loading import load_model, release_freed_memory, within_limits
from serving.metrics import Metrics
from serving.shares import count_background_threads, count_decode_threads
from tests.support.bundles import BUCKETS, SIDE, probabilities, reseal, write_manifest

PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def loader(tiny: Path) -> Loader:
    bundle = Bundle.open(tiny)
    return Loader(bundle, bundle.manifest.files[0], BUCKETS, DEFAULTS)


def test_an_instance_can_be_reopened_and_answers_alike(loader: Loader) -> None:
    first, second = loader.open(Device("cpu"), 2)
    first.backend.close()
    for backend in (first.reopen(BUCKETS), second.backend):
        answers = predict(backend, BUCKETS, PIXELS)
        np.testing.assert_allclose(answers, probabilities(PIXELS), atol=1e-6)
        backend.close()


def test_the_golden_set_is_read_and_decoded_once(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mock(wraps=golden.sealed_golden)
    monkeypatch.setattr(golden, "sealed_golden", read)
    [instance] = loader.open(Device("cpu"), 1)
    [another] = loader.open(Device("cpu"), 1)
    for backend in (instance.backend, another.backend, instance.reopen(BUCKETS)):
        backend.close()
    assert read.call_count == 1


def test_what_does_not_prove_itself_is_closed(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    [instance] = loader.open(Device("cpu"), 1)
    wrong = Mock(wraps=instance.backend)
    wrong.run.side_effect = lambda buffer, images: 1 - instance.backend.run(buffer, images)
    monkeypatch.setattr("serving.loader.load", lambda *_, **__: [wrong])
    with pytest.raises(BundleError, match="probabilities of golden image"):
        instance.reopen(BUCKETS)
    wrong.close.assert_called_once_with()


def test_each_bucket_is_proved_full_by_one_of_the_instances(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[int, int]] = []

    def watched(backend: Backend) -> Mock:
        mock = Mock(wraps=backend)
        mock.run.side_effect = lambda buffer, images: (
            ran.append((len(buffer), images)) or backend.run(buffer, images)  # type: ignore[func-returns-value]
        )
        return mock

    monkeypatch.setattr("serving.loader.load", lambda *a, **k: [watched(b) for b in load(*a, **k)])
    instances = loader.open(Device("cpu"), 3)
    assert sorted(ran) == [(1, 1), (2, 2), (4, 3), (4, 3), (4, 3), (4, 4), (8, 8)]
    for instance in instances:
        instance.backend.close()


def test_a_model_spans_all_devices(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs in the place of GPUs: what counts is who is asked for what."""
    asked = []

    def load_on_cpu(*bundle: object, device: Device, **settings: object) -> list[Mock]:
        asked.append(str(device))
        backends = [Mock(wraps=b) for b in load(*bundle, device=Device("cpu"), **settings)]  # type: ignore[arg-type]
        for backend in backends:
            backend.describe.side_effect = lambda: Placement("onnxruntime", str(device), "fp32")
        return backends

    monkeypatch.setattr("serving.loader.load", load_on_cpu)
    monkeypatch.setattr(
        loading, "choose", lambda manifest, *_: Choice("onnxruntime", manifest.files[0])
    )
    config = ServingConfig(model=[tiny], device="cuda:0,cuda:2-3")
    registry = CollectorRegistry()
    model = load_model(tiny, config, Metrics(registry))
    assert asked == ["cuda:0", "cuda:2", "cuda:3"]
    assert model.placement == ("onnxruntime", "cuda:0,cuda:2,cuda:3", "fp32")
    ready = {"model": "tiny", "version": "1", "device": "cuda:2#1"}
    assert registry.get_sample_value("serving_device_ready", ready) == 1
    model.close()


@pytest.mark.parametrize(
    ("device", "flags", "threads"),
    [
        (Device("cpu"), {}, 0),
        (Device("cpu"), {"threads": 4}, 4),
        (Device("cpu"), {"instances": 3}, 4),
        (Device("cuda", 0), {}, 4),
        (Device("cuda", 0), {"decode_threads": 0}, 0),
        (Device("cpu"), {"decode_threads": 2}, 2),
    ],
)
def test_instances_decode_if_they_take_all_cores(
    device: Device, flags: dict[str, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.shares.usable_cores", lambda: Cores(64, 3.5))
    config = ServingConfig.model_validate({"model": [Path("bundle")], **flags})
    assert count_decode_threads(config, device) == threads


def test_a_cpu_quota_bounds_what_is_decoded_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.shares.usable_cores", lambda: Cores(64, 3.5))
    for flags, threads in (({}, 4), ({"background_threads": 2}, 2)):
        config = ServingConfig.model_validate({"model": [Path("bundle")], **flags})
        assert count_background_threads(config) == threads


def test_more_threads_than_cores_are_warned_of(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serving.shares.usable_cores", lambda: Cores(64, 0.5))
    start(copy, threads=2).close()
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "--threads 2, but this process may use only a CPU quota of 0.5" in warning.getMessage()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 71.5 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_machine_that_is_too_small_is_named_with_what_to_lower(error: Exception) -> None:
    message = r"not enough memory or threads: .*; lower --buckets"
    with pytest.raises(StartupError, match=message), within_limits():
        raise error


def test_other_faults_stay_what_they_are() -> None:
    for error in (OSError(errno.EIO, "broken"), RuntimeError("broken")):
        with pytest.raises(type(error), match="broken"), within_limits():
            raise error


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return shutil.copytree(tiny, tmp_path / "tiny/1")


def start(path: Path, **settings: object) -> Model:
    config = ServingConfig.model_validate({"model": [path], **settings})
    return load_model(path, config, Metrics(CollectorRegistry()))


def edit(path: Path, **changes: object) -> None:
    """Change the manifest and seal the bundle again."""
    write_manifest(path, Bundle.open(path).manifest.model_copy(update=changes))


def test_a_good_bundle_loads(copy: Path) -> None:
    model = start(copy)
    assert (model.name, model.version, model.buckets) == ("tiny", "1", (1, 2, 4, 8))
    assert model.placement == ("onnxruntime", "cpu", "fp32")
    model.close()


def test_an_unsealed_change_is_refused(copy: Path) -> None:
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"changed since it was sealed: model\.onnx"):
        start(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ["bee", "ant", "cat", "dog", "elk", "fox"]),
        ("normalization", Normalization(mean=(0.0, 0.0, 0.0), std=(60.0, 50.0, 40.0))),
    ],
)
def test_an_edited_manifest_is_refused_though_it_is_sealed(
    copy: Path, field: str, value: object
) -> None:
    edit(copy, **{field: value})
    with pytest.raises(BundleError, match=f"the manifest's {field} is not the one"):
        start(copy)


def test_another_resize_is_refused_though_all_descriptions_agree(copy: Path) -> None:
    manifest = Bundle.open(copy).manifest
    resize = Stretch(height=17, width=17)
    other = manifest.transform.model_copy(update={"resize": resize})
    golden = GoldenSet.model_validate_json((copy / GOLDEN).read_bytes())
    (copy / GOLDEN).write_text(golden.model_copy(update={"transform": other}).model_dump_json())
    edited = manifest.model_copy(update={"transform": other})
    model = onnx.load(copy / "model.onnx")
    helper.set_model_props(model, stamp(edited, "fp32"))
    onnx.save(model, copy / "model.onnx")
    file = manifest.files[0].model_copy(update={"sha256": sha256(copy / "model.onnx")})
    write_manifest(copy, edited.model_copy(update={"files": [file]}))
    with pytest.raises(BundleError, match="do not give the recorded pixels"):
        start(copy)


def test_other_weights_are_refused_though_they_are_sealed(copy: Path) -> None:
    graph = onnx.load(copy / "model.onnx")
    [weights] = [tensor for tensor in graph.graph.initializer if tensor.name == "weights"]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, "weights"))
    manifest = Bundle.open(copy).manifest
    onnx.save(graph, copy / "model.onnx")
    file = manifest.files[0].model_copy(update={"sha256": sha256(copy / "model.onnx")})
    write_manifest(copy, manifest.model_copy(update={"files": [file]}))
    with pytest.raises(BundleError, match=r"probabilities of golden image .* differ by"):
        start(copy)


def test_a_model_that_mixes_the_images_of_a_batch_is_refused(copy: Path) -> None:
    """Its golden answers are those of a batch of four: the same that the first proof runs."""
    graph = onnx.load(copy / "model.onnx")
    [softmax] = [node for node in graph.graph.node if node.op_type == "Softmax"]
    mean = helper.make_node("ReduceMean", ["logits"], ["common"], axes=[0])
    rest = helper.make_node("Sub", ["logits", "common"], ["centred_logits"])
    softmax.input[0] = "centred_logits"
    graph.graph.node.extend([mean, rest, graph.graph.node.pop()])
    onnx.save(graph, copy / "model.onnx")
    session = onnxruntime.InferenceSession(copy / "model.onnx")
    reseal(copy)
    manifest = Bundle.open(copy).manifest
    read = GoldenSet.model_validate_json((copy / GOLDEN).read_bytes())
    files = [(copy / image.path).read_bytes() for image in read.images]
    batch = np.zeros((4, SIDE, SIDE, 3), np.uint8)
    batch[:3] = np.stack([manifest.transform.decode(data) for data in files])
    [answers] = session.run(None, {"images": batch})
    images = [
        image.model_copy(update={"probabilities": row.tolist()})
        for image, row in zip(read.images, answers[:3], strict=True)
    ]
    (copy / GOLDEN).write_text(read.model_copy(update={"images": images}).model_dump_json())
    reseal(copy)
    with pytest.raises(BundleError, match="the model mixes the images of a batch: the"):
        start(copy)


def test_buckets_may_be_overridden(copy: Path) -> None:
    model = start(copy, buckets=(1, 3))
    assert model.buckets == (1, 3)
    model.close()


def test_a_precision_that_is_not_there_is_refused(copy: Path) -> None:
    with pytest.raises(StartupError, match="no onnx file in fp16"):
        start(copy, precision="fp16")


def test_what_is_in_use_is_a_metric(copy: Path) -> None:
    registry = CollectorRegistry()
    config = ServingConfig(model=[copy])
    model = load_model(copy, config, Metrics(registry))
    labels = {"model": "tiny", "version": "1", "digest": model.bundle.digest}
    labels |= {"runtime": "onnxruntime", "device": "cpu", "precision": "fp32"}
    assert registry.get_sample_value("serving_model_info", labels) == 1
    model.close()


def resident_mib() -> float:
    """Memory of this process that is no file's, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    [anonymous] = [line.split()[1] for line in status if line.startswith("RssAnon")]
    return int(anonymous) / 1024


def test_memory_of_large_batches_is_released(tiny: Path) -> None:
    bundle = Bundle.open(tiny)
    loader = Loader(bundle, bundle.manifest.files[0], [1, 1 << 15], DEFAULTS)
    [instance] = loader.open(Device("cpu"), 1)
    instance.backend.trim()  # the proof has run that bucket
    before = resident_mib()
    instance.backend.run(instance.backend.allocate(1 << 15), 1)
    grown = resident_mib()
    assert grown > before + 50
    instance.backend.trim()
    release_freed_memory()  # in a process with much else malloc keeps it
    assert resident_mib() < grown - 50
    instance.backend.close()


def test_memory_that_was_freed_is_released() -> None:
    blocks = [b"0" * 100_000 for _ in range(1000)]  # too small for pages of their own
    last = b"0" * 100_000  # what lies below it stays with malloc
    del blocks
    kept = resident_mib()
    release_freed_memory()
    assert resident_mib() < kept - 50
    assert last


def test_a_loaded_model_has_released_what_it_does_not_need(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, backends = Mock(), list[Mock]()

    def load_wrapped(*bundle: object, **settings: object) -> list[Mock]:
        backends.extend(Mock(wraps=b) for b in load(*bundle, **settings))  # type: ignore[arg-type]
        return backends

    monkeypatch.setattr("serving.loader.load", load_wrapped)
    monkeypatch.setattr(loading, "release_freed_memory", released)
    load_model(tiny, ServingConfig(model=[tiny]), Metrics(CollectorRegistry())).close()
    released.assert_called_once_with()
    for backend in backends:
        # Nothing ran after it.
        assert [call[0] for call in backend.method_calls][-2:] == ["trim", "close"]
