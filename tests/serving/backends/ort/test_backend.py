import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from bundle.files import BundleError
from bundle.manifest import MANIFEST, Manifest
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.ort import backend as ort
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.shared import _affinities
from serving.backends.runtimes import load
from serving.backends.settings import RuntimeSettings
from serving.errors import StartupError
from tests.support.bundles import BUCKETS, SIDE, probabilities


def manifest(path: Path) -> Manifest:
    return Manifest.model_validate_json((path / MANIFEST).read_bytes())


def pixels(images: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (images, SIDE, SIDE, 3), np.uint8)


def test_gives_the_probabilities_that_numpy_gives(tiny: Path) -> None:
    stated = manifest(tiny)
    backends = load(tiny, stated, stated.files[0], device=Device("cpu"), instances=2)
    images = pixels(13)
    for backend in backends:
        np.testing.assert_allclose(
            predict(backend, BUCKETS, images), probabilities(images), atol=1e-6
        )
        assert backend.describe() == ("onnxruntime", "cpu", "fp32")
        backend.close()


@pytest.mark.parametrize(("threads", "sessions"), [(1, 1), (2, 3)])
def test_instances_of_several_threads_have_sessions_of_their_own(
    tiny: Path, threads: int, sessions: int
) -> None:
    stated = manifest(tiny)
    file = stated.files[0]
    settings = RuntimeSettings(threads=threads)
    backends = load(tiny, stated, file, device=Device("cpu"), instances=3, settings=settings)
    assert len({id(backend._session) for backend in backends}) == sessions  # type: ignore[attr-defined]
    for backend in backends:
        np.testing.assert_allclose(
            predict(backend, BUCKETS, pixels(1)), probabilities(pixels(1)), atol=1e-6
        )


def test_padding_is_not_answered(tiny: Path) -> None:
    stated = manifest(tiny)
    [backend] = load(tiny, stated, stated.files[0], device=Device("cpu"))
    buffer = backend.allocate(4)
    buffer[:3] = pixels(3)
    np.testing.assert_allclose(backend.run(buffer, 3), probabilities(pixels(3)), atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "tensorrt:0"])
def test_a_bound_of_memory_that_would_not_hold_is_refused(tiny: Path, device: str) -> None:
    stated, bounded = manifest(tiny), RuntimeSettings(device_memory_mib=100)
    with pytest.raises(StartupError, match=rf"--device-memory-mib limits .* files on {device}"):
        load(tiny, stated, stated.files[0], device=Device.parse(device), settings=bounded)


def test_what_a_device_lacks_is_named(tiny: Path) -> None:
    stated = manifest(tiny)
    with pytest.raises(StartupError, match=r"device cuda:99: .*(onnxruntime-gpu|no NVIDIA|no GPU)"):
        load(tiny, stated, stated.files[0], device=Device("cuda", 99))


def test_a_file_that_is_no_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    stated = manifest(tiny)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    digest = hashlib.sha256(b"no model").hexdigest()
    file = stated.files[0].model_copy(update={"sha256": digest})
    with pytest.raises(StartupError, match=r"cannot load it on cpu: .*model\.onnx failed"):
        load(tmp_path, stated, file, device=Device("cpu"))


def test_a_file_that_is_not_the_stated_one_is_never_loaded(tiny: Path, tmp_path: Path) -> None:
    stated = manifest(tiny)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model\.onnx: its sha256 is not the one"):
        load(tmp_path, stated, stated.files[0], device=Device("cpu"))


def test_a_file_put_in_its_place_after_the_check_does_not_run(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated, path = manifest(tiny), tmp_path / "model.onnx"
    path.write_bytes((tiny / "model.onnx").read_bytes())
    given: list[bytes] = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model: Path, *args: object, **kwargs: object) -> None:
            (tmp_path / "other").write_bytes(b"another")
            (tmp_path / "other").rename(path)
            given.append(model.read_bytes())
            super().__init__(model, *args, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(BundleError, match=r"model\.onnx was changed while it was loaded"):
        load(tmp_path, stated, stated.files[0], device=Device("cpu"))
    assert given == [(tiny / "model.onnx").read_bytes()]


def test_a_graph_with_other_tensors_than_stated_is_refused(tiny: Path) -> None:
    stated = manifest(tiny)
    other = stated.input.model_copy(update={"name": "pixels"})
    stated = stated.model_copy(update={"input": other})
    with pytest.raises(StartupError, match=r"states pixels: .*graph has images: uint8"):
        load(tiny, stated, stated.files[0], device=Device("cpu"))


def test_a_wide_backend_reads_the_weights_of_the_instances(tiny: Path) -> None:
    stated = manifest(tiny)
    backends = load(tiny, stated, stated.files[0], device=Device("cpu"), instances=2)
    wide = backends[0].widen(2)
    assert isinstance(wide, ort.OrtBackend)
    assert wide._session is not backends[0]._session
    assert wide._session.get_session_options().intra_op_num_threads == 2
    assert wide._shared is backends[0]._shared is backends[1]._shared
    images = pixels(13)
    expected = predict(backends[1], BUCKETS, images)
    for backend in backends:  # none needs another
        backend.close()
    np.testing.assert_allclose(predict(wide, BUCKETS, images), expected, atol=1e-6)
    wide.close()


def test_instances_of_several_threads_share_weights_and_no_session(tiny: Path) -> None:
    stated = manifest(tiny)
    settings = RuntimeSettings(threads=2)
    cpu = Device("cpu")
    one, other = load(tiny, stated, stated.files[0], device=cpu, instances=2, settings=settings)
    assert isinstance(one, ort.OrtBackend)
    assert isinstance(other, ort.OrtBackend)
    assert one._shared is other._shared
    assert one._session is not other._session
    assert one._session.get_session_options().intra_op_num_threads == 2


def test_threads_of_a_wide_batch_have_a_core_each() -> None:
    cores = sorted(os.sched_getaffinity(0))
    placed = _affinities(len(cores)).split(";") if len(cores) > 1 else []
    assert len({*placed}) == len(cores) - 1
    assert {int(core) - 1 for core in placed} <= {*cores}
