"""`python -m serving.hotload.worker PIPE PAUSES`: checks and proves a bundle for a server.

It is told a path and a `ServingConfig`, and says what it logs, then the `Bundle`, then that it is
`Proved`, with the descriptors of the sealed memory; or an exception.
"""

import logging
import os
import queue
import sys
import threading
import traceback
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection

from bundle.store import BundleError
from images.decoders import configure
from serving.errors import ServingError
from serving.hotload.handover import send
from serving.hotload.pace import Pauses
from serving.loading import prove_bundle
from serving.opening import open_bundle


def main() -> None:
    """Load one bundle."""
    pipe, pauses = Connection(int(sys.argv[1])), Pauses(int(sys.argv[2]))
    path, config = pipe.recv()
    threading.Thread(target=_end_with_server, args=(pipe,), daemon=True).start()
    voice = Voice(pipe)
    logging.root.setLevel(config.log_level)
    logging.root.addHandler(voice)
    configure()
    try:
        bundle = open_bundle(path, config)
        voice.say(bundle)
        proved = prove_bundle(bundle, config, pauses.clock)
    except (BundleError, ServingError) as error:
        voice.say(error)
    except Exception:  # noqa: BLE001 - raised again on the other side
        voice.say(RuntimeError(traceback.format_exc()))
    else:
        send(pipe, proved)
    os._exit(0)  # what was opened here need not be closed


class Voice(QueueHandler):
    """Sends what is logged, and what else is said; one thread at a time."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(queue.SimpleQueue())
        self._pipe, self._speaking = pipe, threading.Lock()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send an entry, which `QueueHandler` has made fit for it."""
        self.say(record)

    def say(self, what: object) -> None:
        """Send anything."""
        with self._speaking:
            self._pipe.send(what)


def _end_with_server(pipe: Connection) -> None:
    """End this process when the other side of the pipe is gone, whatever it does."""
    pipe.poll(None)  # nothing else comes
    os._exit(1)


if __name__ == "__main__":
    main()
