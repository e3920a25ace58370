"""The command as an operator runs it: its flags, what it prints, and its exit code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import CliApp

from serving.doctor import command, user
from serving.doctor.command import SUBJECTS, Line, diagnose, examine, verdict
from serving.doctor.config import DoctorConfig
from serving.doctor.finding import Case, Finding
from tests.support.paths import ROOT

PORTS = ("--grpc-port", "0", "--http-port", "0")


def run(*arguments: str | Path, limits: str = "true") -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "serving", "doctor", *map(str, arguments)]
    shell = ["bash", "-c", f'{limits} && exec "$@"', "bash"]
    return subprocess.run([*shell, *words], cwd=ROOT, text=True, capture_output=True)


def parse(*arguments: str) -> DoctorConfig:
    return CliApp.run(DoctorConfig, cli_args=list(arguments))


def test_a_model_that_works_has_code_0_and_every_check_a_line(tiny: Path) -> None:
    done = run(tiny, *PORTS, "--json")
    assert done.returncode == 0, done.stdout
    lines = [Line(**line) for line in json.loads(done.stdout)]
    assert [*dict.fromkeys(line.check for line in lines)] == [
        subject.replace("_", " ") for subject in SUBJECTS
    ]
    assert {line.status for line in lines} <= {"ok", "warn"}
    assert all(line.advice for line in lines if line.status == "warn")
    assert done.stderr == ""


def test_one_that_does_not_has_code_1_and_hides_nothing(tiny: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "one,\x1b[2J"
    done = run(stranger, tiny, *PORTS)
    assert done.returncode == 1
    assert rf"{tmp_path}/one,\x1b[2J is not a bundle: there is no such folder" in done.stdout
    assert "\x1b" not in done.stdout
    assert "3 golden images: pixels equal" in done.stdout
    lines = done.stdout.splitlines()
    told = next(i for i, line in enumerate(lines) if "there is no such folder" in line)
    assert lines[told].startswith("fail  models: ")
    assert lines[told + 1].startswith(" " * 6)  # what to do about it
    assert all(line == line.rstrip() for line in lines), "as wide as a table"
    assert done.stdout.rstrip().endswith(": a server with these settings would not work.")
    assert done.stderr == ""


def test_a_wrong_call_has_code_2() -> None:
    for arguments, told in (
        ((), "required: --model (a bundle directory), --repository, or both"),
        (("a", "--threads", "0"), "--threads: Input should be greater than 0"),
        (("a", "--max-inflight-images", "1"), "never be admitted with --max-inflight-images 1"),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_what_the_server_refuses_to_be_started_with_is_a_wrong_call_too() -> None:
    done = run("a", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "say so with --insecure" in done.stderr


def test_it_takes_every_flag_and_variable_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse("a", "b", "--model", "c", "--model", "a", "--threads", "3")
    assert config.model == [Path("c"), Path("a"), Path("b")]
    assert config.threads == 3
    monkeypatch.setenv("SERVING_MODEL", "e,f")
    monkeypatch.setenv("SERVING_HTTP_PORT", "1")
    config = parse("a")
    assert config.model == [Path("e"), Path("f"), Path("a")]
    assert config.http_port == 1
    assert parse().model == [Path("e"), Path("f")]


def test_a_check_that_fails_itself_is_told_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(case: Case) -> Iterator[Finding]:
        yield Finding("ok", "all is well")
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(user, "check", broken)
    monkeypatch.setattr(command, "SUBJECTS", ("missing_one", "user", "variables"))
    missing, well, failed, last = diagnose(Case(parse("a")))
    assert missing.status == failed.status == "fail"
    assert "ModuleNotFoundError" in missing.found
    assert well.found == "all is well"
    assert failed.found == "the check itself has failed: ZeroDivisionError: by nought"
    assert "Traceback" in caplog.text
    assert (last.check, last.status) == ("variables", "ok")


@pytest.mark.parametrize(
    ("check", "flags", "found"),
    [
        ("cpu", ("--device", "abacus"), "unknown device 'abacus'; use cpu, cuda"),
        ("access", ("--token-file", "/no/file"), "the token file /no/file cannot be read: No such"),
    ],
)
def test_what_the_server_would_refuse_is_a_finding(
    check: str, flags: tuple[str, ...], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SUBJECTS", (check,))
    *_, line = diagnose(Case(parse("a", *flags)))
    assert line.status == "fail"
    assert line.found.startswith(found)


def test_the_verdict_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [Line("a", "warn", "", ""), Line("a", "ok", "", ""), Line("b", "fail", "", "")]
    assert verdict(lines).startswith("1 failure, 1 warning: a server with these settings would not")
    assert (
        verdict(lines[1:2]) == "no failures, no warnings: a server with these settings would work."
    )
    for held, code in ((lines[:2], 0), (lines, 1)):
        monkeypatch.setattr(command, "diagnose", lambda _, held=held: held)
        assert examine(parse("a")) == code
        assert "warning" in capsys.readouterr().out


def test_help_is_quick_and_lists_the_flags_of_the_server() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "usage: python -m serving doctor" in done.stdout
    assert "--max-inflight-images" in done.stdout
