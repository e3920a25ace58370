"""The benchmark of hostile input, run for a second: that its attacks arrive, and a good caller."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.test_benchmarks import run
from tests.support.bundles import write_bundle

FILES = "BMP: RLE runs"
CALLS = ("gzip bombs", "300 header fields", "HTTP garbage", "500 scrapes a second")
RULES, BOMBS = "HTTP: requests that break rules", "HTTP: 16 gzip bombs in flight"
NUMBERS = "OIP: 8 tensors of packed numbers in flight"


@pytest.mark.slow
def test_a_good_caller_loses_nothing_beside_an_attack(tmp_path: Path) -> None:
    flags = ["--model", str(write_bundle(tmp_path)), "--duration-s", "1", "--output", str(tmp_path)]
    printed = run(
        "benchmarks.hostile",
        *flags,
        "--only",
        ",".join(["none", FILES, NUMBERS, RULES, BOMBS, *CALLS]),
    )
    record = json.loads((tmp_path / "hostile.json").read_text())
    turns = {turn["attack"]: turn for turn in record["turns"]}
    assert turns["none"]["outcome"] == {}
    assert turns[FILES]["outcome"].keys() == {"INVALID_ARGUMENT"}
    assert turns["gzip bombs"]["outcome"]["gRPC 12"]
    assert turns["500 scrapes a second"]["outcome"]["200"]
    for name in CALLS:
        assert turns[name]["outcome"]
        assert name in printed
    assert turns[RULES]["outcome"].keys() >= {"400", "404", "501"}
    assert turns[BOMBS]["outcome"].keys() >= {"400"}
    # On a busy machine the server ends before it has read one of these messages.
    assert turns[NUMBERS]["outcome"]
    assert turns[NUMBERS]["outcome"].keys() <= {"INVALID_ARGUMENT", "UNAVAILABLE"}
    assert all(turn["in_time"] == turn["sent"] == 20 for turn in turns.values())
    assert all(turn["http_in_time"] == turn["http_sent"] > 0 for turn in turns.values())
    assert all(turn["end_s"] is not None for turn in turns.values())
