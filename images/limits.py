"""What a stranger's image may cost: bounds that are checked before anything is decoded."""

import sys
from typing import NamedTuple

from images.errors import ImageError, SlowImageError

# What every decoder and resize needs beside the pixels: tables, rows, blocks of the allocator.
BESIDE_BYTES = 8 * 2**20


class ImageLimits(NamedTuple):
    """The most that an image may be and need; each names the server's setting.

    Memory and time follow from what the file says of itself (`Cost`), and not from its bytes alone:
    black pixels take a thousandth of a byte.

    Attributes:
        max_image_bytes: of the file.
        max_image_pixels: width x height.
        max_image_side: width or height, in pixels. The tables of the resize grow with it.
        max_image_parts: segments, scans or chunks of the file, which are read one by one.
        max_image_mib: memory to decode it, in MiB.
        max_image_ms: CPU time to decode it, in milliseconds: as estimated for one common core, and
            as taken where a file does not say (the blocks of a PNG).
    """

    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 50_000_000
    max_image_side: int = 65_500  # libjpeg reads no larger one
    max_image_parts: int = 10_000
    max_image_mib: int = 280
    max_image_ms: int = 1_000

    def check_bytes(self, nbytes: int) -> None:
        """Raise `ImageError` if there is no file, or if it is too large."""
        if not nbytes:
            raise ImageError("the image is empty (0 bytes)")
        if nbytes > self.max_image_bytes:
            raise self._exceeded(f"the image has {nbytes} bytes", "bytes")

    def check_size(self, width: int, height: int) -> None:
        """Raise `ImageError` if an image has no pixels, or too many."""
        if width <= 0 or height <= 0:
            raise ImageError(f"the image has {width} x {height} pixels, so there is nothing to see")
        if width * height > self.max_image_pixels:
            size = f"{width} x {height} = {width * height} pixels"
            raise self._exceeded(f"the image has {size}", "pixels")
        if max(width, height) > self.max_image_side:
            raise self._exceeded(f"the image has {width} x {height} pixels", "side")

    def check_parts(self, parts: int, what: str) -> None:
        """Raise `ImageError` if a file has more segments, scans or chunks."""
        if parts > self.max_image_parts:
            raise self._exceeded(f"the image has more than {self.max_image_parts} {what}", "parts")

    def check_cost(self, cost: "Cost") -> None:
        """Raise `ImageError` if decoding would need too much memory, `SlowImageError` if time."""
        mib, ms = -(-(cost.nbytes + BESIDE_BYTES) // 2**20), -(-cost.ns // 1_000_000)
        if mib > self.max_image_mib:
            need = f"about {mib} MiB of memory"
            raise self._exceeded(f"to decode the image ({cost.what}) would take {need}", "mib")
        if ms > self.max_image_ms:
            need = f"about {ms} ms of CPU time"
            what = f"to decode the image ({cost.what}) would take {need}"
            raise SlowImageError(self._said(what, "ms"))

    def check_taken(self, ns: int) -> None:
        """Raise `SlowImageError` if a decode has taken too much CPU time, in nanoseconds."""
        if ns > self.max_image_ms * 1_000_000:
            taken = f"{ns // 1_000_000} ms of CPU time"
            raise SlowImageError(
                self._said(f"to decode the image has taken {taken} and is given up", "ms")
            )

    def _exceeded(self, found: str, name: str) -> ImageError:
        return ImageError(self._said(found, name))

    def _said(self, found: str, name: str) -> str:
        setting = f"max_image_{name}"
        return f"{found}; {setting} allows at most {getattr(self, setting)}"


# For one's own images, as in training: the walk is the same, and nothing is too large.
UNLIMITED = ImageLimits(*[sys.maxsize] * len(ImageLimits._fields))


class Cost(NamedTuple):
    """What decoding will need; both are upper bounds, measured with the worst files known.

    Attributes:
        what: of what kind the image is, for messages.
        nbytes: memory at its peak, in bytes.
        ns: CPU time in nanoseconds, from the file to pixels of the network's size.
    """

    what: str
    nbytes: int
    ns: int
