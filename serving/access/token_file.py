"""The token file while the server runs: read again when it has changed."""

import asyncio
import logging
import stat
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from bundle.small_file import NotAFileError, read_small
from serving.access.tokens import Credentials, parse
from serving.errors import StartupError

logger = logging.getLogger(__name__)

# How long a token that was removed may still pass, in seconds.
INTERVAL_S = 1.0
MOST_BYTES = 2**22


class TokenFile:
    """The credentials of a file.

    Args:
        path: of the file.
        registry: gets `serving_token_file_reads_total`.

    Attributes:
        credentials: what it said when it last was right; replaced as a whole, so any thread may
            read it.

    Raises:
        StartupError: the file cannot be read, anybody may write it, or a line is wrong.
    """

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        self._path = path
        reads = Counter(
            "serving_token_file_reads_total",
            "Reads of a token file that had changed; failed: it was wrong, and what it said before "
            "goes on",
            ("outcome",),
            registry=registry,
        )
        self._ok, self._failed = reads.labels("ok"), reads.labels("failed")
        # The content, and no time of it: a file may be written twice within one tick of its clock.
        self._seen = read(path)
        self._fault = ""  # why it could not be read the last time
        self.credentials: Credentials = parse(self._seen, str(path))
        self._ok.inc()
        if path.stat().st_mode & stat.S_IROTH:
            logger.warning("anybody on this machine may read %s: chmod 600", path)

    async def watch(self) -> None:
        """Read the file again whenever it has changed, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:  # else no token would ever be taken, or withdrawn, again
                logger.exception("%s could not be looked at", self._path)

    def refresh(self) -> None:
        """Read the file if it has changed; one that is wrong changes nothing. One caller at once.

        It is logged once, until the file changes again.
        """
        try:
            data = read(self._path)
            if data != self._seen:
                self._seen = data
                self.credentials = parse(data, str(self._path))
                self._tell_success()
            self._fault = ""
        except StartupError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                self._failed.inc()
                logger.error("%s; the tokens that were read before stay in force", error)  # noqa: TRY400

    def _tell_success(self) -> None:
        self._ok.inc()
        logger.info(
            "%s has changed: %d tokens and %d certificates are known",
            self._path,
            len(self.credentials.tokens),
            len(self.credentials.certificates),
        )


def read(path: Path) -> bytes:
    """Return the content of a token file.

    Raises:
        StartupError: it cannot be read, is too large, or anybody may write it.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise StartupError(
                f"anybody on this machine may write the token file {path}, and so add a token: "
                f"chmod 600"
            )
        data = read_small(path, MOST_BYTES)
    except NotAFileError as error:
        raise StartupError(f"the token file {error}") from None
    except OSError as error:
        raise StartupError(f"the token file {path} cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise StartupError(f"the token file {path} has more than {MOST_BYTES} bytes")
    return data
