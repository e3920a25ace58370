"""The thread that reads the links of a process, and does what is posted to it."""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from serving.frontend.link import BrokenLinkError, Link

logger = logging.getLogger(__name__)


class Peer(Protocol):
    """The other process at a link. Only the exchange's thread calls."""

    link: Link

    def take(self, kind: int, body: memoryview) -> None:
        """Take a message; raise `BrokenLinkError` if that cannot go on."""

    def settle(self) -> None:
        """Send what has gathered; called after each round."""

    def closed(self, error: Exception) -> None:
        """Note that nothing comes any more; called once."""


class Exchange:
    """Reads all links on one thread, in rounds: what has come, what was posted, what is to be sent.

    So the busier it is, the more messages share a wake-up, and the answers of a batch to one peer
    go in one system call.

    Args:
        name: of its thread.
    """

    def __init__(self, name: str) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._event, select.EPOLLIN)
        self._peers: dict[int, Peer] = {}
        self._stalled: set[int] = set()  # descriptors of links that did not take all
        self._posted: deque[Callable[[], None]] = deque()
        # Whether the thread will look at what is posted before it sleeps.
        self._is_awake = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Read no more; return when the thread has ended."""
        self._is_closing = True
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def add(self, peer: Peer) -> None:  # any thread
        """Read a link from now on."""
        self.post(lambda: self._add(peer))

    def remove(self, peer: Peer, error: Exception) -> None:  # any thread
        """Read it no more, and close it; `error` is why."""
        self.post(lambda: self._end(peer, error))

    def post(self, work: Callable[[], None]) -> None:  # any thread
        """Have `work` done on this thread."""
        self._posted.append(work)
        if not self._is_awake:
            self._wake()

    def nudge(self) -> None:  # any thread
        """Have another round soon, unless this thread has one now."""
        if threading.current_thread() is not self._thread:
            self.post(_nothing)

    def _run(self) -> None:
        while not self._is_closing:
            # Whoever posts after this looks at the deque below sees the flag down, and wakes.
            self._is_awake = False
            events = self._poll.poll(0 if self._posted else -1)
            self._is_awake = True
            for descriptor, _ in events:
                if descriptor == self._event:
                    os.eventfd_read(self._event)
                elif peer := self._peers.get(descriptor):
                    self._guarded(peer, self._read)
            self._do_posted()
            for peer in tuple(self._peers.values()):
                self._guarded(peer, self._send)
        for peer in tuple(self._peers.values()):
            self._end(peer, BrokenLinkError("the process ends"))
        self._poll.close()

    def _wake(self) -> None:  # any thread
        os.eventfd_write(self._event, 1)

    def _do_posted(self) -> None:
        for _ in range(len(self._posted)):
            work = self._posted.popleft()
            try:
                work()
            except Exception:
                logger.exception("work that was posted to the exchange failed")

    def _guarded(self, peer: Peer, work: Callable[[Peer], None]) -> None:
        try:
            work(peer)
        except BrokenLinkError as error:
            self._end(peer, error)
        except Exception as error:
            logger.exception("a message of another process cannot be handled")
            self._end(peer, error)

    def _read(self, peer: Peer) -> None:
        for kind, body in peer.link.receive():
            peer.take(kind, body)

    def _send(self, peer: Peer) -> None:
        peer.settle()
        descriptor, is_stalled = peer.link.fileno(), not peer.link.flush()
        if is_stalled != (descriptor in self._stalled):
            self._stalled ^= {descriptor}
            wanted = select.EPOLLIN | (select.EPOLLOUT if is_stalled else 0)
            self._poll.modify(descriptor, wanted)

    def _add(self, peer: Peer) -> None:
        self._peers[peer.link.fileno()] = peer
        self._poll.register(peer.link.fileno(), select.EPOLLIN)

    def _end(self, peer: Peer, error: Exception) -> None:
        descriptor = peer.link.fileno()
        if self._peers.pop(descriptor, None):
            self._stalled.discard(descriptor)
            self._poll.unregister(descriptor)
            peer.link.close()
            peer.closed(error)


def _nothing() -> None:
    pass
