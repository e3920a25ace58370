"""`python -m benchmarks.decoders`: JPEG decoders, alone and inside our transforms."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import simplejpeg
from kornia_rs import io as kornia
from PIL import Image
from pydantic import BaseModel, Field, PositiveInt
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.photos import jpeg, photo
from benchmarks.records import Record, circumstances, markdown
from cli.tables import show_rows
from images.transform import Pixels, ShorterSide, Size, Stretch, Transform

Decode = Callable[[bytes], Pixels]

LIBRARIES = ("pillow", "simplejpeg", "opencv-python-headless", "kornia-rs", "numpy")
CROP = Size(height=224, width=224)
TRANSFORMS = {
    "shorter side 256, antialias": Transform(resize=ShorterSide(pixels=256), crop=CROP),
    "stretch 256": Transform(resize=Stretch(height=256, width=256), crop=CROP, antialias=False),
}


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
    """One way to decode, milliseconds per image over the rounds, on one thread."""

    decoder: str
    work: str = Field(description="`decode`, or the transform that follows it")
    least_ms: float
    median_ms: float
    two_threads: float = Field(description="images per second of two threads over those of one")
    difference: int | None = Field(description="largest, of a pixel from Pillow's; of decoders")


class DecoderRecord(Record):
    """A run of this benchmark."""

    images: int
    rounds: int
    rows: list[Row]


class Decoders(Benchmark):
    """Compare JPEG decoders on 500 x 375 photos, alone and with the resize to 224 pixels."""

    model_config = configured("benchmarks.decoders")

    images: PositiveInt = Field(16, description="photos, of quality 75, 90 and 95 in turn")
    rounds: PositiveInt = Field(15, description="how often every decoder has its turn")
    output: Path = Field(RESULTS, description="folder for decoders.json and decoders.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.decoders", LIBRARIES)
        rows = compare(_photos(self.images), self.rounds)
        record = DecoderRecord(
            **started.model_dump(), images=self.images, rounds=self.rounds, rows=rows
        )
        table = [_cells(row) for row in rows]
        show_rows(HEADER, table, title="JPEG of 500 x 375 -> RGB pixels", text_columns=2)
        record.write(self.output, "decoders", markdown(HEADER, table, text_columns=2))


HEADER = ("work", "decoder", "ms (least)", "ms (median)", "2 threads / 1", "largest difference")


def compare(photos: Sequence[bytes], rounds: int) -> list[Row]:
    """Return a row per decoder and work; in each round every one has its turn."""
    ways = _ways()
    single: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    double: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    with ThreadPoolExecutor(2) as pool:
        for _ in track(range(rounds), "Measuring"):
            for way, decode in ways.items():
                single[way].append(_seconds(partial(map, decode, photos)))
                double[way].append(_seconds(partial(pool.map, decode, photos)))
    return [
        Row(
            decoder=decoder,
            work=work,
            least_ms=min(times) * 1e3 / len(photos),
            median_ms=median(times) * 1e3 / len(photos),
            two_threads=median(np.divide(times, double[decoder, work])),
            difference=_difference(DECODERS[decoder], photos) if work == "decode" else None,
        )
        for (decoder, work), times in single.items()
    ]


def _ways() -> dict[tuple[str, str], Decode]:
    ways = {(name, "decode"): decode for name, decode in DECODERS.items()}
    for work, transform in TRANSFORMS.items():
        for name, decode in DECODERS.items():
            ways[name, work] = _then(decode, transform)
        ways["Transform.decode", work] = transform.decode
    return ways


def _then(decode: Decode, transform: Transform) -> Decode:
    return lambda data: transform.from_rgb(decode(data))


def _photos(images: int) -> list[bytes]:
    return [jpeg(photo(seed), quality=(75, 90, 95)[seed % 3]) for seed in range(images)]


def _seconds(work: Callable[[], Iterable[Pixels]]) -> float:
    started = time.perf_counter()
    deque(work(), maxlen=0)
    return time.perf_counter() - started


def _difference(decode: Decode, photos: Sequence[bytes]) -> int:
    return max(
        int(np.abs(decode(data).astype(np.int16) - with_pillow(data)).max()) for data in photos
    )


def _cells(row: Row) -> list[str]:
    difference = "" if row.difference is None else str(row.difference)
    times = (f"{value:.2f}" for value in (row.least_ms, row.median_ms, row.two_threads))
    return [row.work, row.decoder, *times, difference]


if __name__ == "__main__":
    start(Decoders)
