"""The text of a `rollout.yaml` -> its entries, each with its place.

It is read as events, before YAML makes values of them: a version 1.10 stays what it is, a key that
is there twice is seen, and nothing is expanded, or followed deeper than a label's own mapping.
"""

import re
from collections.abc import Iterator
from reprlib import repr as brief
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.reader import ReaderError

from bundle.kinds import NAME
from serving.engine.rollout import CANARY, STABLE

LABEL = re.compile(r"(?!v\d)[a-z][a-z0-9_-]{0,31}")
VERSION = re.compile(NAME)
SHARE = re.compile(r"(\d{1,3}(\.\d{1,6})?) ?%")
SMALLEST_SHARE = 1e-8
EXAMPLE = "write one label a line, such as `stable: 1` or `canary: {version: 2, share: 10%}`"


class Entry(NamedTuple):
    """What a label stands for.

    Attributes:
        version: of the model.
        share: of the requests without a version, 0 to 1; 0 if none is stated.
        line: of the label, from 1.
        start, stop: where it begins and ends in the text; a comment after it is no part of it.
    """

    version: str
    share: float
    line: int
    start: int
    stop: int


class NotARolloutError(ValueError):
    """What is wrong with a text, and in which line, from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def parse(text: str) -> dict[str, Entry]:
    """Return the entries by label; raise `NotARolloutError`."""
    try:
        # The marks of events are optional only for those who make some.
        events: Iterator[Any] = yaml.parse(text, yaml.SafeLoader)
        return dict(_Parser(events).entries())
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotARolloutError(line, "it has a character that YAML does not allow") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "; indent with spaces" if "\\t" in str(error.problem) else ""
        line = mark.line + 1 if mark else 1
        raise NotARolloutError(line, f"it is not YAML: {error.problem}{hint}") from None


def check_label(label: str) -> None:
    """Raise `ValueError` if a text can be no label."""
    if not LABEL.fullmatch(label):
        raise ValueError(
            f"{brief(label)} is no label: it has up to 32 of a-z, 0-9, - and _, begins with a "
            f"letter, and does not look like a version"
        )


def check_share(label: str, share: float) -> None:
    """Raise `ValueError` if a label cannot have a share of the requests, 0 to 1."""
    if share and label != CANARY:
        raise ValueError(f"only {CANARY} has a share, not {label}; {STABLE} gets the rest")
    if share and not SMALLEST_SHARE <= share <= 1:
        raise ValueError(f"a share is above 0% and up to 100%, not {100 * share:.9g}%")


class _Parser:
    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._end: Any = None  # of the mapping that was read last

    def entries(self) -> Iterator[tuple[str, Entry]]:
        top = self._next()
        if isinstance(top, ScalarEvent) and not top.value:  # `---` and no more
            top = self._next()
        elif isinstance(top, MappingStartEvent) and not top.flow_style:
            for label in self._keys():
                yield label.value, self._entry(label)
            top = self._next()
        if not isinstance(top, StreamEndEvent):
            _fail(top, EXAMPLE)

    def _entry(self, label: Any) -> Entry:
        value = self._next()
        if is_mapping := isinstance(value, MappingStartEvent):
            stated = {key.value: _scalar(self._next()) for key in self._keys()}
        else:
            stated = {"version": _scalar(value)}
        if not {"version"} <= stated.keys() <= {"version", "share"}:
            _fail(label, f"a label states a version and perhaps a share; {EXAMPLE}")
        # The end of a mapping in lines of its own is the next token, after comments.
        last = self._end if is_mapping and value.flow_style else [*stated.values()][-1]
        version, share = stated["version"], stated.get("share")
        if not VERSION.fullmatch(version.value):
            _fail(version, f"{brief(version.value)} is no version")
        try:
            check_label(label.value)
            portion = _share(share.value) if share else 0.0
            check_share(label.value, portion)
        except ValueError as error:
            _fail(share or label, str(error))
        line, start = label.start_mark.line + 1, label.start_mark.index
        return Entry(version.value, portion, line, start, last.end_mark.index)

    def _keys(self) -> Iterator[Any]:
        """Yield the keys of the mapping that has begun; whoever gets one takes its value."""
        seen = set[str]()
        while not isinstance(key := self._next(), MappingEndEvent):
            if _scalar(key).value in seen:
                _fail(key, f"{brief(key.value)} is there twice")
            seen.add(key.value)
            yield key
        self._end = key

    def _next(self) -> Any:
        event = next(self._events)
        while isinstance(event, StreamStartEvent | DocumentStartEvent | DocumentEndEvent):
            event = next(self._events)
        if isinstance(event, NodeEvent) and (event.anchor or getattr(event, "tag", None)):
            _fail(event, "it has an anchor, an alias or a tag; write plain values")
        return event


def _scalar(event: Any) -> Any:
    if not isinstance(event, ScalarEvent):
        _fail(event, EXAMPLE)
    return event


def _share(text: str) -> float:
    """Return a share as a number from 0 to 1."""
    found = SHARE.fullmatch(text)
    if not found or not float(found[1]):
        raise ValueError(f"{brief(text)} is no share; write one above 0%, such as 10%")
    return float(found[1]) / 100


def share_text(share: float) -> str:
    """Return a share, 0 to 1, as it is written."""
    return f"{100 * share:.6f}".rstrip("0").rstrip(".") + "%"


def _fail(event: Any, why: str) -> NoReturn:
    raise NotARolloutError(event.start_mark.line + 1, why)
