from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from export.contract.manifest import MANIFEST, Manifest
from serving.backends import Device, choose_file, fit, load, ort, predict
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
    tiny: Path, monkeypatch: pytest.MonkeyPatch, threads: int, sessions: int
) -> None:
    opened = Mock(side_effect=ort.open_session)
    monkeypatch.setattr(ort, "open_session", opened)
    stated = manifest(tiny)
    file = stated.files[0]
    backends = load(tiny, stated, file, device=Device("cpu"), instances=3, threads=threads)
    assert opened.call_count == sessions
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


def test_a_device_whose_package_is_missing_is_named(tiny: Path) -> None:
    stated = manifest(tiny)
    with pytest.raises(StartupError, match=r"cuda:1.*onnxruntime-gpu"):
        load(tiny, stated, stated.files[0], device=Device("cuda", 1))


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "cpu:0", "", "ascend:0"])
def test_an_unknown_device_is_told_what_there_is(text: str) -> None:
    with pytest.raises(StartupError, match="cpu, cuda, cuda:<index>"):
        Device.parse(text)


def test_devices_print_as_they_are_named() -> None:
    assert [str(Device.parse(text)) for text in ("cpu", "cuda", "cuda:3")] == [
        "cpu",
        "cuda:0",
        "cuda:3",
    ]


def test_a_precision_that_is_not_there_is_told_what_is(tiny: Path) -> None:
    with pytest.raises(StartupError, match="no ONNX file in int8; it holds: onnx fp32"):
        choose_file(manifest(tiny), Device("cpu"), "int8")


def test_fp16_is_used_unasked_only_on_a_gpu(tiny: Path) -> None:
    stated = manifest(tiny)
    half = stated.files[0].model_copy(update={"precision": "fp16", "path": "half.onnx"})
    stated = stated.model_copy(update={"files": [half, *stated.files]})
    assert choose_file(stated, Device("cpu"), None).precision == "fp32"
    assert choose_file(stated, Device("cuda"), None).precision == "fp16"
    assert choose_file(stated, Device("cpu"), "fp16").precision == "fp16"


def test_a_file_that_is_no_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    stated = manifest(tiny)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StartupError, match="cannot load it on cpu"):
        load(tmp_path, stated, stated.files[0], device=Device("cpu"))


def test_a_graph_with_other_tensors_than_stated_is_refused(tiny: Path) -> None:
    stated = manifest(tiny)
    other = stated.input.model_copy(update={"name": "pixels"})
    stated = stated.model_copy(update={"input": other})
    with pytest.raises(StartupError, match=r"states pixels: .*graph has images: tensor\(uint8\)"):
        load(tiny, stated, stated.files[0], device=Device("cpu"))


def test_fit_is_the_smallest_bucket_that_holds_the_images() -> None:
    assert [fit([1, 4, 8], images) for images in (1, 2, 4, 5, 8)] == [1, 4, 4, 8, 8]
