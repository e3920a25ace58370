"""The order of versions."""

import re

Parts = list[tuple[int, str]]


def age(version: str) -> tuple[Parts, bool, Parts]:
    """Sort 10 after 9, and 1.10 after 1.9: digits by their number, the rest as text.

    As in Semantic Versioning (semver.org, 11.3), what has more after a hyphen is older: 1-rc is
    before 1.
    """
    release, hyphen, rest = version.partition("-")
    return _parts(release), not hyphen, _parts(rest)


def _parts(version: str) -> Parts:
    return [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)
    ]
