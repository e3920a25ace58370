"""The photos to measure with: those of a folder that the server would accept."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cli.cores import usable_cores
from cli.program import UsageError
from cli.text import printable
from images.errors import ImageError
from images.limits import ImageLimits
from images.transform import Transform
from serving.engine.sources import Encoded
from serving.errors import InvalidImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
# More would differ little in the mean, and all of them are decoded once beforehand.
MOST = 64

logger = logging.getLogger(__name__)


def choose_photos(path: Path, transform: Transform, limits: ImageLimits) -> list[Path]:
    """Return at most 64 images of a folder (or the one named), from all over it in its order.

    Those that the server would refuse are left out with a warning. Raises `UsageError` if there is
    none.
    """
    found = list(_find(path))
    if not found:
        raise UsageError(f"--images: no images ({', '.join(sorted(SUFFIXES))}) in {path}")
    some = [found[index * len(found) // MOST] for index in range(MOST)]
    chosen = list(dict.fromkeys(some))

    def mistake(photo: Path) -> str | None:
        try:
            if not photo.is_file():  # nobody may ever write into a pipe
                return "it is no file"
            limits.check_bytes(photo.stat().st_size)
            Encoded(photo.read_bytes()).pixels(transform, limits)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except (ImageError, InvalidImageError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(usable_cores().usable) as pool:
        mistakes = dict(zip(chosen, pool.map(mistake, chosen), strict=True))
    broken = {photo: why for photo, why in mistakes.items() if why}
    for photo, why in broken.items():
        logger.warning("left out: %s: %s", printable(str(photo)), printable(why))
    if len(broken) == len(chosen):
        first, why = next(iter(broken.items()))
        raise UsageError(f"--images: the server would refuse every image; {first}: {why}")
    return [photo for photo in chosen if photo not in broken]


def _find(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    elif path.exists():
        yield path
    else:
        raise UsageError(f"--images: there is no {path}")
