"""Rules for the whole suite."""

import os
from collections.abc import Generator

import pytest

ACCELERATORS = {"gpu", "ascend"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set only an accelerator may be missing: any other skip is a failure."""
    report = yield
    missing_accelerator = any(item.get_closest_marker(name) for name in ACCELERATORS)
    if report.skipped and os.environ.get("CI") and not missing_accelerator:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report
