"""Lines of a log: as text for people, as JSON for programs; nothing in one can begin another."""

import json
import re
from datetime import UTC, datetime

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


def shortened(text: str, longest: int) -> str:
    """Return a text of no more than so many characters, and how many are left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}[{len(text) - longest} characters left out]"


def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")
