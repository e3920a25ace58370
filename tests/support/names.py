"""A name server for one name, whose addresses change when a test says so."""

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

A = 1
HEAD = struct.Struct("!6H")
IS_ANSWER = 0x8480  # with authority


class NameServer(socketserver.ThreadingUDPServer):
    """Answers whatever name it is asked for with `hosts`, addresses of IPv4."""

    def __init__(self, *hosts: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.hosts = list(hosts)
        self.asked = 0

    def target(self, port: int) -> str:
        """Return gRPC's address of servers on that port of each host."""
        return f"dns://127.0.0.1:{self.server_address[1]}/servers.test:{port}"


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        query, sender = cast("tuple[bytes, socket.socket]", self.request)
        names = cast("NameServer", self.server)
        number = HEAD.unpack_from(query)[0]
        end = query.index(b"\0", HEAD.size) + 5  # the name, its type and class
        question = query[HEAD.size : end]
        is_a = struct.unpack("!H", question[-4:-2])[0] == A
        hosts = tuple(names.hosts) if is_a else ()
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", A, 1, 0, 4) + socket.inet_aton(host)
            for host in hosts
        ]
        names.asked += is_a
        head = HEAD.pack(number, IS_ANSWER, 1, len(records), 0, 0)
        sender.sendto(head + question + b"".join(records), self.client_address)


@contextmanager
def name_server(*hosts: str) -> Iterator[NameServer]:
    """Run one until the context ends."""
    with NameServer(*hosts) as names:
        thread = threading.Thread(target=names.serve_forever)
        thread.start()
        try:
            yield names
        finally:
            names.shutdown()
            thread.join()
