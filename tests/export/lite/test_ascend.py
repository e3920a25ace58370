import pytest

from export.lite.ascend import PRECISIONS, config_text, optimize


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
