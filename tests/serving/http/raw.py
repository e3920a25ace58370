"""HTTP as bytes."""

import asyncio

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


async def answer(port: int, *parts: bytes) -> bytes:
    """Send parts of a request; return all that the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer with a content length; return its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    [size] = [
        int(line.split(b":")[1])
        for line in head.lower().splitlines()
        if line.startswith(b"content-length:")
    ]
    return head, await reader.readexactly(size)
