"""The server and the caller of `benchmarks.recording`."""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Semaphore
from typing import Any, NamedTuple
from unittest.mock import patch

import grpc

from benchmarks.turns import by_turns
from serving.logs import Writer
from serving.record.access_log import AccessLog
from serving.record.recorder import Recorder
from serving.rpc import private_grpc
from serving.rpc.call import RpcCall
from serving.rpc.server import DirectServer

SERVICE, METHOD = "benchmark", "Answer"
PATH = f"/{SERVICE}/{METHOD}"
IN_FLIGHT = 16
UNSAMPLED = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),)
BASE = "as by default: an id"


class Variant(NamedTuple):
    """Calls with this metadata, to a server with this recorder."""

    recorder: Recorder | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    has_ids: bool = True


class Answering:
    """A method that answers at once, and reads the clock of the thread that calls it."""

    def __init__(self) -> None:
        self.first_s = self.last_s = 0.0

    def __call__(self, _message: bytes, call: RpcCall) -> None:
        """Answer."""
        self.last_s = time.thread_time()
        self.first_s = self.first_s or self.last_s
        call.finish(b"answer")


def measure(rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the CPU time per call of each turn, in microseconds, by variant."""
    with Path(os.devnull).open("w") as nowhere:
        return asyncio.run(_measure(rounds, calls, Writer(nowhere)))


async def _measure(rounds: int, calls: int, writer: Writer) -> dict[str, list[float]]:
    answering, server = Answering(), DirectServer([])
    kind = grpc.unary_unary_rpc_method_handler(answering, bytes, bytes)
    server.add_registered_method_handlers(SERVICE, {METHOD: kind})
    server.add_direct_method(PATH, answering)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with _caller(port) as caller:
        turns = {
            name: partial(_turn, server, answering, caller, variant, calls)
            for name, variant in _variants(writer).items()
        }
        taken = await asyncio.to_thread(by_turns, turns, rounds)
    await server.stop(0)
    return taken


def _variants(writer: Writer) -> dict[str, Variant]:
    collector: Any = lambda _record: None  # noqa: E731
    tracing = Recorder(None, collector, 0.0)
    errors, everything = (
        Recorder(AccessLog(writer.put, "json", only_errors=only), None, 0.0)
        for only in (True, False)
    )
    return {
        BASE: Variant(),
        "no id": Variant(has_ids=False),
        "the caller's id": Variant(metadata=(("x-request-id", "0af7651916cd43dd"),)),
        "--otlp-endpoint": Variant(tracing),
        "a trace context that nobody reads": Variant(metadata=UNSAMPLED),
        "--otlp-endpoint, an unsampled context": Variant(tracing, UNSAMPLED),
        "--access-log errors": Variant(errors),
        "--access-log all": Variant(everything),
    }


def _turn(
    server: DirectServer, answering: Answering, caller: Connection, variant: Variant, calls: int
) -> float:
    server.recorder = variant.recorder
    with nullcontext() if variant.has_ids else _without_ids():
        answering.first_s = 0.0
        caller.send((variant.metadata, calls))
        caller.recv()
    return (answering.last_s - answering.first_s) * 1e6 / (calls - 1)


@contextmanager
def _without_ids() -> Iterator[None]:
    def status(_: RpcCall, code: grpc.StatusCode, details: str, metadata: Any = ()) -> object:
        return private_grpc.send_status(code, details, metadata)

    with patch("serving.rpc.call.request_id", len), patch.object(RpcCall, "_status", status):
        yield


@contextmanager
def _caller(port: int) -> Iterator[Connection]:
    """Yield a connection to a process that calls as it is told."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_call, args=(port, theirs))
    process.start()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join()


def _call(port: int, told: Connection) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(PATH)
        while order := told.recv():
            metadata, calls = order
            places = Semaphore(IN_FLIGHT)
            for _ in range(calls):
                places.acquire()
                method.future(b"request", metadata=metadata).add_done_callback(
                    lambda _: places.release()  # noqa: B023 - all are back before the next order
                )
            for _ in range(IN_FLIGHT):
                places.acquire()
            told.send(None)
