"""Lines of a log: as text for people, as JSON for programs; nothing in one can begin another."""

import json
import re
from datetime import UTC, datetime

from serving.access.tokens import PREFIX

LONGEST_TEXT = 256
_TOKEN = re.compile(rf"{PREFIX}[\w-]+", re.ASCII)
# What needs no quotes in `key=value`.
_PLAIN = re.compile(r"[\w.,:;/@+*()\[\]-]+", re.ASCII)


def as_json(fields: dict[str, object]) -> str:
    """Return an object of JSON, in one line of visible ASCII."""
    return json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f")


def as_text(fields: dict[str, object]) -> str:
    """Return `key=value` for each field; a value that could be misread is a string of JSON."""
    return " ".join(f"{key}={_value(str(value))}" for key, value in fields.items())


def utc(unix_s: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def presentable(text: str) -> str:
    """Return what a stranger chose: of bounded length, and without the tokens that it may hold.

    Such are the path of a request, the ids that it states, and errors that quote it.
    """
    if PREFIX in text:
        text = _TOKEN.sub(f"{PREFIX}…", text)
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}[{len(text) - LONGEST_TEXT} characters left out]"


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")
