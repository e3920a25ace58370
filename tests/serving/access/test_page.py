"""docs/security.md names flags that there are, with the limits that they have."""

import re

import pytest

from clients.settings import ServerSettings
from serving.config import ServingConfig
from serving.http.traffic import HttpBounds
from serving.rpc import options
from serving.settings.access import TokenConfig
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
OTHERS = {"--cacert", "--cert", "--require-hashes"}  # curl's and pip's


def test_every_flag_is_one() -> None:
    models = (ServingConfig, ServerSettings, TokenConfig)
    known = {f"--{name.replace('_', '-')}" for model in models for name in model.model_fields}
    named = set(re.findall(r"(?<![-\w])--[a-z][a-z-]+", PAGE))
    assert named - known - OTHERS == set()


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ("connections", [r"10,000", r"1024"]),
        ("idle", [f"{options.IDLE_MS // 1000} s", r"\(75 s\)"]),
        ("handshake", [f"{options.HANDSHAKE_MS // 1000} s", f"{HttpBounds().head_s:g} s"]),
        ("head", [f"{options.METADATA_BYTES // 1024} KiB", f"{HttpBounds().head_bytes // 1024} K"]),
        ("calls", [f"{options.STREAMS_PER_CONNECTION} at", f"{HttpBounds().pipelined} requests"]),
        ("pings", [f"every {options.PING_INTERVAL_MS // 1000} s", "-"]),
    ],
)
def test_limits_are_those_of_the_code(row: str, cells: list[str]) -> None:
    fields = ServingConfig.model_fields
    assert fields["max_connections"].default == 10_000
    assert fields["max_http_connections"].default == HttpBounds().connections == 1024
    assert fields["http_idle_s"].default == HttpBounds().idle_s == 75
    assert re.search(rf"^\| {row}\b[^|]*\| [^|]*{cells[0]}[^|]*\| [^|]*{cells[1]}", PAGE, re.M)
