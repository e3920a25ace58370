"""The server's side of a hot load: its process, what that says, and until when."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path

from bundle.store import Bundle
from serving.child import Child, ending
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.errors import StartupError
from serving.hotload.handover import Handover, receive
from serving.hotload.pace import Pace, Pauses
from serving.loading import Proved, load_proved
from serving.metrics import Metrics

logger = logging.getLogger(__name__)


class HotLoad:
    """A load in a process that gets only what nobody else needs; `kill` ends it, in any state.

    It opens the bundle, has its runtime optimise the model, proves it and measures it. Nothing of
    that may run in a thread of the server: one of low priority that is preempted while it holds
    Python's lock would keep all others waiting.

    Args:
        path: the bundle's directory.
        config: how models run.
        is_idle: whether no image is in flight; any thread may call it.
    """

    def __init__(self, path: Path, config: ServingConfig, is_idle: Callable[[], bool]) -> None:
        self._path, self._config, self._is_idle = path, config, is_idle
        self._pauses = Pauses()
        self._pipe, self._theirs = Pipe()
        self._until = time.monotonic() + config.load_timeout_s
        self._starting, self._reading = threading.Lock(), threading.Lock()
        self._child: Child | None = None
        self._pace: Pace | None = None
        self._is_killed = False

    def open(self) -> Bundle:
        """Start the process; return the bundle, each file of which it has checked.

        Raises:
            BundleError: the bundle is damaged, or not signed as it should be.
            StartupError: the process was killed, or takes too long.
        """
        with self._reading:
            self._start()
            bundle = self._read()
        assert isinstance(bundle, Bundle)
        return bundle

    def load(self, metrics: Metrics) -> Model:
        """Return the model, which has proved itself there, and is open here.

        Raises:
            BundleError: its answers differ from the recorded ones.
            StartupError: it cannot run as configured, or as for `open`.
        """
        with self._reading:
            proved = self._read()
        assert isinstance(proved, Proved)
        return load_proved(proved, metrics)

    def kill(self) -> None:
        """Begin to end the process; any thread may call, and whatever waits for it returns."""
        with self._starting:
            self._is_killed = True
            if self._child:
                self._child.kill()

    def close(self) -> None:
        """End the process, and wait until it is gone, with its memory."""
        self.kill()
        with self._reading:  # whoever reads is about to find that nothing more comes
            if self._pace:
                self._pace.end()
            self._pauses.close()
            if self._child:
                self._child.close()
            self._pipe.close()
            self._theirs.close()

    def _start(self) -> None:
        with self._starting:
            if not self._is_killed:
                ends = self._theirs.fileno(), self._pauses.descriptor
                self._child = Child("serving.hotload.worker", *map(str, ends), descriptors=ends)
                try:
                    self._child.give_way()
                except OSError as error:
                    reason = f"the system refuses it the lowest priority: {error.strerror}"
                    logger.warning("%s: callers may notice its load: %s", self._path, reason)
                self._pace = Pace(self._child, self._pauses, self._is_idle)
            self._theirs.close()
        with suppress(ConnectionError):  # it has ended, as the next read will find
            self._pipe.send((self._path, self._config))

    def _read(self) -> object:
        """Return what the process says next, after logging what it logs; raise what it raises."""
        while True:
            if not self._pipe.poll(max(0.0, self._until - time.monotonic())):
                raise StartupError(self._too_late())
            try:
                said = self._pipe.recv()
                if isinstance(said, Handover):
                    return receive(self._pipe, said)
            except (EOFError, ConnectionError):
                raise StartupError(self._how_it_ended()) from None
            if isinstance(said, Exception):
                raise said
            if not isinstance(said, logging.LogRecord):
                return said
            logging.getLogger(said.name).handle(said)

    def _too_late(self) -> str:
        return (
            f"it was not loaded and proved within --load-timeout-s {self._config.load_timeout_s:g}:"
            f" it hangs, or models that answer left it too little of the cores"
        )

    def _how_it_ended(self) -> str:
        if self._child is None:
            return "the server is draining"
        how = f"the process that loaded it {ending(self._child.process.wait())}"
        last = self._child.last_words()
        return f"{how}: {last}" if last else how
