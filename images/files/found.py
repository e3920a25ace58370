"""What a walk over a file finds."""

from typing import NamedTuple

from images.files.orientation import SWAPS_AXES


class Found(NamedTuple):
    """A file that may be decoded: what it is, and its bytes without all that is not pixels.

    Attributes:
        format: JPEG, PNG, WEBP or BMP.
        width: in pixels, as stored (before EXIF orientation).
        height: likewise.
        orientation: EXIF's, 1 to 8; 1 is upright.
        data: a file of the same pixels, without metadata; the file itself if it has none.
        is_grey: whether the pixels have one channel (of JPEG).
        is_plain: whether the fast decoder reads it as Pillow would (of JPEG).
        left: where the first frame lies on its canvas, in pixels (of animated WebP).
        top: likewise.
    """

    format: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    is_grey: bool = False
    is_plain: bool = False
    left: int = 0
    top: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height when upright, in pixels."""
        swaps = self.orientation in SWAPS_AXES
        return (self.height, self.width) if swaps else (self.width, self.height)
