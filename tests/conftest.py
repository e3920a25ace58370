"""Rules for the whole suite."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from images.decoders import configure
from tests.support import lite
from tests.support.paths import SHIPPED

MAY_BE_MISSING = {"gpu", "ascend", "perf_analyzer"}

# What this user's `tune` has found would decide how the servers of the tests run.
os.environ["SERVING_TUNED"] = "off"

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

configure()  # as every program does before it decodes


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI is set only what a machine cannot have may be missing: other skips are failures."""
    report = yield
    may_be_missing = any(item.get_closest_marker(name) for name in MAY_BE_MISSING)
    # Workers send reports as UTF-8, which has no lone surrogates.
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    if report.skipped and os.environ.get("CI") and not may_be_missing:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have workers begin with the files that have slow tests: one at the end ran alone."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def lite_python() -> Path:
    """An interpreter with the real MindSpore Lite."""
    return lite.lite_python()


@pytest.fixture(scope="session")
def lite_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle with a file for MindSpore Lite; read-only."""
    return lite.convert(SHIPPED, tmp_path_factory.mktemp("lite"))
