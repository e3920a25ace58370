"""A token file that changes while the server runs."""

import logging
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.access.token_file import MOST_BYTES, TokenFile
from serving.access.tokens import line, new_token
from serving.errors import StartupError


class Changing:
    """A file that has been read, and is written again."""

    def __init__(self, path: Path) -> None:
        self.path, self.registry = path, CollectorRegistry()
        self.token = new_token()
        self.write(line("alice", self.token, "read"))
        self.file = TokenFile(path, self.registry)

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.path.chmod(0o600)

    def reads(self, outcome: str) -> float | None:
        name = "serving_token_file_reads_total"
        return self.registry.get_sample_value(name, {"outcome": outcome})

    def knows(self, token: str) -> bool:
        return self.file.credentials.of_token(token) is not None


@pytest.fixture
def changing(tmp_path: Path) -> Changing:
    return Changing(tmp_path / "tokens")


def test_a_new_content_is_taken_whatever_the_time_of_the_file_says(changing: Changing) -> None:
    before, other = changing.path.stat(), new_token()
    changing.write(line("alice", other, "read"))
    os.utime(changing.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changing.path.stat().st_size == before.st_size
    changing.file.refresh()
    assert changing.knows(other)
    assert not changing.knows(changing.token)
    assert (changing.reads("ok"), changing.reads("failed")) == (2, 0)


def test_a_file_that_has_not_changed_is_not_counted(changing: Changing) -> None:
    changing.file.refresh()
    assert (changing.reads("ok"), changing.reads("failed")) == (1, 0)


@pytest.mark.parametrize("text", ["", "alice", "# nobody"])
def test_a_wrong_file_changes_nothing_and_is_told_once(
    changing: Changing, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    changing.write(text)
    for _ in range(3):
        changing.file.refresh()
    assert changing.knows(changing.token)
    assert (changing.reads("ok"), changing.reads("failed")) == (1, 1)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "the tokens that were read before stay in force" in record.message
    other = new_token()
    changing.write(line("bob", other, "read"))
    changing.file.refresh()
    assert changing.knows(other)
    assert (changing.reads("ok"), changing.reads("failed")) == (2, 1)


def test_a_file_that_is_gone_changes_nothing(
    changing: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    content = changing.path.read_text()
    changing.path.unlink()
    for _ in range(3):
        changing.file.refresh()
    assert changing.knows(changing.token)
    assert changing.reads("failed") == 1
    assert f"the token file {changing.path} cannot be read: No such file" in caplog.text
    changing.write(content)
    changing.file.refresh()
    changing.path.unlink()
    changing.file.refresh()
    assert changing.reads("failed") == 2  # it is told again


def test_a_link_that_is_exchanged_is_followed(tmp_path: Path) -> None:
    """So files change that Kubernetes mounts."""
    old, new = new_token(), new_token()
    for name, token in {"old": old, "new": new}.items():
        (tmp_path / name).write_text(line("alice", token, "read"))
    link = tmp_path / "tokens"
    link.symlink_to("old")
    file = TokenFile(link, CollectorRegistry())
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").rename(link)
    file.refresh()
    assert file.credentials.of_token(new)
    assert not file.credentials.of_token(old)


def test_a_file_that_all_may_read_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens"
    path.write_text(line("alice", new_token(), "read"))
    path.chmod(0o644)
    TokenFile(path, CollectorRegistry())
    assert f"anybody on this machine may read {path}: chmod 600" in caplog.text


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    good = line("alice", new_token(), "read")
    open_to_all, large, pipe = (tmp_path / name for name in ("open", "large", "pipe"))
    open_to_all.write_text(good)
    open_to_all.chmod(0o602)
    large.write_text(good + "\n#" + "x" * MOST_BYTES)
    large.chmod(0o600)
    os.mkfifo(pipe)
    for path, complaint in {
        tmp_path / "none": "cannot be read: No such file or directory",
        tmp_path: "is not a file",
        pipe: "is not a file",
        open_to_all: "anybody on this machine may write the token file",
        large: "has more than",
    }.items():
        with pytest.raises(StartupError, match=complaint):
            TokenFile(path, CollectorRegistry())
