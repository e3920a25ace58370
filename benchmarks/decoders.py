"""`python -m benchmarks.decoders`: JPEG decoders, alone and inside each kind of transform."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from kornia_rs import io as kornia
from PIL import Image, ImageOps
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.hostile_files import APP1, segment
from benchmarks.photos import jpeg, photo
from benchmarks.records import Record, circumstances, markdown
from cli.tables import show_rows
from images.decoders import read_header
from images.files.orientation import ORIENTATION_TAG
from images.transform import Pixels, ShorterSide, Size, Stretch, Transform

Decode = Callable[[bytes], Pixels]

LIBRARIES = (
    "pillow", "simplejpeg", "opencv-python-headless", "kornia-rs", "cykooz.resizer", "numpy",
)  # fmt: skip
CROP = Size(height=224, width=224)
WIDENED = Transform(resize=ShorterSide(pixels=256), crop=CROP)
FAST = WIDENED.model_copy(update={"resampler": "fast_image_resize"})
REDUCED = {"decoding": "reduced"}
TRANSFORMS = {
    "shorter side 256, antialias": WIDENED,
    "stretch 256": Transform(resize=Stretch(height=256, width=256), crop=CROP, antialias=False),
}
# Other kinds of the first one, which differ behind the decoder or in what it decodes.
KINDS = {
    "the first, fast_image_resize": FAST,
    "the first, reduced": WIDENED.model_copy(update=REDUCED),
    "the first, fast_image_resize, reduced": FAST.model_copy(update=REDUCED),
}
# Qualities of the photos, in turn; that of the large ones gives a phone's 2.5 MB.
SMALL, LARGE = (75, 90, 95), (75,)
MEGAPIXELS_12 = 4000, 3000


def with_pillow(data: bytes) -> Pixels:
    """Return uint8 RGB (height, width, 3); the pixels that others are compared with."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def with_simplejpeg(data: bytes) -> Pixels:
    """Likewise; the slow DCT and upsampling are those that Pillow uses."""
    return np.asarray(simplejpeg.decode_jpeg(data, fastdct=False, fastupsample=False))


def with_opencv(data: bytes) -> Pixels:
    """Likewise."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))


def with_kornia(data: bytes) -> Pixels:
    """Likewise."""
    return np.asarray(kornia.decode_image_jpeg(data))


DECODERS: dict[str, Decode] = {
    "Pillow": with_pillow,
    "simplejpeg": with_simplejpeg,
    "OpenCV": with_opencv,
    "kornia-rs": with_kornia,
}


class Row(BaseModel):
    """One way to decode, milliseconds of CPU time per image over the rounds, on one thread."""

    photo: str = Field(description="width x height of the files")
    decoder: str
    work: str = Field(description="`decode`, or the transform that follows it")
    least_ms: float
    median_ms: float
    two_threads: float = Field(description="images per second of two threads over those of one")
    difference: int = Field(
        description="largest, of a pixel from what Pillow decodes fully, and resizes if it can"
    )


class DecoderRecord(Record):
    """A run of this benchmark."""

    images: int
    large_images: int
    rounds: int
    rows: list[Row]


class Decoders(Benchmark):
    """Compare JPEG decoders on photos of 500 x 375 and 4000 x 3000, alone and to 224 pixels."""

    model_config = configured("benchmarks.decoders")

    images: PositiveInt = Field(16, description="small photos, of quality 75, 90 and 95 in turn")
    large_images: NonNegativeInt = Field(1, description="large photos, of quality 75")
    rounds: PositiveInt = Field(15, description="how often every decoder has its turn")
    output: Path = Field(RESULTS, description="folder for decoders.json and decoders.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.decoders", LIBRARIES)
        rows = compare(_photos(self.images, SMALL), self.rounds)
        if self.large_images:
            rows += compare(_photos(self.large_images, LARGE, *MEGAPIXELS_12), self.rounds)
        record = DecoderRecord(
            **started.model_dump(),
            images=self.images,
            large_images=self.large_images,
            rounds=self.rounds,
            rows=rows,
        )
        table = [_cells(row) for row in rows]
        show_rows(HEADER, table, title="JPEG -> RGB pixels, CPU time per image", text_columns=3)
        record.write(self.output, "decoders", markdown(HEADER, table, text_columns=3))


HEADER = (
    "photo", "work", "decoder", "ms (least)", "ms (median)", "2 threads / 1", "largest difference",
)  # fmt: skip


class Turn(NamedTuple):
    """How long all photos took, in seconds: of one thread's CPU time, and by the clock."""

    cpu_s: float
    wall_s: float


class Way(NamedTuple):
    """A decoder, the work that it begins, and what gives the pixels to compare with."""

    decoder: str
    work: str
    decode: Decode
    reference: Decode


def compare(photos: Sequence[bytes], rounds: int) -> list[Row]:
    """Return a row per decoder and work; in each round every one has its turn."""
    ways = _ways()
    single: list[list[Turn]] = [[] for _ in ways]
    double: list[list[Turn]] = [[] for _ in ways]
    with ThreadPoolExecutor(2) as pool:
        for _ in track(range(rounds), "Measuring"):
            for way, one, two in zip(ways, single, double, strict=True):
                one.append(_turn(partial(map, way.decode, photos)))
                two.append(_turn(partial(pool.map, way.decode, [*photos] * 2)))
    return [_row(*measured, photos) for measured in zip(ways, single, double, strict=True)]


def _row(way: Way, single: list[Turn], double: list[Turn], photos: Sequence[bytes]) -> Row:
    header, times = read_header(photos[0]), [turn.cpu_s * 1e3 / len(photos) for turn in single]
    pairs = zip(single, double, strict=True)
    return Row(
        photo=f"{header.width} x {header.height}",
        decoder=way.decoder,
        work=way.work,
        least_ms=min(times),
        median_ms=median(times),
        two_threads=median(2 * one.wall_s / two.wall_s for one, two in pairs),
        difference=_difference(way, photos),
    )


def _ways() -> list[Way]:
    ways = [Way(name, "decode", decode, with_pillow) for name, decode in DECODERS.items()]
    for work, transform in TRANSFORMS.items():
        with_all = _then(with_pillow, transform)
        ways += [
            Way(name, work, _then(decode, transform), with_all) for name, decode in DECODERS.items()
        ]
        ways.append(Way("Transform.decode", work, transform.decode, with_all))
    with_all = _then(with_pillow, WIDENED)
    ways += [Way("Transform.decode", work, kind.decode, with_all) for work, kind in KINDS.items()]
    upright = _then(upright_with_pillow, WIDENED)
    for work, kind in {"the first": WIDENED, **KINDS}.items():
        ways.append(Way("Transform.decode", f"{work}, turned", _turned(kind), upright))
    return ways


def _turned(transform: Transform) -> Decode:
    """Return the transform of the photo with EXIF's orientation 6."""
    return lambda data: transform.decode(turned_file(data))


@cache  # so that it is not measured
def turned_file(data: bytes) -> bytes:
    """Return a JPEG file with EXIF's orientation 6."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    return data[:2] + segment(APP1, exif.tobytes()) + data[2:]


def upright_with_pillow(data: bytes) -> Pixels:
    """Return uint8 RGB (height, width, 3) as it is seen by that orientation."""
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(turned_file(data)))))


def _then(decode: Decode, transform: Transform) -> Decode:
    return lambda data: transform.from_rgb(decode(data))


def _photos(images: int, qualities: Sequence[int], *size: int) -> list[bytes]:
    return [
        jpeg(photo(seed, *size), quality=qualities[seed % len(qualities)]) for seed in range(images)
    ]


def _turn(work: Callable[[], Iterable[Pixels]]) -> Turn:
    cpu, wall = time.thread_time(), time.perf_counter()
    deque(work(), maxlen=0)
    return Turn(time.thread_time() - cpu, time.perf_counter() - wall)


def _difference(way: Way, photos: Sequence[bytes]) -> int:
    return max(
        int(np.abs(way.decode(data).astype(np.int16) - way.reference(data)).max())
        for data in photos
    )


def _cells(row: Row) -> list[str]:
    times = (f"{value:.2f}" for value in (row.least_ms, row.median_ms, row.two_threads))
    return [row.photo, row.work, row.decoder, *times, str(row.difference)]


if __name__ == "__main__":
    start(Decoders)
