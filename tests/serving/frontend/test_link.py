"""The socket between two processes, and the thread that reads it."""

import os
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from serving.frontend import link as links
from serving.frontend.exchange import Exchange
from serving.frontend.link import HEAD, BrokenLinkError, Frame, Link, frame

BIG = bytes(2**20)


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link]]:
    """Both ends of a connection."""
    ours, theirs = map(Link, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Link]]:
    """A socket that may say anything, and the link at its other end."""
    plain, end = socket.socketpair()
    link = Link(end)
    yield plain, link
    plain.close()
    link.close()


def copied(frames: list[Frame]) -> list[tuple[int, bytes]]:
    """Return frames that stay valid."""
    return [(kind, bytes(body)) for kind, body in frames]


class Heard:
    """A peer that keeps what it hears, and fails when it is told to."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.frames: list[tuple[int, bytes]] = []
        self.end: Exception | None = None
        self.changed = threading.Condition()

    def take(self, kind: int, body: memoryview) -> None:
        if body == b"fail":
            raise ValueError("as told")
        self.frames.append((kind, bytes(body)))

    def settle(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def closed(self, error: Exception) -> None:
        with self.changed:
            self.end = error
            self.changed.notify_all()

    def wait_for(self, frames: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= frames, 30)

    def wait_for_end(self) -> Exception | None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.end, 30)
        return self.end


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """A thread that reads."""
    exchange = Exchange("test")
    exchange.start()
    yield exchange
    exchange.close()


def test_frames_arrive_whole_wherever_the_stream_is_cut(raw: tuple[socket.socket, Link]) -> None:
    plain, link = raw
    sent = [(1, b""), (2, b"x"), (3, bytes(300))]
    stream = b"".join(frame(kind, body) for kind, body in sent)
    cuts = [0, 1, HEAD.size, HEAD.size + 2, 2 * HEAD.size + 1, len(stream) - 1, len(stream)]
    received = []
    for begin, end in pairwise(cuts):
        plain.sendall(stream[begin:end])
        received += copied(link.receive())
    assert received == sent
    assert link.receive() == []


def test_a_large_frame_is_put_together_once_and_not_each_time_that_more_of_it_comes(
    raw: tuple[socket.socket, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, link = raw
    looked_at: list[int] = []
    read = Link._frames

    def frames(self: Link, data: bytes) -> list[Frame]:
        looked_at.append(len(data))
        return read(self, data)

    monkeypatch.setattr(Link, "_frames", frames)
    body, piece = os.urandom(32 * links.CHUNK_BYTES), links.CHUNK_BYTES // 4
    stream = frame(1, b"before") + frame(2, body) + frame(3, b"after")
    received = []
    for begin in range(0, len(stream), piece):
        plain.sendall(stream[begin : begin + piece])
        received += copied(link.receive())
    assert received == [(1, b"before"), (2, body), (3, b"after")]
    assert sum(looked_at) <= len(stream) + 2 * piece


def test_nobody_waits_for_a_reader_and_nothing_is_lost(ends: tuple[Link, Link]) -> None:
    ours, theirs = ends
    sent = [(number, BIG) for number in range(4)]
    assert [ours.send(frame(*one)) for one in sent] == [False] * 4
    received = []
    while len(received) < 4:
        received += copied(theirs.receive())
        ours.flush()
    assert received == sent
    assert ours.flush()


def test_descriptors_come_in_order_with_their_message(ends: tuple[Link, Link]) -> None:
    ours, theirs = ends
    names = [b"first", b"second", b"third"]
    files = [os.memfd_create(name.decode()) for name in names]
    for file, name in zip(files, names, strict=True):
        os.pwrite(file, name, 0)
    ours.send(frame(1), files[:2])
    ours.send(frame(2), files[2:])
    received = []
    while len(received) < 2:
        received += copied(theirs.receive())
    for file in files:
        os.close(file)
    assert [os.pread(file, 10, 0) for file in theirs.fds] == names
    for file in theirs.fds:
        os.close(file)


def test_more_descriptors_than_the_kernel_passes_at_once_all_come(
    ends: tuple[Link, Link],
) -> None:
    """One for each model: whoever is started anew gets those of a whole repository."""
    ours, theirs = ends
    models = 3 * links.MOST_FDS + 1
    file = os.memfd_create("shared")
    ours.send(frame(1, b"models"), [file] * models)
    ours.send(frame(2))
    received = []
    while len(received) < 2:
        received += copied(theirs.receive())
        if received:
            assert len(theirs.fds) == models
    assert received == [(1, b"models"), (2, b"")]
    for each in (file, *theirs.fds):
        os.close(each)


def test_an_end_that_is_gone_is_told(ends: tuple[Link, Link]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(BrokenLinkError, match="closed the connection"):
        ours.receive()
    with pytest.raises(BrokenLinkError, match="broken: Broken pipe"):
        ours.send(frame(1))


def test_a_message_that_cannot_be_is_refused(raw: tuple[socket.socket, Link]) -> None:
    plain, link = raw
    plain.sendall(HEAD.pack(2**32 - 1, 1))
    with pytest.raises(BrokenLinkError, match="claims 4294967295 bytes"):
        link.receive()


def test_only_the_engine_sends_large_messages(raw: tuple[socket.socket, Link]) -> None:
    plain, link = raw
    plain.sendall(HEAD.pack(links.MOST_FRAME_BYTES + 1, 1))
    with pytest.raises(BrokenLinkError, match="claims 268435457 bytes"):
        link.receive()
    near, far = socket.socketpair()
    link = Link(near, links.MOST_IMAGE_BYTES)
    far.sendall(HEAD.pack(2**31, 1))
    assert link.receive() == []
    for end in (link, far):
        end.close()


def test_a_large_message_may_wait_behind_others(
    ends: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MOST_WAITING_BYTES", len(frame(1, BIG)))
    ours, _ = ends
    assert not ours.send(frame(1, BIG))
    assert not ours.send(frame(2, 8 * BIG))
    with pytest.raises(BrokenLinkError, match="reads nothing"):
        ours.send(frame(3, BIG))


def test_who_reads_nothing_is_given_up(
    ends: tuple[Link, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "MOST_WAITING_BYTES", 2 * len(frame(1, BIG)))
    ours, _ = ends
    for _ in range(3):  # one is on its way, and two wait
        ours.send(frame(1, BIG))
    with pytest.raises(BrokenLinkError, match="reads nothing"):
        ours.send(frame(1, BIG))


def test_messages_are_read_and_what_waits_is_sent(exchange: Exchange) -> None:
    """Both ends on one thread: whatever one could not send goes on when the other has read."""
    one, other = (Heard(Link(end)) for end in socket.socketpair())
    exchange.add(one)
    exchange.add(other)
    for number in range(8):
        for heard in (one, other):
            if not heard.link.send(frame(number, BIG)):
                exchange.nudge()
    for heard in (one, other):
        heard.wait_for(8)
        assert [kind for kind, _ in heard.frames] == [*range(8)]
        assert heard.link.flush()


@pytest.mark.parametrize("said", [frame(1, b"fail"), HEAD.pack(2**32 - 1, 1)])
def test_a_peer_that_fails_ends_alone(exchange: Exchange, said: bytes) -> None:
    (good, far), (bad, other) = socket.socketpair(), socket.socketpair()
    peers = Heard(Link(good)), Heard(Link(bad))
    with far, other:
        for peer in peers:
            exchange.add(peer)
        other.sendall(said)
        assert peers[1].wait_for_end()
        assert other.recv(1) == b""
        far.sendall(frame(5, b"still"))
        peers[0].wait_for(1)
    assert peers[0].frames == [(5, b"still")]


def test_posted_work_is_done_in_order_whatever_one_of_it_does(exchange: Exchange) -> None:
    done: list[int] = []
    finished = threading.Event()
    exchange.post(lambda: done.append(1))
    exchange.post(lambda: done.append(1 // 0))
    exchange.post(lambda: done.append(2))
    exchange.post(finished.set)
    assert finished.wait(30)
    assert done == [1, 2]


def test_the_end_is_told_to_all(exchange: Exchange) -> None:
    near, far = socket.socketpair()
    peer = Heard(Link(near))
    exchange.add(peer)
    exchange.close()
    assert isinstance(peer.wait_for_end(), BrokenLinkError)
    assert far.recv(1) == b""
    far.close()
