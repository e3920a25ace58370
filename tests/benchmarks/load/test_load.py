"""The load tester against a real gRPC server with scripted answers."""

import json
import os
import subprocess
import sys
import threading
import time
from queue import SimpleQueue

import grpc
import numpy as np
import pytest

from benchmarks.load.loops import Sample, Target, closed_loop, open_loop
from benchmarks.load.wire import GrpcioVersionError, Wire, read_requests
from cli.program import UsageError
from protos import classifier_pb2 as pb

IMAGE = pb.ClassifyRequest(images=[pb.Image(encoded=b"x")]).SerializeToString()


def _load(server, loop, *, timeout_s: float = 5.0, **options) -> list[Sample]:
    with Wire(server.address) as wire:
        return loop(Target(wire, [IMAGE], timeout_s=timeout_s), **options)


def test_a_closed_loop_keeps_its_callers_busy(server):
    samples = _load(server, closed_loop, concurrency=3, seconds=1.0)
    assert len(samples) == len(server.requests) > 3
    assert all(s.code is grpc.StatusCode.OK and s.done > s.due for s in samples)
    [result] = pb.ClassifyResponse.FromString(samples[0].response).results
    assert result.timing.batch_images == 3


def test_no_proxy_is_asked_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    samples = _load(server, closed_loop, concurrency=1, seconds=0.05)
    assert {sample.code for sample in samples} == {grpc.StatusCode.OK}


@pytest.mark.parametrize(("name", "why"), [("pipe.png", "a named pipe"), ("gone.png", "No such")])
def test_an_image_that_cannot_be_read_is_a_wrong_call(name, why, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nothing")
    with pytest.raises(UsageError, match=f"{name} cannot be read: .*{why}"):
        read_requests(str(tmp_path / name))


def test_an_open_loop_does_not_wait_for_answers(server):
    server.may_answer.clear()
    arrivals = np.array([0.0, 0.05, 0.1])

    def answer_when_all_have_come() -> None:
        while len(server.requests) < len(arrivals):
            server.arrived.wait()
            server.arrived.clear()
        server.may_answer.set()

    threading.Thread(target=answer_when_all_have_come, daemon=True).start()
    before = time.monotonic()
    samples = _load(server, open_loop, arrivals=arrivals)
    assert [s.code for s in samples] == [grpc.StatusCode.OK] * 3
    assert [s.due - samples[0].due for s in samples] == pytest.approx(arrivals.tolist())
    # The first was held until the last had come: its latency says so.
    assert samples[0].done - samples[0].due >= 0.1
    assert samples[0].due >= before


def test_a_deadline_counts_from_when_a_request_was_due(server):
    ended: SimpleQueue[Sample] = SimpleQueue()
    with Wire(server.address) as wire:
        target = Target(wire, [IMAGE], timeout_s=100.0)
        target.ask(time.monotonic() - 50.0, ended.put)
        assert ended.get().code is grpc.StatusCode.OK
    [left_s] = server.timeouts_s
    assert left_s <= 51.0  # gRPC rounds it up by as much as 1 %


def test_failures_are_counted_and_never_repeated(server):
    server.fail(grpc.StatusCode.UNAVAILABLE, "draining")
    codes = [s.code for s in _load(server, open_loop, arrivals=np.array([0.0, 0.05]))]
    assert sorted(code.name for code in codes) == ["OK", "UNAVAILABLE"]
    assert len(server.requests) == 2


def test_the_command_prints_a_table_and_writes_record_and_picture(server, tmp_path):
    command = [sys.executable, "-m", "benchmarks.load", "--address", server.address]
    command += ["--concurrency", "1,2", "--rate", "50", "--duration-s", "0.4", "--warm-up-s", "0"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 in flight" in done.stdout
    record = json.loads((tmp_path / "out/bench.json").read_text())
    assert [r["load"] for r in record["runs"]] == ["1 in flight", "2 in flight", "50 per s"]
    assert all(r["errors"] == {} and r["goodput"] > 0 for r in record["runs"])
    assert record["model"]["name"] == "m"
    assert (tmp_path / "out/bench.png").read_bytes().startswith(b"\x89PNG")


def test_the_clients_command_line_starts_it(server):
    command = [sys.executable, "-m", "clients", "bench", "--address", server.address]
    command += ["--concurrency", "1", "--duration-s", "0.1", "--warm-up-s", "0"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 in flight" in done.stdout


def test_a_grpcio_that_is_not_known_is_refused(server, monkeypatch):
    monkeypatch.setattr(grpc, "__version__", "1.86.0")
    with pytest.raises(GrpcioVersionError, match=r"needs grpcio 1\.85, and this is 1\.86\.0"):
        Wire(server.address)
