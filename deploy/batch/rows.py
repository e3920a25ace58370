"""The rows of a shard: one per image, in the order of the plan."""

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from deploy.batch.item import Item, Status, Trouble
from serving.api.messages import order
from serving.backends.backend import Probabilities
from serving.engine.job import Answer, Prediction
from serving.errors import InvalidRequestError

STATUSES: tuple[Status, ...] = ("OK", "INVALID", "UNREADABLE", "FAILED")


class Format:
    """What a row has of an answer.

    Args:
        labels: of the model, in its order.
        top_k: how many of them a row has.
        all_probabilities: whether it has the probabilities of all, too.
    """

    def __init__(self, labels: Sequence[str], top_k: int, *, all_probabilities: bool) -> None:
        self._labels, self._top_k = pa.array(labels, pa.string()), min(top_k, len(labels))
        columns = {
            "path": pa.string(),
            "key": pa.string(),
            "status": pa.string(),
            "reason": pa.string(),
            "labels": pa.list_(pa.string()),
            "probabilities": pa.list_(pa.float32()),
        }
        if all_probabilities:
            columns["all_probabilities"] = pa.list_(pa.float32(), len(labels))
        self._has_all = all_probabilities
        self.schema = pa.schema(columns)

    def table(self, items: Sequence[Item], outcomes: Sequence[Answer | Trouble]) -> pa.Table:
        """Return the rows of images and what became of them."""
        troubles = [trouble_of(outcome) for outcome in outcomes]
        answered = [one.probabilities for one in outcomes if isinstance(one, Prediction)]
        columns = [
            [_text(item.path) for item in items],
            [None if item.key is None else _text(item.key) for item in items],
            [trouble.status if trouble else "OK" for trouble in troubles],
            [trouble.reason if trouble else None for trouble in troubles],
            *self._answers(answered, np.array([trouble is not None for trouble in troubles])),
        ]
        return pa.table(columns, schema=self.schema)

    def _answers(self, rows: Sequence[Probabilities], missing: NDArray[np.bool_]) -> list[pa.Array]:
        """Return the columns of labels and probabilities; null where there is no answer."""
        classes, top_k = len(self._labels), self._top_k
        best = np.array([order(row, top_k) for row in rows], np.int32).reshape(-1, top_k)
        stacked = np.array(rows, np.float32).reshape(-1, classes)
        offsets = pa.array(np.concatenate(([0], top_k * np.cumsum(~missing))), pa.int32())
        values = (
            self._labels.take(pa.array(best.ravel())),
            pa.array(np.take_along_axis(stacked, best, axis=1).ravel()),
        )
        mask = pa.array(missing)
        columns = [pa.ListArray.from_arrays(offsets, each, mask=mask) for each in values]
        if self._has_all:
            whole = np.zeros((len(missing), classes), np.float32)
            whole[~missing] = stacked
            fixed = pa.FixedSizeListArray.from_arrays
            columns.append(fixed(pa.array(whole.ravel()), classes, mask=mask))
        return columns


def trouble_of(outcome: Answer | Trouble) -> Trouble | None:
    """Return why an image has no answer; None if it has one."""
    if isinstance(outcome, Prediction):
        return None
    if isinstance(outcome, Trouble):
        return outcome
    status: Status = "INVALID" if isinstance(outcome, InvalidRequestError) else "FAILED"
    return Trouble(status, str(outcome))


def _text(name: str) -> str:
    r"""Return a name as text: bytes that are no UTF-8 become \xff, as in Python's source."""
    if name.isascii():
        return name
    return os.fsencode(name).decode(errors="backslashreplace")
