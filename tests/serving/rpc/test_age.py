"""Connections that end because of their age."""

import asyncio

import grpc

from serving.rpc.bounds import Bounds
from serving.rpc.call import RpcCall
from serving.rpc.options import options
from tests.serving.rpc.running import SERVICE, Patient, running, unary
from tests.support.http2 import DATA, GOAWAY, Http2, message


async def test_an_old_connection_ends_and_loses_no_call() -> None:
    patient = Patient()

    async def peer(_request: bytes, context: RpcCall) -> bytes:
        return context._call.peer()  # type: ignore[no-any-return]

    chosen = tuple(options(Bounds(2**20, age_s=0.2)))
    async with running(chosen, Patient=unary(patient), Peer=unary(peer)) as it:
        with Http2(it.port) as old:
            stream = old.call(f"/{SERVICE}/Patient")
            old.write(stream, message(0), end=True)
            await patient.started.wait()
            await asyncio.to_thread(old.until, GOAWAY)
            # A client of gRPC opens one connection after another, and notices nothing: it sends a
            # call again, by itself, that comes too late for the old one.
            peers = set[bytes]()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
                while len(peers) < 8:
                    peers.add(await channel.unary_unary(f"/{SERVICE}/Peer")(b""))
            patient.released.set()
            await asyncio.to_thread(old.until, DATA, stream)
