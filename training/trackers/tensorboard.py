"""TensorBoard: event files in the run's folder, with the package's own writer of records.

`tensorboard --logdir outputs` shows them, and the settings of each run under HPARAMS.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from training.trackers.tracker import Ending, Values

FOLDER = "tensorboard"
STATUS = {
    "FINISHED": api_pb2.STATUS_SUCCESS,
    "KILLED": api_pb2.STATUS_UNKNOWN,
    "FAILED": api_pb2.STATUS_FAILURE,
}

logger = logging.getLogger(__name__)


class TensorBoard:
    """Appends to an event file of this process; a record is there whole, or not at all.

    The package's `EventFileWriter` would write in a thread, and once that has failed on a full disk
    it takes nothing more.
    """

    def __init__(self, run: Path, step: int) -> None:
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        # Files are read in the order of their names.
        now = time.time()
        name = f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = folder / name
        self._file.touch()
        self._write(Event(file_version="brain.Event:2"))
        # By this, readers drop what an earlier process wrote of this step and later ones.
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=step + 1, session_log=start))
        logger.info("epochs also go to TensorBoard: tensorboard --logdir %s", run.parent)

    def config(self, settings: Mapping[str, Any]) -> None:
        """Write the settings for the page HPARAMS, which takes no lists."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for name, value in settings.items()
        }
        self._write(Event(summary=hparams_pb(plain)))

    def epoch(self, step: int, values: Values) -> None:
        """Write the numbers of an epoch as scalars."""
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=scalars)))

    def close(self, ending: Ending) -> None:
        """Write how the run ended, for the page HPARAMS."""
        end = SessionEndInfo(status=STATUS[ending], end_time_secs=time.time())
        about = metadata.create_summary_metadata(HParamsPluginData(session_end_info=end))
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR
        )
        self._write(Event(summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        before = self._file.stat().st_size
        try:
            with self._file.open("ab") as file:
                RecordWriter(file).write(event.SerializeToString())
        except OSError:
            # Half a record would hide all that follow it.
            os.truncate(self._file, before)
            raise
