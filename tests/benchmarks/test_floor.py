"""The floor gives the server's answers, by the fastest of its ways."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from benchmarks.floor import BareLoop, Floor, Loop, bare_loop, prove
from benchmarks.floor_network import FloorRuntime, Network, Way, write_network
from benchmarks.floor_pixels import cheapest, normalised
from benchmarks.photos import jpeg, photo
from bundle.manifest import IMAGENET, ModelFile
from bundle.store import Bundle, BundleError
from cli.program import UsageError
from images.transform import ShorterSide, Size, Stretch, Transform
from tests.support.bundles import TRANSFORM, write_bundle
from tests.support.paths import SAMPLES

CROP = Size(height=64, width=64)
PHOTO = jpeg(photo(1, 320, 200))


def way(runtime: str, batch: int = 1) -> Way:
    return Way.model_validate({"runtime": runtime, "workers": 1, "threads": 1, "batch": batch})


def written(root: Path) -> tuple[Bundle, ModelFile, Path]:
    bundle = Bundle.open(write_bundle(root))
    file, network = bundle.file("onnx", "fp32"), root / "network.onnx"
    write_network(bundle.path / file.path, network, bundle.manifest.transform.crop)
    return bundle, file, network


@pytest.mark.parametrize(
    "transform",
    [
        Transform(resize=ShorterSide(pixels=80), crop=CROP),
        Transform(resize=Stretch(height=80, width=90), crop=CROP),
        Transform(resize=Stretch(height=80, width=90), crop=CROP, antialias=False),
        Transform(resize=ShorterSide(pixels=200), crop=CROP),
        Transform(resize=ShorterSide(pixels=80), crop=CROP, kernel="bicubic"),
    ],
    ids=str,
)
def test_the_floors_pixels_are_those_of_the_transform(transform: Transform) -> None:
    pixels = cheapest(PHOTO, transform).decode(PHOTO).astype(int)
    assert np.abs(pixels - transform.decode(PHOTO)).max() <= 1


def test_a_large_photo_is_resized_by_the_cheaper_library() -> None:
    data = jpeg(photo(1, 1000, 750))
    transform = Transform(resize=ShorterSide(pixels=80), crop=CROP)
    assert cheapest(data, transform).name == "simplejpeg, cykooz.resizer"


def test_any_other_file_is_decoded_as_well() -> None:
    data = next(SAMPLES.glob("*.png")).read_bytes()
    assert cheapest(data, TRANSFORM).decode(data).shape == (16, 16, 3)


def test_pixels_are_normalised_bit_by_bit_as_in_the_graph() -> None:
    pixels = photo(2, 40, 30)
    row = np.empty((3, 30, 40), np.float32)
    normalised(pixels, IMAGENET, row)
    expected = (pixels.astype(np.float32) - np.float32(IMAGENET.mean)) / np.float32(IMAGENET.std)
    np.testing.assert_array_equal(row, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_network_behind_the_prelude_answers_as_the_bundle_does(
    tmp_path: Path, runtime: FloorRuntime
) -> None:
    bundle, file, network = written(tmp_path)
    [run] = Network(network, "fp32", way(runtime)).runs
    prove(run, bundle, file, runtime)


def test_another_network_is_no_floor(tmp_path: Path) -> None:
    bundle, file, network = written(tmp_path)
    model = onnx.load(network)
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    weights.CopyFrom(
        onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(weights), "weights")
    )
    onnx.save(model, network)
    [run] = Network(network, "fp32", way("onnxruntime")).runs
    with pytest.raises(BundleError, match="differ by"):
        prove(run, bundle, file, "onnxruntime")


def test_an_original_that_takes_bytes_is_refused(tmp_path: Path) -> None:
    bundle, file, _ = written(tmp_path)
    with pytest.raises(UsageError, match="the floor feeds float32 images of three channels"):
        Network(bundle.path / file.path, "fp32", way("onnxruntime"))


def test_a_graph_with_two_paths_from_its_images_asks_for_the_original(tmp_path: Path) -> None:
    bundle, file, _ = written(tmp_path)
    model = onnx.load(bundle.path / file.path)
    model.graph.node.append(onnx.helper.make_node("Cast", ["images"], ["copy"], to=1))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(UsageError, match="goes to 2 nodes"):
        write_network(tmp_path / "two.onnx", tmp_path / "network.onnx", CROP)


def test_a_turn_runs_whole_batches(tmp_path: Path) -> None:
    bundle, _, network = written(tmp_path)
    cv2.setNumThreads(1)
    runs = Network(network, "fp32", way("onnxruntime", batch=3)).runs
    decode = cheapest(PHOTO, TRANSFORM).decode
    loop = Loop(runs, [lambda: decode(PHOTO)], bundle.manifest.normalization, way("onnxruntime", 3))
    floor = loop.measure(0.01)
    assert floor.images_per_second > 0
    assert floor.batch_ms > 0
    assert floor.cpu_ms > 0


def test_a_floor_that_cannot_run_is_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "none.onnx"
    with (
        bare_loop(tmp_path, "photos", original=wrong) as loop,
        pytest.raises(UsageError, match="the floor cannot run"),
    ):
        loop.measure(way("onnxruntime"), 1.0)
    assert capfd.readouterr().err == f"error: --original: there is no file {wrong}\n"


class Scripted(BareLoop):
    """Measures nothing: batches of 2 are the fastest, and OpenVINO is."""

    def __init__(self) -> None:
        self.turns: list[tuple[Way, float]] = []

    def measure(self, way: Way, seconds: float) -> Floor:
        self.turns.append((way, seconds))
        speed = {1: 5.0, 2: 9.0, 4: 6.0}[way.batch] + (way.runtime == "openvino")
        return Floor(way=way, images_per_second=speed, batch_ms=10 - speed, cpu_ms=1.0)


def test_the_best_way_is_found_by_turns_that_grow_longer() -> None:
    loop = Scripted()
    best = loop.best("fp32", [1, 2, 4], 4.0)
    assert (best.busy.runtime, best.busy.batch) == ("openvino", 2)
    assert (best.lone.runtime, best.lone.workers, best.lone.batch) == ("openvino", 1, 1)
    turns = [seconds for way, seconds in loop.turns if way == best.busy]
    assert turns[:3] == [1.0, 2.0, 4.0]
    assert [trial.way for trial in best.trials] == [way for way, _ in loop.turns]
    slow = best.busy.model_copy(update={"batch": 1, "runtime": "onnxruntime"})
    assert {seconds for way, seconds in loop.turns if way == slow} == {1.0}
