"""What a server takes from a choice, and which choices do not hold."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic_settings import CliApp

from bundle.store import Bundle
from serving.config import ServingConfig
from serving.tune import record
from serving.tune.record import Choice, Key, Settings, write
from serving.tune.use import with_tuned
from tests.support.serving import running_server

FOUND = Settings(runtime="onnxruntime", precision="fp32", instances=1, threads=1, buckets=(1, 2))


def choice(tiny: Path, slo_ms: int | None = None, settings: Settings | None = FOUND) -> Choice:
    return Choice(
        key=Key.here(Bundle.open(tiny).digest, slo_ms),
        settings=settings,
        times_defaults=1.5,
        noise=0.1,
        measured=datetime.now(UTC),
    )


def taken(tiny: Path, tmp_path: Path, **flags: object) -> ServingConfig:
    """Return the settings of a server with these flags."""
    given = {"model": [tiny], "cache_dir": tmp_path, "tuned": "auto", **flags}
    return with_tuned(Bundle.open(tiny), ServingConfig.model_validate(given))


async def test_a_server_takes_what_was_found(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write(choice(tiny), tmp_path)
    async with running_server(tiny, cache_dir=tmp_path, tuned="auto") as server:
        [model] = server.repository.all()
        assert model.buckets == (1, 2)
        assert len(model.devices) == 1
    [line] = [message for message in caplog.messages if "tuned settings" in message]
    assert "--instances 1, --threads 1, --buckets 1,2" in line
    assert line.endswith(f"({path}); --tuned off ignores them")


def test_flags_win_and_with_them_what_only_goes_together(tiny: Path, tmp_path: Path) -> None:
    write(choice(tiny), tmp_path)
    config = taken(tiny, tmp_path, threads=2)
    assert (config.threads, config.instances, config.buckets) == (2, None, (1, 2))
    config = taken(tiny, tmp_path, buckets=(1, 8))
    assert (config.instances, config.buckets) == (1, (1, 8))
    config = taken(tiny, tmp_path, precision="fp32")
    assert (config.runtime, config.instances) == ("onnxruntime", 1)


@pytest.mark.parametrize("flags", [{"runtime": "auto"}, {"precision": "int8"}])
def test_nothing_is_taken_for_another_runtime_or_precision(
    tiny: Path, tmp_path: Path, flags: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(choice(tiny), tmp_path)
    config = taken(tiny, tmp_path, **flags)
    assert (config.instances, config.buckets) == (None, None)
    assert "not used: they are for --runtime onnxruntime --precision fp32 (" in caplog.text


def test_flags_of_a_command_line_win(tiny: Path, tmp_path: Path) -> None:
    write(choice(tiny), tmp_path)
    flags = ["--model", str(tiny), "--cache-dir", str(tmp_path), "--tuned", "auto"]
    config = CliApp.run(ServingConfig, cli_args=[*flags, "--buckets", "1,4"])
    config = with_tuned(Bundle.open(tiny), config)
    assert (config.instances, config.buckets) == (1, (1, 4))


def test_variables_win(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(choice(tiny), tmp_path)
    monkeypatch.setenv("SERVING_INSTANCES", "2")
    monkeypatch.setenv("SERVING_TUNED", "auto")
    config = ServingConfig(model=[tiny], cache_dir=tmp_path)
    config = with_tuned(Bundle.open(tiny), config)
    assert (config.instances, config.threads, config.buckets) == (2, 1, (1, 2))


@pytest.mark.parametrize(
    "flags", [{"tuned": "off"}, {"slo_ms": 20}, {"device": "cuda"}, {"cache_dir": None}]
)
def test_a_choice_for_something_else_is_not_taken(
    tiny: Path, tmp_path: Path, flags: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    write(choice(tiny), tmp_path)
    assert taken(tiny, tmp_path, **flags).instances is None
    assert caplog.messages == []


def test_a_choice_for_the_same_slo_is_taken(tiny: Path, tmp_path: Path) -> None:
    write(choice(tiny, slo_ms=20), tmp_path)
    assert taken(tiny, tmp_path, slo_ms=20).instances == 1
    assert taken(tiny, tmp_path, slo_ms=30).instances is None
    assert taken(tiny, tmp_path).instances is None


@pytest.mark.parametrize("name", ["cpu_model", "usable_cores"])
def test_a_choice_of_another_machine_is_not_taken(
    tiny: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(choice(tiny), tmp_path)
    monkeypatch.setattr(record, name, lambda: "another")
    assert taken(tiny, tmp_path).instances is None


def test_a_choice_of_other_libraries_is_not_taken_and_that_is_said(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = choice(tiny)
    versions = made.key.versions | {"onnxruntime": "1.0"}
    write(
        made.model_copy(update={"key": made.key.model_copy(update={"versions": versions})}),
        tmp_path,
    )
    assert taken(tiny, tmp_path).instances is None
    [line] = caplog.messages
    assert "it was made with onnxruntime 1.0, and this is 1." in line
    assert "tune again (python -m serving tune" in line


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "Invalid JSON"),
        ('{"key": {', "Invalid JSON"),
        (None, "settings.buckets: [4, 2] must ascend"),
    ],
)
def test_a_damaged_choice_costs_a_warning(
    tiny: Path,
    tmp_path: Path,
    content: str | None,
    complaint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write(choice(tiny), tmp_path)
    broken = path.read_text().replace("1,\n      2", "4,\n      2")
    path.write_text(broken if content is None else content)
    assert taken(tiny, tmp_path).instances is None
    [line] = caplog.messages
    assert f"{path}: not used: it is damaged (" in line
    assert complaint in line
    assert "tune again" in line


def test_a_choice_that_cannot_be_read_costs_a_warning(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Key.here(Bundle.open(tiny).digest, None).file(tmp_path)
    path.mkdir(parents=True)
    assert taken(tiny, tmp_path).instances is None
    assert "cannot be read (Is a directory)" in caplog.text


def test_a_runtime_that_is_not_there_any_more_costs_a_warning(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = FOUND.model_copy(update={"runtime": "mindspore-lite"})
    write(choice(tiny, settings=missing), tmp_path)
    assert taken(tiny, tmp_path).instances is None
    assert "the tuned settings are not used" in caplog.text


@pytest.mark.parametrize(
    ("absurd", "complaint"),
    [
        ({"instances": 1024, "threads": 1024}, "they take 1048576 threads, and this process may"),
        ({"buckets": (1, 4096)}, "the bundle states no batches of 4096"),
    ],
)
def test_a_choice_that_asks_for_more_than_there_is_costs_a_warning(
    tiny: Path,
    tmp_path: Path,
    absurd: dict[str, object],
    complaint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(choice(tiny, settings=FOUND.model_copy(update=absurd)), tmp_path)
    config = taken(tiny, tmp_path)
    assert (config.instances, config.threads, config.buckets) == (None, 1, None)
    assert complaint in caplog.text


def test_another_user_may_read_a_choice(tiny: Path, tmp_path: Path) -> None:
    assert write(choice(tiny), tmp_path).stat().st_mode & 0o777 == 0o644


def test_that_the_defaults_are_best_is_known_too(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(choice(tiny), tmp_path)
    write(choice(tiny, settings=None), tmp_path)
    assert taken(tiny, tmp_path).instances is None
    assert "the defaults are best here" in caplog.text


def test_a_choice_is_written_whole_or_not_at_all(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = write(choice(tiny), tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(choice(tiny, settings=None), tmp_path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
