"""`python -m serving token`."""

import stat
from pathlib import Path

import pytest

from serving.access.command import make_token
from serving.access.identity import Identity, Role
from serving.access.token_file import read
from serving.access.tokens import parse
from serving.errors import StartupError
from serving.settings.access import TokenConfig


def make(name: str, **settings: object) -> None:
    make_token(TokenConfig.model_validate({"name": name, **settings}))


def test_a_token_is_printed_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    make("alice", roles="classify,read")
    token, line = capsys.readouterr().out.splitlines()
    alice = Identity("alice", frozenset({Role.CLASSIFY, Role.READ}))
    assert parse(line.encode(), "tokens").of_token(token) == alice
    assert token not in line


def test_a_file_gets_one_line_after_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens"
    make("alice", file=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(path.read_text().strip())  # as editors leave it
    make("ops", roles="admin", file=path)
    tokens = capsys.readouterr().out.split()
    credentials = parse(read(path), "tokens")
    names = [identity.name for token in tokens if (identity := credentials.of_token(token))]
    assert names == ["alice", "ops"]
    assert not {*tokens} & {*path.read_text().split()}


def test_a_name_that_is_taken_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens"
    make("alice", file=path)
    before = path.read_text()
    capsys.readouterr()
    with pytest.raises(StartupError, match="line 1: the name alice is there already"):
        make("alice", file=path)
    assert path.read_text() == before
    assert capsys.readouterr().out == ""


def test_a_file_that_is_wrong_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("alice\n")
    path.chmod(0o600)
    with pytest.raises(StartupError, match="line 1: a line is"):
        make("bob", file=path)
    assert path.read_text() == "alice\n"


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be written: No such file or directory"):
        make("alice", file=tmp_path / "nowhere/tokens")
    with pytest.raises(StartupError, match="cannot be written: Is a directory"):
        make("alice", file=tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "cert:x", "-a", "a\n", "#a"])
def test_names_that_no_line_could_hold(name: str) -> None:
    with pytest.raises(ValueError, match="a name begins with a letter or digit"):
        make(name)


@pytest.mark.parametrize("roles", ["", "all", "classify,", "classify, read", "read,read"])
def test_roles_that_there_are_not(roles: str) -> None:
    with pytest.raises(ValueError, match="roles are classify, read, admin"):
        make("alice", roles=roles)
