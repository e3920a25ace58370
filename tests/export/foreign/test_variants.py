"""Models that take or give something unusual, and are served all the same."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto
from PIL import Image

from bundle.golden import prove_pixels, prove_probabilities
from bundle.store import Bundle
from export.parity import open_runner
from serving.backends.ort.library import onnxruntime
from tests.export.foreign.models import CLASSES, SIDE
from tests.export.foreign.test_from_onnx import COLOURED, PLAIN, Wrapping
from tests.export.foreign.texts import END, LOGITS, MEANS, PIXELS, WEIGHTS, parsed
from tests.support.bundles import photo

GREY = {"mean": [110, 110, 110], "std": [60, 60, 60]}
PHOTOS = np.stack([np.asarray(photo(seed, SIDE, SIDE)) for seed in range(4)])
LUMA = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in PHOTOS])
BYTES = "f = Cast <to = 1> (pixels) m = Constant <value = float {255.0}> () p = Div (f, m)"
BYTE_MEANS = f"{BYTES} means = ReduceMean <axes = [2, 3], keepdims = 0> (p)"
GREY_END = "logits = MatMul (means, one)"


def exported(folder: Path, built: ModelProto, normal: dict[str, list[int]], *flags: str) -> Bundle:
    """Return a bundle, once its file has answered as the model that it was made of."""
    wrapping = Wrapping(folder, built, normal)
    assert wrapping.run("logits", None, *flags) == 0
    bundle = wrapping.bundle
    golden, pixels = prove_pixels(bundle)
    [file] = bundle.manifest.files
    runner = open_runner(bundle.path, bundle.manifest, file, "cpu")
    assert prove_probabilities(bundle, file, golden, pixels, runner.predict, runner.runtime) < 1e-5
    return bundle


def answers(bundle: Bundle, pixels: NDArray[np.uint8] = PHOTOS) -> NDArray[np.float32]:
    """Return what the bundle's file gives."""
    path = bundle.path / bundle.manifest.files[0].path
    [given] = onnxruntime.InferenceSession(path).run(None, {"images": pixels})
    return np.asarray(given)


def expected(
    means: NDArray[np.float64], normal: dict[str, list[int]], weights: str
) -> NDArray[np.float64]:
    """Return the probabilities of normalised means (n, channels)."""
    channels = means.shape[1]
    scale = 255 if normal is PLAIN else 1
    scaled = (means - normal["mean"][:channels]) / normal["std"][:channels] / scale
    # The colours of these tests are in the order BGR; one channel has none.
    powers = np.exp(scaled[:, ::-1] @ WEIGHTS[weights])
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("body", "given", "normal"),
    [
        (f"{MEANS} {END}", PIXELS, COLOURED),
        (f"{BYTE_MEANS} {END}", PIXELS.replace("float", "uint8"), PLAIN),
    ],
)
def test_a_model_of_bgr_images_is_given_them(
    body: str, given: str, normal: dict[str, list[int]], tmp_path: Path
) -> None:
    bundle = exported(tmp_path, parsed(body, given), normal, "--channel-order", "bgr")
    wanted = expected(PHOTOS.mean(axis=(1, 2)), normal, "three")
    np.testing.assert_allclose(answers(bundle), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "given", "normal"),
    [
        (MEANS, f"float[n, 1, {SIDE}, {SIDE}] pixels", GREY),
        (
            MEANS.replace("[2, 3]", "[1, 2]"),
            f"float[n, {SIDE}, {SIDE}, 1] pixels",
            GREY,
        ),
        (BYTE_MEANS, f"uint8[n, 1, {SIDE}, {SIDE}] pixels", PLAIN),
    ],
)
@pytest.mark.parametrize("opset", [11, 17])
def test_a_model_of_grey_images_is_given_the_luma_of_pillow(
    body: str, given: str, normal: dict[str, list[int]], opset: int, tmp_path: Path
) -> None:
    bundle = exported(tmp_path, parsed(f"{body} {GREY_END}", given, opset=opset), normal)
    wanted = expected(LUMA.mean(axis=(1, 2))[:, None], normal, "one")
    np.testing.assert_allclose(answers(bundle), wanted, atol=1e-5)


def test_the_luma_is_pillows_for_every_colour(tmp_path: Path) -> None:
    """The graph's own grey image is the output: 2 ** 15 colours, all that differ by 8 a channel."""
    built = parsed(f"{MEANS} {GREY_END}", f"float[n, 1, {SIDE}, {SIDE}] pixels")
    bundle = exported(tmp_path, built, GREY)
    model = onnx.load(bundle.path / bundle.manifest.files[0].path)
    model.graph.output.append(onnx.helper.make_tensor_value_info("grey", 1, None))
    levels = np.append(np.arange(0, 248, 8), 255).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, SIDE, SIDE, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    [grey] = session.run(["grey"], {"images": colours})
    pillow = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    np.testing.assert_array_equal(grey[:, 0], pillow)


def test_reduced_precisions_leave_luma_and_order_exact(tmp_path: Path) -> None:
    built = parsed(f"{MEANS} {GREY_END}", f"float[n, 1, {SIDE}, {SIDE}] pixels")
    wrapping = Wrapping(tmp_path, built, GREY)
    assert wrapping.run("logits", None, "--precision", "fp32,fp16") == 0
    model = onnx.load(wrapping.bundle.path / "model_fp16.onnx")
    luma = next(weight for weight in model.graph.initializer if weight.name == "luma")
    assert luma.data_type == onnx.TensorProto.FLOAT


SEVERAL = f"{MEANS} other = Mul (means, means) deep = MatMul (other, three) {END}"


def test_one_output_of_several_is_served_without_what_only_others_need(tmp_path: Path) -> None:
    built = parsed(SEVERAL, gives=f"{LOGITS}, float[n, {CLASSES}] deep")
    bundle = exported(tmp_path, built, COLOURED, "--output-name", "logits")
    model = onnx.load(bundle.path / bundle.manifest.files[0].path)
    assert not {"model/deep", "model/other"} & {n for node in model.graph.node for n in node.output}


@pytest.mark.parametrize("shape", ["4", "1, 4", "4, 1, 1", "1, 1, 4", "1, 4, 1, 1"])
def test_an_output_of_one_image_needs_no_axis_for_the_batch(shape: str, tmp_path: Path) -> None:
    body = f"{MEANS} l = MatMul (means, three) s = Constant <value = int64[{shape.count(',') + 1}] "
    body += f"{{{shape}}}> () logits = Reshape (l, s)"
    given = f"float[1, 3, {SIDE}, {SIDE}] pixels"
    bundle = exported(tmp_path, parsed(body, given, f"float[{shape}] logits"), COLOURED)
    buckets = bundle.manifest.files[0].buckets
    assert buckets[0] == 1
    assert (buckets == [1]) == (not shape.startswith("1,"))


BODIES = {
    "If": """
        m = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)
        yes = Constant <value = bool {1}> ()
        means = If (yes) <
            then_branch = then () => (float[n, 3] a) { a = Mul (m, scale) },
            else_branch = else () => (float[n, 3] b) { b = Add (m, scale) }
        >""",
    "Loop": """
        times = Constant <value = int64 {2}> ()
        yes = Constant <value = bool {1}> ()
        first = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)
        means = Loop (times, yes, first) <
            body = body (int64 i, bool go, float[n, 3] x) => (bool on, float[n, 3] y) {
                on = Identity (go)
                y = If (go) <
                    then_branch = then () => (float[n, 3] a) { a = Mul (x, scale) },
                    else_branch = else () => (float[n, 3] b) { b = Add (x, scale) }
                >
            }
        >""",
    "Scan": """
        m = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)
        means = Scan (m) <
            num_scan_inputs = 1,
            body = body (float[3] row) => (float[3] out) { out = Mul (row, scale) }
        >""",
    "function": "means = mine.Average (pixels)",
}  # fmt: skip
FUNCTION = """<domain: "mine", opset_import: ["" : 17]> Average (x) => (y) {
    y = ReduceMean <axes = [2, 3], keepdims = 0> (x)
}"""


@pytest.mark.parametrize("name", BODIES)
def test_what_a_body_takes_from_the_graph_around_it_is_found(name: str, tmp_path: Path) -> None:
    built = parsed(f"{BODIES[name]} {END}", more=FUNCTION if name == "function" else "")
    scale = np.array([0.5, 1.0, 2.0], np.float32)
    built.graph.initializer.append(onnx.numpy_helper.from_array(scale, "scale"))
    exported(tmp_path, built, COLOURED)


def test_a_batch_that_is_fixed_inside_of_a_body_is_freed(tmp_path: Path) -> None:
    body = """
        yes = Constant <value = bool {1}> ()
        l = If (yes) <
            then_branch = then () => (float[2, 3] a) { a = Reshape (m, shape) },
            else_branch = else () => (float[2, 3] b) { b = Reshape (m, shape) }
        >
        logits = MatMul (l, three)"""
    means = "m = ReduceMean <axes = [2, 3]> (pixels)"
    sizes = f"float[2, 3, {SIDE}, {SIDE}] pixels", f"float[2, {CLASSES}] logits"
    built = parsed(f"{means} {body}", *sizes)
    shape = np.array([2, 3], np.int64)
    built.graph.initializer.append(onnx.numpy_helper.from_array(shape, "shape"))
    assert exported(tmp_path, built, COLOURED).manifest.files[0].buckets == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("model (1)", "model_1"),
        (".hidden", "hidden"),
        ("mod\u00e8le 2", "modele_2"),
        ("fine-1.0_x", "fine-1.0_x"),
        ("\x1b[31m", "31m"),
    ],
)
def test_a_bundle_is_named_after_the_file(stem: str, name: str, tmp_path: Path) -> None:
    wrapping = Wrapping(tmp_path, parsed(), COLOURED)
    wrapping.model = wrapping.model.rename(tmp_path / f"{stem}.onnx")
    assert wrapping.run("logits", None, named=False) == 0
    assert Bundle.open(tmp_path / name / "7").manifest.architecture.isprintable()


@pytest.mark.parametrize("sizes", ["batch, 3, batch, batch", "N_2, 3, h, w", "-1, 3, -1, -1"])
def test_axes_may_have_any_name(sizes: str, tmp_path: Path) -> None:
    built = parsed(given="float[n, 3, h, w] pixels")
    dims = built.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, sizes.split(", "), strict=True):
        if size.lstrip("-").isdecimal():
            dim.dim_value = int(size)
        else:
            dim.dim_param = size
    assert exported(tmp_path, built, COLOURED).manifest.files[0].buckets[-1] == 32


def test_sparse_weights_are_taken_along(tmp_path: Path) -> None:
    built = parsed()
    weight = built.graph.initializer.pop()
    values = onnx.helper.make_tensor("three", onnx.TensorProto.FLOAT, [2], [1.0, -2.0])
    places = onnx.helper.make_tensor("places", onnx.TensorProto.INT64, [2, 2], [0, 1, 2, 3])
    matrix = onnx.helper.make_sparse_tensor(values, places, list(weight.dims))
    built.graph.sparse_initializer.append(matrix)
    exported(tmp_path, built, COLOURED)


def test_weights_may_be_listed_among_the_inputs(tmp_path: Path) -> None:
    built = parsed()
    built.ir_version = 3
    shape = list(built.graph.initializer[0].dims)
    built.graph.input.append(onnx.helper.make_tensor_value_info("three", 1, shape))
    exported(tmp_path, built, COLOURED)
