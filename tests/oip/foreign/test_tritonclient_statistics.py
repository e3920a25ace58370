"""Statistics and Prometheus' metrics agree to the count, in each client of tritonclient."""

import re
import time
import urllib.request

import numpy as np
import pytest
from callers import FILES, HTTP, MODEL, encoded
from tritonclient.utils import InferenceServerException


def statistics(caller, *model):
    found = caller.read("get_inference_statistics", *model)["model_stats"]
    return next(stats for stats in found if stats["name"] == MODEL)


def numbers(stats):
    """Return a JSON's counts by name, where none is there as 0."""
    sums = stats["inference_stats"]
    return {
        "images": int(stats.get("inference_count", 0)),
        "batches": int(stats.get("execution_count", 0)),
        "ok": int(sums["success"].get("count", 0)),
        "failed": int(sums["fail"].get("count", 0)),
        "batch_images": sum(
            int(batch["batch_size"]) * int(batch["compute_infer"].get("count", 0))
            for batch in stats.get("batch_stats", ())
        ),
    }


def metrics(images):
    """Return images by outcome, wasted ones and batches, once so many images are answered.

    The server renders its metrics a few times per second; between that it sends the last page.
    """
    until = time.monotonic() + 30
    while True:
        page = urllib.request.urlopen(f"http://{HTTP}/metrics").read().decode()
        found = re.findall(r'^serving_images_total{.*outcome="(\w+)".*} (\S+)$', page, re.MULTILINE)
        outcomes = {outcome: float(count) for outcome, count in found}
        if outcomes["ok"] == images or time.monotonic() > until:
            return outcomes, total(page, "wasted_images"), total(page, "batches")


def total(page, name):
    return sum(map(float, re.findall(rf"^serving_{name}_total\S* (\S+)$", page, re.MULTILINE)))


def test_they_agree(caller):
    before = numbers(statistics(caller, MODEL))
    with pytest.raises(InferenceServerException):
        caller.classify(encoded([b"no image"]))
    for _ in range(3):
        caller.classify(encoded(FILES))
    after = numbers(statistics(caller, MODEL, "1"))
    assert after["images"] - before["images"] == 3 * len(FILES)
    assert after["failed"] - before["failed"] == 1
    outcomes, wasted, batches = metrics(after["images"])
    assert after["images"] == after["ok"] == outcomes.pop("ok")
    assert after["batch_images"] == after["images"] + wasted
    assert after["failed"] == sum(outcomes.values())
    assert after["batches"] == batches


def test_all_models_come_without_a_name(caller):
    assert numbers(statistics(caller)) == numbers(statistics(caller, MODEL))


def test_times_are_in_nanoseconds(caller):
    caller.classify(np.zeros((1, 28, 28, 3), np.uint8))
    sums = statistics(caller, MODEL)["inference_stats"]
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        count, ns = int(sums[stage].get("count", 0)), int(sums[stage].get("ns", 0))
        assert count > 0
        assert ns < 60e9 * count
    assert int(sums["success"]["ns"]) >= int(sums["compute_infer"]["ns"]) > 0
