"""The request that a connection reads: how much of it has come, and whether that is too much."""

from http import HTTPStatus

from serving.http.heads import Fault, too_large
from serving.http.traffic import HttpBounds

# What HTTP/2 counts for a header besides its name and value: without it, 16 KiB hold thousands.
HEADER_BYTES = 32
# A body may come in so many pieces, and in one more for each so many bytes: each costs a call.
FREE_PIECES, PIECE_BYTES = 1000, 64


class Incoming:
    """Counts and keeps what comes; each method returns what is wrong with the request, if anything.

    Args:
        bounds: what a client may have.

    Attributes:
        pieces: pieces of bodies that have come, of all requests.
    """

    def __init__(self, bounds: HttpBounds) -> None:
        self._bounds = bounds
        self.pieces = self._quiet_bytes = 0
        self.begin()

    def begin(self) -> None:
        """Count for the next request."""
        self._head_bytes = self._size = 0
        self._pieces_before = self.pieces
        # In pieces: a bytearray that grows beside others is copied whenever it does.
        self._body: list[bytes] = []

    def head(self, nbytes: int) -> Fault | None:
        """Count a part of the address, of a header or of a trailer that is whole."""
        self._head_bytes += nbytes
        return self._bound_head(self._head_bytes)

    def quiet(self, nbytes: int) -> Fault | None:
        """Count bytes in which no piece of a body came: they may be no more than a head."""
        self._quiet_bytes += nbytes
        return self._bound_head(self._quiet_bytes)

    def heard(self) -> None:
        """Note that a piece of a body came, or that no request does."""
        self._quiet_bytes = 0

    def piece(self, body: bytes) -> Fault | None:
        """Keep a piece of the body, unless that is too much."""
        self.pieces += 1
        size, pieces = self._size + len(body), self.pieces - self._pieces_before
        if found := too_large(size, self._bounds.body_bytes):
            return found
        if pieces > FREE_PIECES + size // PIECE_BYTES:
            return HTTPStatus.BAD_REQUEST, "the body comes in too many pieces; send larger"
        self._size = size
        self._body.append(body)
        if pieces % FREE_PIECES == 0:  # small ones take more memory than what they hold
            self._body[-FREE_PIECES:] = [b"".join(self._body[-FREE_PIECES:])]
        return None

    def take(self) -> bytes:
        """Return the body, and keep it no longer; one that came in one piece is not copied."""
        body, self._body = self._body, []
        return b"".join(body)

    def _bound_head(self, nbytes: int) -> Fault | None:
        most = self._bounds.head_bytes
        if nbytes <= most:
            return None
        message = f"the head of a request may have at most {most} bytes"
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message
