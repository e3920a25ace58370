"""The flags of an export."""

from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from export.config import ExportConfig


def parse(*arguments: str) -> ExportConfig:
    return CliApp.run(ExportConfig, cli_args=["--ckpt_file", "best.ckpt", *arguments])


def test_one_checkpoint_is_enough() -> None:
    config = parse()
    assert (config.file_format, config.device_target, str(config.output)) == (
        ("ONNX",),
        "CPU",
        "bundles",
    )
    assert (config.name, config.version, config.images) == (None, None, None)


def test_the_upstream_flags_work() -> None:
    config = parse(
        *("--device_id", "1", "--batch_size", "4", "--width", "224", "--height", "224"),
        *("--file_name", "resnext152", "--file_format", "AIR", "--device_target", "Ascend"),
    )
    assert (config.device_id, config.batch_size, config.file_name) == (1, 4, "resnext152")
    assert (config.width, config.height, config.file_format) == (224, 224, ("AIR",))


def test_formats_come_with_commas_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("ONNX", "MINDIR")
    assert parse("--file_format", "ONNX,MINDIR").file_format == both
    assert parse("--file_format", "ONNX", "--file_format", "MINDIR").file_format == both
    monkeypatch.setenv("EXPORT_FILE_FORMAT", "ONNX,MINDIR")
    assert parse().file_format == both
    assert parse("--file_format", "MINDIR").file_format == ("MINDIR",)


@pytest.mark.parametrize(
    ("batch_size", "buckets"),
    [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (32, [1, 2, 4, 8, 16, 32])],
)
def test_buckets_are_powers_of_two_up_to_the_batch_size(
    batch_size: int, buckets: list[int]
) -> None:
    assert parse("--batch_size", str(batch_size)).buckets == buckets


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--file_format", "PICKLE"), "'ONNX', 'MINDIR' or 'AIR'"),
        (("--file_format", "ONNX,ONNX"), "each only once"),
        (("--file_format", "AIR"), "Ascend NPU alone, not on CPU.*elsewhere write ONNX"),
        (("--file_format", "AIR", "--device_target", "GPU"), "Ascend NPU alone, not on GPU"),
        (("--batch_size", "0"), "greater than 0"),
        (("--name", "../up"), "pattern"),
        (("--version", "a/b"), "pattern"),
        (("--file_name", "/tmp/model"), "pattern"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], hint: Any) -> None:
    with pytest.raises(ValidationError, match=hint):
        parse(*arguments)
