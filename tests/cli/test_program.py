"""The shell: commands, flags, exit codes, and how mistakes are told."""

import os
import socket
import subprocess
import sys
from typing import IO, Literal, Self

import pytest
from pydantic import Field, PositiveInt, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from cli.program import FLAGS, Alias, Command, UsageError, main


class Cook(BaseSettings):
    """Cook eggs."""

    model_config = SettingsConfigDict(**FLAGS, env_prefix="COOK_", extra="forbid")

    egg_count: PositiveInt = Field(description="how many")
    boil_s: float = 300.0
    pan: Literal["flat"] | Literal["wok"] | int = "flat"
    sizes: tuple[int, int] = Field((5, 4), description="length,width in cm")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.egg_count > 12:
            raise ValueError("a pot holds 12 eggs")
        return self


class BurntError(Exception):
    """It was left on the stove."""


def cook(settings: Cook) -> int | None:
    if settings.boil_s > 1000:
        raise BurntError(f"{settings.boil_s:g} s were too long")
    if settings.boil_s < 0:
        raise KeyboardInterrupt
    print(f"{settings.egg_count} eggs")
    return 3 if settings.egg_count == 3 else None


def run(*words: str) -> int:
    commands = {"": Command(Cook, cook), "again": Command(Cook, cook, failure=7)}
    return main(commands, lambda: (BurntError,), words)


@pytest.mark.parametrize("flag", ["--egg-count=2", "--egg_count=2"])
def test_flags_are_kebab_case_and_the_upstreams(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(flag) == 0
    assert capsys.readouterr().out == "2 eggs\n"


def test_underscores_of_a_value_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--egg_count=a_b") == 2
    assert "a_b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--egg-count", "0"], 2, "error: --egg-count: Input should be greater than 0\n"),
        ([], 2, "error: --egg-count: required: how many\n"),
        (["--egg-count", "13"], 2, "error: a pot holds 12 eggs\n"),
        (["--eggs", "1"], 2, "error: unrecognized arguments: --eggs 1; --help lists every flag\n"),
        (["--egg-count", "1", "--boil-s", "2000"], 1, "error: 2000 s were too long\n"),
        (["again", "--egg-count", "1", "--boil-s", "2000"], 7, "error: 2000 s were too long\n"),
        (["--egg-count", "1", "--boil-s", "-1"], 130, ""),
        (["--egg-count", "3"], 3, ""),
    ],
)
def test_exit_codes_and_messages(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == code
    assert capsys.readouterr().err == message


def test_every_mistake_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--egg-count", "0", "--boil-s", "long", "--pan", "deep") == 2
    assert [line.partition(": ")[2][:8] for line in capsys.readouterr().err.splitlines()] == [
        "--egg-co", "--boil-s", "--pan: I",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ("5", "too few values: length,width in cm"),
        ("5,4,3", "3 values, where at most 2 are taken"),
    ],
)
def test_a_number_of_values_that_is_wrong_is_told(
    sizes: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--egg-count", "2", "--sizes", sizes) == 2
    assert capsys.readouterr().err == f"error: --sizes: {reason}\n"


class Serve(BaseSettings):
    """Serve eggs."""

    model_config = SettingsConfigDict(**FLAGS, env_prefix="SERVE_")

    guest: CliPositionalArg[str]
    plate: str
    spoon: str


def test_all_that_is_missing_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"": Command(Serve, lambda _: 0)}, tuple, ["--spoon", "big"]) == 2
    assert capsys.readouterr().err == (
        "error: the following arguments are required: GUEST; --help lists every flag\n"
        "error: --plate: required\n"
    )


def test_a_mistake_is_told_of_where_it_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COOK_EGG_COUNT", "0")
    monkeypatch.setenv("Cook_Pan", "deep")
    monkeypatch.setenv("COOK_BOIL_S", "600")
    assert run("--boil-s", "long") == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "COOK_EGG_COUNT", "--boil-s", "Cook_Pan",
    ]  # fmt: skip


def test_words_after_two_dashes_stay(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--egg_count", "1", "--", "--a_b") == 2
    assert "--a_b" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "--egg_count 1"])
def test_a_closed_output_is_no_fault(words: str) -> None:
    program = (
        "import sys; from cli.program import Command, main; from cli.tables import show_rows\n"
        "from tests.cli.test_program import Cook\n"
        "run = lambda _: show_rows(['a'], [['b']])\n"
        "name = '' if sys.argv[1] != '--help' else 'cook'\n"
        "sys.exit(main({name: Command(Cook, run)}, tuple, sys.argv[1:]))"
    )
    command = f'exec "$0" -c "$1" {words} >&-'
    done = subprocess.run(["sh", "-c", command, sys.executable, program], check=False, stderr=-1)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        main({"": Command(Cook, lambda _: 1 // 0)}, lambda: (BurntError,), ["--egg-count", "1"])


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["fry"], 2), ([], 2)])
def test_without_a_command_all_are_listed(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main({"cook": Command(Cook, cook)}, tuple, words) == code
    said = capsys.readouterr()
    assert "  cook  Cook eggs." in said.out + said.err


def test_an_alias_gets_the_words_that_follow(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"fry": Alias("Fry eggs.", lambda words: len(words))}
    assert main(commands, tuple, ["fry", "--a_b", "--help"]) == 2
    assert main(commands, tuple, ["--help"]) == 0
    assert "  fry  Fry eggs." in capsys.readouterr().out


def test_a_wrong_call_may_be_found_out_late(capsys: pytest.CaptureFixture[str]) -> None:
    def cook(_: Cook) -> None:
        raise UsageError("no eggs in the fridge")

    assert main({"": Command(Cook, cook, failure=7)}, tuple, ["--egg-count", "1"]) == 2
    assert capsys.readouterr().err == "error: no eggs in the fridge\n"


def test_a_broken_pipe_that_is_not_the_output_is_a_fault() -> None:
    def send(_: Cook) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            theirs.close()
            ours.send(b"x")

    with pytest.raises(BrokenPipeError):
        main({"": Command(Cook, send)}, tuple, ["--egg-count", "1"])


def test_a_reader_that_leaves_ends_a_program_quietly() -> None:
    program = (
        "import sys; from cli.program import Command, main; from pydantic_settings import "
        "BaseSettings\n"
        "def run(_):\n"
        "    for _ in range(100_000): print('eggs')\n"
        "sys.exit(main({'': Command(BaseSettings, run)}, tuple, []))"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("words", ["--help", "--egg-count 1", "--eggs"])
@pytest.mark.parametrize("output", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_files_take_nothing_and_hurt_nobody(words: str, output: str) -> None:
    done = start(words, output)
    assert done.returncode == (2 if words == "--eggs" else 0)
    assert (b"error" in done.stdout, b"error" in done.stderr) == (
        False, words == "--eggs" and output == ">&-",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "unbuffered"), [("--help", ""), ("--egg-count 1", ""), ("--egg-count 1", "1")]
)
def test_a_full_disk_is_told_in_a_sentence(words: str, unbuffered: str) -> None:
    done = start(words, ">/dev/full", unbuffered)
    assert (done.returncode, done.stderr) == (
        1, b"error: the output cannot be written: No space left on device\n",
    )  # fmt: skip


@pytest.mark.parametrize("words", ["--help", "--egg-count 1"])
def test_a_reader_that_left_before_the_first_line_is_no_fault(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = start(words, stdout=pipe)
    assert (done.returncode, done.stderr) == (1, b"")


def start(
    words: str, output: str = "", unbuffered: str = "", stdout: int | IO[str] = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    """Run `cook` in a process, with its standard files as a shell's `output` sets them."""
    program = (
        "import sys; from cli.program import Command, main\n"
        "from tests.cli.test_program import Cook, cook\n"
        "sys.exit(main({'': Command(Cook, cook)}, tuple, sys.argv[1:]))"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {words} {output}', sys.executable, program]
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(command, check=False, stdout=stdout, stderr=-1, env=environment)
