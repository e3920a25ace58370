"""The profile of a real run."""

import csv
import json
from pathlib import Path

import pytest

from tests.training.conftest import start
from tests.training.test_train import finish

SHORT = ("--train-images", "640", "--max-epoch", "1", "--run-eval", "0", "--tracker", "none")


@pytest.mark.slow
def test_a_profile_has_the_times_of_operators(tmp_path: Path) -> None:
    flags = ("--recipe", "smoke", *SHORT, "--profile", "2", "--ckpt-path", tmp_path)
    output = finish(start("training.train", *flags))
    [run] = tmp_path.glob("2*")
    assert f"profile: {run / 'profile'}" in output
    [table] = run.glob("profile/*/FRAMEWORK/cpu_op_type_info_0.csv")
    rows = {row["op_type"]: row for row in csv.DictReader(table.read_text().splitlines())}
    # The tiny network has nine convolutions, each of which runs once in a step.
    assert rows["Conv2D"]["type_occurrences"] == "18"
    assert float(rows["Conv2D"]["total_compute_time"]) > 0
    [timeline] = run.glob("profile/*/ASCEND_PROFILER_OUTPUT/trace_view.json")
    names = [event["name"] for event in json.loads(timeline.read_text())]
    assert sum("/Conv2D-" in name for name in names) == 18
