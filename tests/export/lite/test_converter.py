"""What MindSpore Lite's converter is told, and the order of what it writes."""

from pathlib import Path

import pytest

from export.errors import ExportError
from export.lite.converter import (
    PRECISIONS,
    PRIMITIVES,
    config_text,
    optimize,
    sort_primitives,
)

VERSION, GRAPH, IS_DEBUG, FIXED64, FIXED32 = b"\x0a\x01x", b"\x3a", b"\x50\x01", b"\x71", b"\x7d"


def primitive(name: bytes) -> bytes:
    return bytes([PRIMITIVES << 3 | 2, len(name)]) + name


def sorted_file(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    path.chmod(0o400)
    sort_primitives(path)
    return path.read_bytes()


def test_only_primitives_move(tmp_path: Path) -> None:
    graph = GRAPH + b"\x80\x02" + bytes(256)
    before, after = VERSION + graph + IS_DEBUG, FIXED64 + bytes(8) + FIXED32 + bytes(4)
    names = [b"Sub:4", b"Softmax:56", b"Cast:2"]
    data = before + b"".join(map(primitive, names)) + after
    expected = before + b"".join(sorted(map(primitive, names))) + after
    assert sorted_file(tmp_path / "a.mindir", data) == expected


def test_a_file_without_primitives_stays(tmp_path: Path) -> None:
    assert sorted_file(tmp_path / "a.mindir", VERSION + IS_DEBUG) == VERSION + IS_DEBUG


@pytest.mark.parametrize("data", [VERSION[:2], b"\x80", b"\x0b\x00", primitive(b"Cast")[:-1]])
def test_what_is_no_protobuf_message_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ExportError, match=r"MindSpore Lite wrote no MINDIR to a\.mindir"):
        sorted_file(tmp_path / "a.mindir", data)


def test_the_file_has_the_documented_form() -> None:
    # "Dynamic BatchSize" of the MindSpore Lite 2.0 documentation, converter_tool_ascend.
    documented = """\
[ascend_context]
input_shape=images:[-1,224,224,3]
dynamic_dims=[1],[2],[4],[8]
precision_mode=enforce_fp16
"""
    assert config_text("images", [224, 224, 3], [1, 2, 4, 8], "enforce_fp16") == documented


def test_one_gear_is_no_dynamic_dimension() -> None:
    text = config_text("images", [28, 28, 3], [8], "enforce_fp32")
    assert text == "[ascend_context]\nprecision_mode=enforce_fp32\n"


@pytest.mark.parametrize(
    ("soc", "value"), [(None, "ascend_oriented"), ("910b", "ascend_oriented:910b")]
)
def test_the_npu_is_named_as_the_converter_wants_it(soc: str | None, value: str) -> None:
    assert optimize(soc) == value


def test_what_may_be_float16_counts_as_float16() -> None:
    assert {mode for mode, precision in PRECISIONS.items() if precision == "fp32"} == {
        "enforce_fp32",
        "enforce_origin",
    }
