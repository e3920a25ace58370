"""The process: exit codes, messages, signals."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.program import INTERRUPTED
from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.lifecycle import UNFINISHED
from tests.serving.api.messages import png
from tests.support.process import metric, ready, start


def refusal(bundle: Path, *flags: str) -> str:
    """Return the message of a server that cannot start."""
    process = start(bundle, *flags)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(tiny: Path, signum: signal.Signals) -> None:
    process = start(tiny)
    server = ready(process)
    process.send_signal(signum)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == ""
    assert "Traceback" not in errors
    assert server.grpc.startswith("localhost:")
    assert server.http.startswith("http://localhost:")
    image = f"{tiny}/golden/ant_0.png"
    assert server.command.endswith(f"-m clients classify {image} --address {server.grpc}")
    assert server.curl == f"curl -T {image} {server.http}/v1/classify"


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port"])
def test_a_taken_port_is_named_with_its_flag(tiny: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        message = refusal(tiny, flag, port)
    assert port in message
    assert flag in message


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path} is not a bundle: it holds no manifest.json" in refusal(tmp_path)


BARE = """
import os, pwd, runpy

def no_entry(_):
    raise KeyError

os.environ.pop("HOME", None)
pwd.getpwuid = no_entry
runpy.run_module("serving", run_name="__main__")
"""


def test_a_user_without_home_and_closed_files_keep_it_from_nothing(tiny: Path) -> None:
    program = ("-c", 'exec "$0" "$@" <&- >&-', sys.executable, "-c", BARE)
    process = start(tiny, executable="sh", program=program)
    assert process.stderr
    assert any("ready after" in line for line in process.stderr)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


async def test_strangers_and_a_log_that_nobody_reads_stop_nothing(tiny: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    process = start(tiny, stderr=writer)
    try:
        server = await asyncio.to_thread(ready, process)
        address = server.http.rpartition("/")[2]
        async with asyncio.timeout(60), grpc.aio.insecure_channel(server.grpc) as channel:
            for _ in range(50):
                await throw_garbage(*address.split(":"))
                await throw_garbage(*server.grpc.split(":"))
            check = health_pb2_grpc.HealthStub(channel).Check
            answer = await check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert metric(server, "serving_log_lines_dropped_total") > 0
        process.terminate()
        assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        process.kill()
        process.communicate()
        os.close(writer)
        os.close(reader)


async def throw_garbage(host: str, port: str) -> None:
    """Send what is no request; return when the server has closed the connection."""
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01 garbage \x1b[31m\r\n" * 10)
    with suppress(ConnectionError):
        await reader.read()
    writer.close()


def test_a_changed_bundle_is_refused(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "1")
    (copy / "golden/ant_0.png").write_bytes((copy / "golden/bee_1.png").read_bytes())
    assert "changed since it was sealed: golden/ant_0.png" in refusal(copy)


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    assert "onnxruntime-gpu" in refusal(tiny, "--device", "cuda")


def test_a_client_that_does_not_read_does_not_keep_it_alive(tiny: Path) -> None:
    process = start(tiny)
    port = int(ready(process).http.rpartition(":")[2])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.settimeout(1)
        with pytest.raises(OSError, match=r"reset|pipe|timed out"):  # the server's end, or its own
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


HELD = """
import asyncio, runpy, threading
import serving.repository.transitions as transitions
import serving.server as server

def held_load(*_):
    print("held", flush=True)
    threading.Event().wait()

async def held_drain(_):
    print("held", flush=True)
    await asyncio.Event().wait()

def held_decode(*_):
    print("held", flush=True)
    threading.Event().wait()

from serving.engine.sources import Encoded

{patch}
runpy.run_module("serving", run_name="__main__")
"""


def start_held(
    patch: str, bundle: Path, *flags: str, stderr: int | None = None
) -> subprocess.Popen[str]:
    """Start a server of which one step never ends."""
    return start(bundle, *flags, program=("-c", HELD.format(patch=patch)), stderr=stderr)


def wait_for(process: subprocess.Popen[str], start_of_line: str) -> None:
    assert process.stdout
    assert any(line.startswith(start_of_line) for line in process.stdout)


def test_a_signal_while_loading_ends_it_at_once(tiny: Path) -> None:
    process = start_held("transitions.load_bundle = held_load", tiny)
    wait_for(process, "held")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


EARLY = """
import runpy, sys, threading

class Held:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            print("held", flush=True)
            threading.Event().wait()

sys.meta_path.insert(0, Held())
runpy.run_module("serving", run_name="__main__")
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["cli.program", "uvloop", "serving.server"])
def test_a_signal_while_it_is_imported_ends_it_well(
    module: str, signum: signal.Signals, tiny: Path
) -> None:
    process = start(tiny, program=("-c", EARLY.format(module=module)))
    wait_for(process, "held")
    process.send_signal(signum)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_ctrl_c_while_another_command_is_imported_is_no_success(tiny: Path) -> None:
    program = ("-c", EARLY.format(module="serving.doctor.command"), "doctor")
    process = start(tiny, program=program)
    wait_for(process, "held")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == INTERRUPTED


def test_a_second_signal_forces_the_end(tiny: Path) -> None:
    process = start_held("server.Server.drain = held_drain", tiny)
    ready(process)
    process.send_signal(signal.SIGINT)
    wait_for(process, "held")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize("decode_threads", ["1", "0"], ids=["threads decode", "devices decode"])
def test_a_decode_that_never_ends_does_not_keep_it_alive(tiny: Path, decode_threads: str) -> None:
    flags = ("--grace-period-s", "0.1", "--decode-threads", decode_threads)
    process = start_held("Encoded.pixels = held_decode", tiny, *flags, stderr=subprocess.PIPE)
    with grpc.insecure_channel(ready(process).grpc) as channel:
        request = pb.ClassifyRequest(images=[png(1)])
        call = ClassifierStub(channel).Classify.future(request, timeout=60)
        wait_for(process, "held")
        process.send_signal(signal.SIGTERM)
        assert call.exception(60)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == UNFINISHED
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert "not ended within 1.1 s: " in last
    assert ": decoding an image (format PNG, " in last


WITHOUT_OPENTELEMETRY = """
import runpy, sys
# FastAPI needs the API of OpenTelemetry, which does nothing by itself.
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
sys.argv[0] = "serving"
runpy.run_module("serving", run_name="__main__", alter_sys=True)
"""


def test_a_collector_without_opentelemetry_is_an_error_that_says_what_to_install(
    tiny: Path,
) -> None:
    program = "-c", WITHOUT_OPENTELEMETRY
    process = start(tiny, "--otlp-endpoint", "http://localhost:4317", program=program)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip install 'resnext-serving[tracing]'" in errors
    assert "Traceback" not in errors


def test_nothing_of_opentelemetry_is_needed_without_a_collector(tiny: Path) -> None:
    process = start(tiny, "--access-log", "all", program=("-c", WITHOUT_OPENTELEMETRY))
    ready(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_wrong_variable_of_opentelemetry_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "best")
    assert "OTEL_EXPORTER_OTLP_" in refusal(tiny, "--otlp-endpoint", "http://localhost:4317")
