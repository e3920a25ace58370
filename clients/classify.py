"""Classifying many files: in requests of several images, a few of them in flight."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc

from clients.client import ClassifierClient
from clients.errors import AccessError, ClassifierError
from clients.files import split
from clients.messages import MAX_MESSAGE_BYTES
from clients.reading import FileTooLargeError, read_file, reason
from clients.types import ImageFailure, Prediction

REQUESTS_IN_FLIGHT = 4
# Small enough that a request of the full network on a slow CPU stays within the timeout.
IMAGES_PER_REQUEST = 16
# Less than a message may have, for the fields around the image bytes.
BYTES_PER_REQUEST = MAX_MESSAGE_BYTES - 64 * 1024

Outcome = Prediction | ImageFailure
FileOutcome = tuple[Path, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask about every file; `timeout_s` is per request."""

    top_k: int
    model: str
    version: str
    timeout_s: float


def classify_files(
    client: ClassifierClient, paths: Sequence[Path], question: Question, limit: int
) -> Iterator[FileOutcome]:
    """Yield every file with its outcome, in order; the failure of one does not affect the others.

    `limit` is the most images that the server takes in one request. Raises `AccessError` if the
    server does not let this caller classify: it would say the same of every file.
    """
    groups = split(paths, max_images=min(limit, IMAGES_PER_REQUEST), max_bytes=BYTES_PER_REQUEST)
    with ThreadPoolExecutor(REQUESTS_IN_FLIGHT) as pool:
        for outcomes in pool.map(lambda group: _ask(client, group, question), groups):
            yield from outcomes


def _ask(client: ClassifierClient, paths: Sequence[Path], question: Question) -> list[FileOutcome]:
    """Return the outcomes of the files of one request."""
    files = {path: _read(path) for path in paths}
    images = {path: data for path, data in files.items() if isinstance(data, bytes)}
    outcomes = dict(zip(images, _classify(client, list(images.values()), question), strict=True))
    return [
        (path, data if isinstance(data, ImageFailure) else outcomes[path])
        for path, data in files.items()
    ]


def _read(path: Path) -> bytes | ImageFailure:
    try:
        return read_file(path, BYTES_PER_REQUEST)
    except FileTooLargeError as error:
        return ImageFailure(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
    except OSError as error:
        return ImageFailure(grpc.StatusCode.NOT_FOUND, f"cannot be read: {reason(error)}")


def _classify(
    client: ClassifierClient, images: Sequence[bytes], question: Question
) -> Sequence[Outcome]:
    if not images:
        return []
    try:
        return client.classify(
            images,
            top_k=question.top_k,
            model=question.model,
            version=question.version,
            timeout_s=question.timeout_s,
        )
    except AccessError:
        raise
    except ClassifierError as error:
        return [ImageFailure(error.code, error.message)] * len(images)
