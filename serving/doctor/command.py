"""Runs every check, whatever the others do, and shows what they have found."""

import json
import logging
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple, cast

from bundle.files import BundleError
from cli.program import FAILED
from cli.tables import show_rows
from cli.text import printable
from serving.doctor.config import DoctorConfig
from serving.doctor.finding import AS_IT_SAYS, Case, Check, Status
from serving.errors import ServingError

# The modules of this folder with a `check`. Those that need no model come first, as they are quick.
SUBJECTS = (
    "ports", "certificates", "access", "clock", "variables", "user", "descriptors", "cpu",
    "devices", "libraries", "models", "repository", "cache", "memory", "shared_memory", "threads",
)  # fmt: skip
HEADINGS = ("Check", "Status", "Found", "What to do")

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A finding, and the check that made it."""

    check: str
    status: Status
    found: str
    advice: str


def examine(config: DoctorConfig) -> int:
    """Check everything and print what was found; return the exit code."""
    lines = [*diagnose(Case(config))]
    if config.as_json:
        print(json.dumps([line._asdict() for line in lines], indent=2))
    else:
        _show(lines)
        print(f"\n{verdict(lines)}")
    return FAILED if any(line.status == "fail" for line in lines) else 0


def diagnose(case: Case) -> Iterator[Line]:
    """Yield what each check finds. One that itself fails is a finding too, and hides no other."""
    for subject in SUBJECTS:
        name = subject.replace("_", " ")
        try:
            # Only now: what a module needs may be what is broken.
            check = cast("Check", import_module(f"serving.doctor.{subject}").check)
            for finding in check(case):
                yield Line(name, *finding)
        except (ServingError, BundleError) as error:
            yield Line(name, "fail", str(error), AS_IT_SAYS)
        except Exception as error:
            logger.exception("the check of %s has failed", name)
            message = f"the check itself has failed: {type(error).__name__}: {error}"
            yield Line(name, "fail", message, "see the traceback on standard error")


def verdict(lines: list[Line]) -> str:
    """Return the end of the report, in a sentence."""
    statuses = [line.status for line in lines]
    failures, warnings = statuses.count("fail"), statuses.count("warn")
    told = f"{_count(failures, 'failure')}, {_count(warnings, 'warning')}"
    return f"{told}: a server with these settings would {'not work' if failures else 'work'}."


def _show(lines: list[Line]) -> None:
    """Print a table to a terminal; elsewhere it would be as wide as its longest sentences."""
    if sys.stdout.isatty():
        show_rows(HEADINGS, lines, text_columns=len(HEADINGS))
        return
    for line in lines:
        print(printable(f"{line.status:<4}  {line.check}: {line.found}"))
        if line.advice:
            print(printable(f"      {line.advice}"))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"
