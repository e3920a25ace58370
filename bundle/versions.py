"""The order of versions."""

import re


def age(version: str) -> list[tuple[int, str]]:
    """Sort 10 after 9, and 1.10 after 1.9: digits by their number, the rest as text."""
    return [
        (int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", version)
    ]
