"""What runs for each call: the servicer's method between its messages."""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.transport.call import AbortedError, Call

logger = logging.getLogger(__name__)


class ServicerMethod:
    """One method of a servicer, of any of gRPC's four kinds, as generated code registers it."""

    def __init__(self, handler: "grpc.RpcMethodHandler[Any, Any]") -> None:
        self.reads_stream: bool = handler.request_streaming
        self._writes_stream: bool = handler.response_streaming
        self.parse: Any = handler.request_deserializer
        self.serialize: Any = handler.response_serializer
        self._run: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

    async def answer(self, call: Call, request: bytes | None) -> None:
        """Answer a call; whatever the servicer raises becomes a status."""
        try:
            await self._answer(call, request)
        except AbortedError:
            pass
        except asyncio.CancelledError:
            call.fail(grpc.StatusCode.CANCELLED, "the server has cancelled the call")
            raise
        except DecodeError as error:
            call.fail(grpc.StatusCode.INTERNAL, f"the request cannot be parsed: {error}")
        except NotImplementedError:
            call.fail(grpc.StatusCode.UNIMPLEMENTED, "the server does not have this method")
        except Exception as error:
            logger.exception("a gRPC method failed")
            call.fail(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error}")

    async def _answer(self, call: Call, request: bytes | None) -> None:
        if self.reads_stream:
            argument: Any = call.requests()
        elif request is None:
            await call.abort(grpc.StatusCode.INTERNAL, "the call ended without its request")
        else:
            argument = self.parse(request)
        result = self._run(argument, call)
        if self._writes_stream:
            await _write(call, result)
            call.finish()
        else:
            call.finish(await result)


async def _write(call: Call, result: Any) -> None:
    """Await a method that writes by itself, or write what a generator yields."""
    if hasattr(result, "__aiter__"):
        async with aclosing(result) as responses:
            async for response in responses:
                await call.write(response)
    else:
        await result
