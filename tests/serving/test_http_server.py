import socket

import pytest
from starlette.applications import Starlette

from serving.http_server import HttpServer


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_every_interface_is_that_of_ipv4_too(address: str) -> None:
    server = HttpServer(Starlette(), "::", 0)
    async with server.listening():
        socket.create_connection((address, server.port), timeout=10).close()
