"""The command line as a process of its own, against a real gRPC server."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(server) -> Run:
    def run(*args: object, **options: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "clients", "classify", *map(str, args)]
        if "--address" not in args:
            command += ["--address", server.address]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run(command, text=True, timeout=60, check=False, **streams)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(10):
        (tmp_path / f"{index}.png").write_bytes(f"image {index}".encode())
    return tmp_path


def test_a_table_shows_label_and_probabilities(run, folder):
    done = run(folder / "3.png", "--top-k", 2)
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = [line for line in done.stdout.splitlines() if "3.png" in line]
    assert row.split() == [str(folder / "3.png"), "Coat", "75.0%", "Bag", "12.5%"]


def test_a_multilabel_model_has_a_table_of_its_own(server, run, folder):
    server.task = "multilabel"
    (folder / "4.png").write_bytes(b"bad")
    done = run(folder / "3.png", folder / "4.png")
    three, four = [line.split() for line in done.stdout.splitlines() if ".png" in line]
    assert three[1:] == ["Coat", "75.0%", "Bag", "12.5%,", "Dress", "12.5%"]
    assert four[1:] == ["failed", "INVALID_ARGUMENT:", "not", "an", "image"]
    server.first = 0.25
    [row] = [line for line in run(folder / "3.png").stdout.splitlines() if ".png" in line]
    assert row.split()[1:3] == ["Coat", "25.0%,"]


def test_json_never_holds_what_is_no_number(server, run, folder):
    server.first = float("nan")
    done = run(folder / "3.png", "--json")
    assert json.loads(done.stdout, parse_constant=pytest.fail)["error"] == (
        "INTERNAL: the server's probabilities are no numbers"
    )
    assert done.returncode == 1


def test_json_has_an_object_per_line(run, folder):
    done = run(folder, "--json", "--top-k", 2)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == [str(folder / f"{i}.png") for i in range(10)]
    assert lines[0]["classes"] == [
        {"index": 1, "label": "Coat", "probability": 0.75},
        {"index": 0, "label": "Bag", "probability": 0.125},
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_many_files_share_requests_within_the_servers_limit(server, run, folder):
    run(folder, "--model", "m", "--version", "2", "--timeout-s", "30")
    assert sorted(len(request.images) for request in server.requests) == [2, 4, 4]
    assert {(request.model, request.version) for request in server.requests} == {("m", "2")}
    assert all(15 < timeout_s < 31 for timeout_s in server.timeouts_s), server.timeouts_s


def test_a_bad_file_fails_alone_and_shows_in_the_exit_status(run, folder):
    (folder / "5.png").write_bytes(b"bad")
    done = run(folder / "*.png", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[5]["error"] == "INVALID_ARGUMENT: not an image"
    assert sum("classes" in line for line in lines) == 9
    assert done.returncode == 1


def test_a_single_bad_file_is_a_row_of_the_table(run, folder):
    (folder / "5.png").write_bytes(b"bad")
    done = run(folder / "5.png")
    (row,) = [line for line in done.stdout.splitlines() if "5.png" in line]
    assert row.rstrip().endswith("INVALID_ARGUMENT: not an image")
    assert (done.returncode, done.stderr) == (1, "")


def test_files_that_cannot_be_sent_hurt_no_other(run, folder):
    for name in ("4.png", "6.png", "7.png"):
        (folder / name).unlink()
    (folder / "4.png").symlink_to("missing")
    with (folder / "5.png").open("wb") as huge:
        huge.truncate(40_000_000)
    os.mkfifo(folder / "6.png")
    (folder / "7.png").symlink_to("7.png")
    done = run(folder, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[4]["error"] == "NOT_FOUND: cannot be read: No such file or directory"
    assert "the file has 40000000 bytes; at most" in lines[5]["error"]
    assert lines[6]["error"] == "NOT_FOUND: cannot be read: it is a named pipe, not a file"
    assert lines[7]["error"] == "NOT_FOUND: cannot be read: Too many levels of symbolic links"
    assert sum("classes" in line for line in lines) == 6
    assert (done.returncode, done.stderr) == (1, "")


def test_any_name_can_be_given_and_none_reaches_the_terminal_raw(server, run, tmp_path):
    names = ["a,b.png", "[1].png", '"q".png', "\x1b[2J\x07\n.png", "ü.png", "\udcff.png", "12"]
    for name in names:
        (tmp_path / name).write_bytes(b"bad" if name == "ü.png" else b"x")
    server.complaint = "\x1b[2J no image"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    done = run(*(tmp_path / name for name in names), env=environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.isascii()
    assert not set(done.stdout) & {"\x1b", "\x07"}
    for shown in ("a,b.png", "[1].png", '"q".png', r"\x1b[2J\x07\n.png", r"\xfc.png", r"\xff.png"):
        assert f"{tmp_path}/{shown} " in done.stdout
    assert r"\x1b[2J no image" in done.stdout


def test_a_long_name_is_not_cut_in_a_pipe(run, folder):
    path = folder / ("n" * 200 + " [red].png")
    path.write_bytes(b"x")
    assert str(path) in run(path).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing.png"], "error: no such file, folder or glob: nothing.png"),
        ([], "the following arguments are required: PATHS"),
        (["x.png", "--top-k", "-1"], "error: --top-k: Input should be greater than or equal to 0"),
        (
            ["x.png", "--timeout-s", "inf"],
            "--timeout-s: Input should be less than or equal to 86400",
        ),
        (["x.png", "--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_a_wrong_call_exits_with_2(run, args, message):
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_an_unreachable_server_is_one_line(run, folder):
    done = run(folder, "--address", "localhost:1")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: UNAVAILABLE: no server answers at localhost:1")


def test_an_unknown_model_is_one_line(run, folder):
    done = run(folder, "--model", "other")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: NOT_FOUND: no model other; loaded: m\n"


def test_progress_is_drawn_on_a_terminal_and_stays_out_of_the_output(run, folder):
    ours, theirs = pty.openpty()
    done = run(folder, "--json", stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Classifying" in drawn
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 10
