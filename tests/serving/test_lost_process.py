"""A server whose GPU is lost for its process: what its callers are told, and how it ends."""

import os
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.lifecycle import DEVICE_LOST
from tests.serving.api.messages import flat, png
from tests.support.process import metric, ready, start

POISON = 200
# A server on a CPU, of which a batch with a poisoned image holds until the test opens the pipe, and
# then fails as on a GPU. Backends may not be closed any more, nor be collected.
SERVER = f"""
import os, runpy, sys
from serving.backends.ort.backend import OrtBackend
from serving.backends.ort.failures import translated

PIPE, FAILING = sys.argv.pop(1), sys.argv.pop(1)
run = OrtBackend.run

def run_as_on_a_gpu(self, buffer, images):
    if FAILING == "proof" or (buffer[:images] == {POISON}).all(axis=(1, 2, 3)).any():
        print("held", flush=True)
        open(PIPE).read()
        with translated("cuda:0", images):
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
    return run(self, buffer, images)

OrtBackend.run = run_as_on_a_gpu
OrtBackend.close = OrtBackend.__del__ = lambda self: os.abort()
runpy.run_module("serving", run_name="__main__")
"""
FLAGS = ("--instances", "1", "--decode-threads", "1", "--runtime", "onnxruntime")
SAID = (
    "CRITICAL serving.server: cuda:0 is lost for this process: CUDA failure 700: an illegal memory "
    "access was encountered; nothing can run in this process any more, which ends with exit code "
    f"{DEVICE_LOST}: start another\n"
)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def wait_until_held(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert any(line == "held\n" for line in process.stdout)


def test_callers_are_told_and_the_process_ends_without_closing_anything(
    tiny: Path, pipe: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process = start(tiny, *FLAGS, program=("-c", SERVER, str(pipe), "run"))
    processes.append(process)
    server = ready(process)
    with grpc.insecure_channel(server.grpc) as channel:
        classify = ClassifierStub(channel).Classify
        running = classify.future(pb.ClassifyRequest(images=[flat(POISON)]), timeout=60)
        wait_until_held(process)
        waiting = classify.future(pb.ClassifyRequest(images=[flat(1)]), timeout=60)
        connection = HTTPConnection(server.http.removeprefix("http://"), timeout=60)
        connection.request("POST", "/v1/classify", png(1).encoded)
        while metric(server, "serving_queue_images") < 2:
            pass
        pipe.write_text("")
        errors = [running.exception(60), waiting.exception(60)]
        assert connection.getresponse().status == 503
        connection.close()
    _, said = process.communicate(timeout=60)
    assert process.returncode == DEVICE_LOST, said
    assert [error.code() for error in errors] == [grpc.StatusCode.UNAVAILABLE] * 2
    assert "cuda:0 is lost for this process" in errors[0].details()
    assert "try another server" in errors[1].details()
    assert said.endswith(SAID)
    assert "Traceback" not in said


def test_a_gpu_that_is_lost_while_a_model_is_proved_ends_it_likewise(
    tiny: Path, pipe: Path, processes: list[subprocess.Popen[str]]
) -> None:
    process = start(tiny, *FLAGS, program=("-c", SERVER, str(pipe), "proof"))
    processes.append(process)
    wait_until_held(process)
    pipe.write_text("")
    _, said = process.communicate(timeout=60)
    assert process.returncode == DEVICE_LOST, said
    assert said.endswith(SAID)
    assert "Traceback" not in said
