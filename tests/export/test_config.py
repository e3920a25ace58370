"""The flags of an export."""

import pytest

from cli import program
from export.__main__ import main
from export.config import ExportConfig


def parse(*arguments: str) -> ExportConfig:
    """Return the settings that a command line gives."""
    parsed = list[ExportConfig]()
    commands = {"": program.Command(ExportConfig, parsed.append)}
    assert program.main(commands, tuple, ["--ckpt-file", "best.ckpt", *arguments]) == 0
    return parsed[0]


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
    assert parse("--file-format", "ONNX,MINDIR").file_format == both
    assert parse("--file-format", "ONNX", "--file-format", "MINDIR").file_format == both
    monkeypatch.setenv("EXPORT_FILE_FORMAT", "ONNX,MINDIR")
    assert parse().file_format == both
    assert parse("--file-format", "MINDIR").file_format == ("MINDIR",)


@pytest.mark.parametrize(
    ("batch_size", "buckets"),
    [(1, [1]), (6, [1, 2, 4, 6]), (32, [1, 2, 4, 8, 16, 32]), (128, [1, 2, 4, 8, 16, 32, 64, 128])],
)
def test_buckets_are_powers_of_two_up_to_the_batch_size(
    batch_size: int, buckets: list[int]
) -> None:
    assert parse("--batch-size", str(batch_size)).buckets == buckets


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--file-format", "PICKLE"), "'ONNX', 'MINDIR' or 'AIR'"),
        (("--file-format", "ONNX,ONNX"), "--file-format: name at least one, and each only once"),
        (("--file-format", "AIR"), "only on an Ascend NPU, not on CPU"),
        (("--file-format", "AIR"), "elsewhere write ONNX"),
        (("--file-format", "AIR", "--device-target", "GPU"), "only on an Ascend NPU, not on GPU"),
        (("--batch-size", "0"), "--batch-size: Input should be greater than 0"),
        (("--name", "../up"), "pattern"),
        (("--version", "a/b"), "pattern"),
        (("--file-name", "/tmp/model"), "pattern"),
    ],
)
def test_what_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], hint: str
) -> None:
    assert main(["--ckpt-file", "best.ckpt", *arguments]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gears", "1,2"], "--gears: for --device ascend only"),
        (["--soc", "910b"], "--soc: for --device ascend only"),
        (["--device", "ascend", "--gears", "2,1"], "--gears: [2, 1] must rise"),
        (["--device", "ascend", "--gears", "0"], "--gears: Input should be greater than 0"),
        (["--device", "cuda"], "--device: Input should be 'cpu' or 'ascend'"),
    ],
)
def test_what_does_not_fit_the_converter_is_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["convert", "nowhere", *flags]) == 2
    assert message in capsys.readouterr().err
