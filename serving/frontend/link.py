"""A stream socket between two processes, and the frames on it.

A frame is its length and its kind, five bytes, and a body. Many travel in one system call: whoever
reads takes all that has come. Nobody who sends ever waits: what the socket does not take at once is
kept, and sent by the thread that reads (`Exchange`).
"""

import array
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence

HEAD = struct.Struct("<IB")
# Python allocates as much before each call: more than this glibc maps anew, which takes 12 us.
CHUNK_BYTES = 2**16
# A process that reads nothing while so much waits beside the largest message hangs.
MOST_WAITING_BYTES = 2**28
# Of a frame, and of one that the engine sends: an image of the size of the largest request, and
# what is said of it.
MOST_FRAME_BYTES, MOST_IMAGE_BYTES = 2**28, 2**31 + 2**16
# That come with one system call; the kernel drops those for which nobody has made room.
MOST_FDS = 16

Frame = tuple[int, memoryview]


class BrokenLinkError(Exception):
    """The other process has gone, or what it says is not what was agreed."""


def frame(kind: int, *parts: bytes) -> bytes:
    """Return a frame."""
    return b"".join((HEAD.pack(sum(map(len, parts)), kind), *parts))


class Link:
    """One end of the connection.

    Args:
        end: a connected stream socket of the family AF_UNIX, which this closes.
        most_bytes: of a frame that comes.

    Attributes:
        fds: the descriptors that have come, in order; whoever reads takes them from here.
    """

    def __init__(self, end: socket.socket, most_bytes: int = MOST_FRAME_BYTES) -> None:
        end.settimeout(0.0)
        self._socket, self._most_bytes = end, most_bytes
        self.fds: deque[int] = deque()
        self._received = bytearray()
        self._needed = HEAD.size  # bytes until there is another frame
        # Guards what follows.
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes | memoryview, Sequence[int]]] = deque()
        self._waiting_bytes = 0
        self._is_closed = False

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> bool:  # any thread
        """Send whole frames, descriptors with them; return False if some of it has to wait.

        Raises `BrokenLinkError` if nobody reads.
        """
        with self._lock:
            self._waiting_bytes += len(data)
            while len(fds) > MOST_FDS:  # ahead, with a byte each: all are there before the frame is
                self._waiting.append((data[:1], fds[:MOST_FDS]))
                data, fds = data[1:], fds[MOST_FDS:]
            self._waiting.append((data, fds))
            return self._flush()

    def flush(self) -> bool:
        """Send what waits; return False if some of it still has to. Raises as `send` does."""
        with self._lock:
            return self._flush()

    def receive(self) -> list[Frame]:  # the thread that reads
        """Return the frames that have come; their bodies are valid until the next call.

        Raises `BrokenLinkError` at the end.
        """
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                CHUNK_BYTES, socket.CMSG_SPACE(MOST_FDS * 4)
            )
        except BlockingIOError:
            return []
        except OSError as error:
            raise BrokenLinkError(f"the connection is broken: {error.strerror}") from None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self.fds.extend(numbers)
        if not data:
            raise BrokenLinkError("the other process has closed the connection")
        if not self._received:
            return self._frames(data)
        self._received += data
        return self._frames(self._received) if len(self._received) >= self._needed else []

    def close(self) -> None:
        """Close it; what waits is lost."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
            self._socket.close()

    def _frames(self, data: bytes | bytearray) -> list[Frame]:
        frames: list[Frame] = []
        view, at, end = memoryview(data), 0, len(data)
        self._needed = HEAD.size
        while end - at >= HEAD.size:
            size, kind = HEAD.unpack_from(data, at)
            if size > self._most_bytes:
                raise BrokenLinkError(f"a message claims {size} bytes")
            start = at + HEAD.size
            if start + size > end:
                self._needed = HEAD.size + size
                break
            frames.append((kind, view[start : start + size]))
            at = start + size
        self._received = bytearray(view[at:])
        return frames

    def _flush(self) -> bool:
        while self._waiting and not self._is_closed:
            data, fds = self._waiting[0]
            try:
                sent = (
                    socket.send_fds(self._socket, [data], [*fds])
                    if fds
                    else self._socket.send(data)
                )
            except BlockingIOError:
                if self._is_choked():
                    raise BrokenLinkError("the other process reads nothing") from None
                return False
            except OSError as error:
                raise BrokenLinkError(f"the connection is broken: {error.strerror}") from None
            self._waiting_bytes -= sent
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = memoryview(data)[sent:], ()
        return True

    def _is_choked(self) -> bool:
        """Whether more waits than one large message, wherever that is, and what came meanwhile."""
        waiting = self._waiting_bytes
        if waiting <= MOST_WAITING_BYTES:
            return False
        return waiting - max(len(data) for data, _ in self._waiting) > MOST_WAITING_BYTES
