"""Files that cannot become a bundle: each is told in one sentence, by whoever notices."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.export.foreign import models
from tests.export.foreign.models import CLASSES, SIDE
from tests.export.foreign.test_from_onnx import COLOURED, Wrapping
from tests.export.foreign.texts import END, LOGITS, MEANS, PIXELS, parsed

Spoil = Callable[[Path], object]


def saved(build: Callable[[], ModelProto]) -> Spoil:
    """Let the file hold that model."""
    return lambda path: path.write_bytes(build().SerializeToString())


def text(*parts: str, **more: str | int) -> Spoil:
    return saved(lambda: parsed(*parts, **more))  # type: ignore[arg-type]


def edited(change: Callable[[ModelProto], object]) -> Spoil:
    def build() -> ModelProto:
        change(model := parsed())
        return model

    return saved(build)


def external(location: str, length: int = 0, there: bool = True) -> Spoil:
    """Let a weight lie in another file, which may be there."""

    def spoil(path: Path) -> None:
        if there:
            (path.parent / location).write_bytes(bytes(3 * CLASSES * 4))
        model = parsed()
        [weight] = [w for w in model.graph.initializer if w.name == "three"]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("length", str(length or 3 * CLASSES * 4))):
            weight.external_data.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())

    return spoil


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_nan(model: ModelProto) -> None:
    weight = next(w for w in model.graph.initializer if w.name == "three")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def make_sparse(model: ModelProto) -> None:
    weight = next(w for w in model.graph.initializer if w.name == "three")
    values = helper.make_tensor("three", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("three_at", TensorProto.INT64, [1, 2], [0, 7])
    matrix = helper.make_sparse_tensor(values, indices, [3, CLASSES])
    model.graph.initializer.remove(weight)
    model.graph.sparse_initializer.append(matrix)


GREY = f"{MEANS} logits = MatMul (means, one)", f"float[n, 1, {SIDE}, {SIDE}] pixels"
ARGMAX = f"{MEANS} l = MatMul (means, three) logits = ArgMax <axis = 1> (l)"
FROM_LIST = f"""
    first = Constant <value = int64 {{0}}> ()
    p = SequenceAt (pixels, first)
    {MEANS.replace("pixels", "p")} {END}"""
NO_CLASS = f"""
    {MEANS}
    z = Constant <value = int64[1] {{0}}> ()
    o = Constant <value = int64[1] {{1}}> ()
    logits = Slice (means, z, z, o)"""

# What is wrong, how it is made, what is said of it, and flags.
CASES: dict[str, tuple[Spoil, str, list[str]]] = {
    "an empty file": (lambda path: path.write_bytes(b""), "holds no graph; it is empty, or no", []),
    "a cut file": (
        lambda path: path.write_bytes(parsed().SerializeToString()[:-7]),
        "is not a readable ONNX file: (Error parsing|Truncated)",
        [],
    ),
    "a text": (lambda path: path.write_text("version https://git-lfs"), "not a readable ONNX", []),
    "nothing": (Path.unlink, "is not a readable ONNX file: .*No such file", []),
    "a folder": (make_folder, "is not a file; name the .onnx file itself", []),
    "a pipe": (make_pipe, "is not a file; name the .onnx file itself", []),
    "above 2 GiB": (lambda path: os.truncate(path, 2**31), "an ONNX file ends at 2147483647", []),
    "an old opset": (saved(models.old_opset), "is of opset 6; the graph around it needs 7", []),
    "an opset to come": (text(opset=99), "is of opset 99; the newest that onnx .* knows is", []),
    "an IR to come": (edited(lambda m: setattr(m, "ir_version", 99)), "ir_version 99 is high", []),
    "no IR": (edited(lambda m: m.ClearField("ir_version")), "ir_version", []),
    "an unknown operator": (text(f"{MEANS} logits = Nonsense (means)"), "Nonsense", []),
    "a custom operator": (
        text(f"{MEANS} logits = mine.Own (means)"),
        "ONNX Runtime cannot load it: .*mine:Own.* is not a registered",
        [],
    ),
    "a wrong type": (text(f"{MEANS} logits = Not (means)"), "cannot load it: .*Not", []),
    "float64": (
        text(f"{MEANS} {END}", PIXELS.replace("float", "double")),
        "input pixels is DOUBLE; images must be UINT8, FLOAT or FLOAT16",
        [],
    ),
    "classes, not probabilities": (
        text(ARGMAX, PIXELS, "int64[n, 1] logits"),
        "output logits is INT64; logits and probabilities are floats",
        [],
    ),
    "two inputs": (
        text(f"{MEANS} {END}", f"{PIXELS}, float[n] mask"),
        rf"exactly one input, .* it has: pixels float\[n, 3, {SIDE}, {SIDE}\], mask float\[n\]",
        [],
    ),
    "a list of images": (
        text(FROM_LIST, f"seq({PIXELS.removesuffix(' pixels')}) pixels"),
        r"input pixels is pixels \(sequence\); images must be",
        [],
    ),
    "three axes": (
        text(MEANS, "float[3, 16, 16] pixels", "float[n] means"),
        "3 axes; images have 4",
        [],
    ),
    "no channels": (
        text(f"{MEANS} {END}", "float[n, 4, 16, 16] pixels"),
        r"has shape \[None, 4, 16, 16\]: either axis 1 \(NCHW\) or axis 3 \(NHWC\) must be 3",
        [],
    ),
    "several outputs": (
        text(f"{MEANS} {END}", PIXELS, f"{LOGITS}, float[n, 3] means"),
        rf"outputs are: logits float\[n, {CLASSES}\], means float\[n, 3\]; name .*: --output-name",
        [],
    ),
    "no such output": (
        text(),
        rf"outputs are: logits float\[n, {CLASSES}\]; there is no output other",
        ["--output-name", "other"],
    ),
    "grey in BGR": (
        text(*GREY),
        "takes grey images: leave --channel-order out",
        ["--channel-order", "bgr"],
    ),
    "grey in colours": (
        text(*GREY),
        "--transform must state the same mean three times, and the same std",
        [],
    ),
    "no classes": (
        text(NO_CLASS, PIXELS, "float[n, k] logits"),
        r"output logits of .* is empty: it has shape \(10, 0\)",
        [],
    ),
    "NaN": (
        edited(make_nan),
        "answers with NaN or infinity, because its weight three holds some",
        [],
    ),
    "no external data": (external("lost.bin", there=False), r"three\) should be .*lost\.bin", []),
    "external data outside": (external("../outside.bin"), "points outside the directory", []),
    "external data of the system": (
        external("/etc/passwd", there=False),
        "should be a relative path, but it is an absolute path: /etc/passwd",
        [],
    ),
    "external data too short": (external("short.bin", length=2**20), "size mismatch", []),
    "sparse weights out of range": (edited(make_sparse), "index value .* out of range", []),
    "a huge batch": (
        text(f"{MEANS} {END}", f"float[{2**62}, 3, {SIDE}, {SIDE}] pixels"),
        f"takes {2**62} images at once and no other number; more than 1024 are not served",
        [],
    ),
    "a name of no letters": (
        lambda path: path.rename(path.with_name("\u6a21\u578b.onnx")),
        "cannot be the name of a bundle; give it one: --name",
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_a_bundle_is_told_in_one_line(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, told, flags = CASES[case]
    (tmp_path / "folder").mkdir()
    wrapping = Wrapping(tmp_path / "folder", parsed(), COLOURED)
    if isinstance(renamed := spoil(wrapping.model), Path):
        wrapping.model = renamed
    assert wrapping.run("logits", None, *flags, named=False) == 1
    [line] = [line for line in capfd.readouterr().err.splitlines() if " " not in line[:6]]
    assert line.startswith("error: ")
    assert re.search(told, line), line
    assert not list(tmp_path.glob("folder/*/7"))
