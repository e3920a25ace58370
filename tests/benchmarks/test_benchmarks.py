"""The benchmarks, run for a fraction of a second: what they record, not how fast it was."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.floor import BareLoopProcess
from benchmarks.models import NAME, Models
from benchmarks.page import interval
from benchmarks.photos import photo
from bundle.golden import prove_pixels, prove_probabilities
from bundle.store import Bundle
from cli.program import UsageError
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.runtimes import load
from tests.support.bundles import BUCKETS, write_bundle
from tests.support.paths import ROOT, SAMPLES


def run(module: str, *flags: str) -> str:
    command = [sys.executable, "-m", module, *flags]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_needs_no_framework() -> None:
    code = (
        "import runpy, sys; sys.argv = ['models', '--help']\n"
        "try: runpy.run_module('benchmarks.models', run_name='__main__')\n"
        "except SystemExit: print({'mindspore', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--network" in done.stdout
    assert done.stdout.endswith("set()\n")


def test_a_pipe_does_not_stop_the_bare_loop(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    loop = BareLoopProcess(model=write_bundle(tmp_path), images=str(tmp_path / "a.png"))
    with pytest.raises(UsageError, match=r"a\.png cannot be read: it is a named pipe, not a file"):
        loop.run()


@pytest.mark.slow
def test_the_server_is_compared_with_the_bare_loop(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    flags = ["--model", str(bundle.path), "--output", str(tmp_path), "--concurrency", "1,2"]
    flags += ["--capacity-shares", "0.5", "--rounds", "1"]
    printed = run("benchmarks", *flags, "--duration-s", "0.1")
    record = json.loads((tmp_path / "tiny-1.json").read_text())

    assert (record["model"], record["digest"]) == ("tiny/1", bundle.digest)
    assert record["command"].startswith("python -m benchmarks --model")
    assert record["machine"]["cores"] > 0
    assert record["machine"]["cpu"]
    assert record["revision"]
    assert {"python", "onnxruntime", "grpcio"} <= record["versions"].keys()
    best = record["best"]
    tried = [trial["way"] for trial in best["trials"]]
    assert {way["batch"] for way in tried} == {*BUCKETS}
    assert {way["runtime"] for way in tried} == {"onnxruntime", "openvino"}
    assert best["busy"] in tried
    assert record["decoders"]

    [measured] = record["rounds"]
    assert measured["lone"]["way"] == best["lone"]
    assert (best["lone"]["batch"], best["lone"]["workers"]) == (1, 1)
    loads = ["1 in flight", "2 in flight", "50% of capacity"]
    assert [row["load"] for row in record["rows"]] == loads
    for row in record["rows"]:
        floor, server = measured["pairs"][row["load"]].values()
        assert floor["way"] == best["busy"]
        ratio = server["images_per_second"] / floor["images_per_second"]
        assert row["ratio"] == pytest.approx(ratio)
        assert row["cpu_ratio"] == pytest.approx(floor["cpu_ms"] / server["cpu_ms"])
        assert row["cpu_ms_beyond_floor"] == pytest.approx(server["cpu_ms"] - floor["cpu_ms"])
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["memory_mib"] > 10
        assert row["p50_over_bare"] == pytest.approx(row["p50_ms"] / measured["lone"]["batch_ms"])

    table = (tmp_path / "tiny-1.md").read_text()
    assert record["revision"] in table
    for name in loads:
        assert name in printed
        assert f"| {name} |" in table


@pytest.mark.slow
def test_a_server_is_overloaded_and_left(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    flags = ["--model", str(bundle.path), "--images", str(SAMPLES), "--output", str(tmp_path)]
    printed = run(
        "benchmarks.overload", *flags, "--duration-s", "1", "--callers", "6", "--rounds", "1"
    )
    record = json.loads((tmp_path / "overload.json").read_text())

    [flood] = record["floods"]
    assert (record["model"], flood["seconds"], flood["deadline_s"]) == ("tiny/1", 1, 1)
    assert flood["capacity_concurrency"] in (8, 32, 64)
    # Poisson with this mean: five standard deviations.
    before, after = flood["capacities"]
    mean = 3 * before
    assert abs(flood["offered"] - mean) < 5 * mean**0.5
    assert 0 < flood["goodput"] <= flood["offered"]
    assert len(flood["memory_mib"]) >= 2
    for departure in record["departures"]:
        assert (departure["callers"], departure["stayed"], departure["answered"]) == (6, 3, 3)
        assert 3 <= departure["ran"] <= 6
        assert departure["wasted"] <= 3
    share = f"{flood['goodput'] / ((before + after) / 2):.1%}"
    assert share in printed
    assert f"| share of capacity | {share} | {share} |" in (tmp_path / "overload.md").read_text()


def test_decoders_are_compared_with_each_other(tmp_path: Path) -> None:
    flags = ["--images", "1", "--large-images", "0", "--rounds", "1"]
    run("benchmarks.decoders", *flags, "--output", str(tmp_path))
    rows = json.loads((tmp_path / "decoders.json").read_text())["rows"]
    alone = {row["decoder"]: row["difference"] for row in rows if row["work"] == "decode"}
    assert {alone[name] for name in ("Pillow", "simplejpeg")} == {0}
    assert {row["decoder"] for row in rows} - alone.keys() == {"Transform.decode"}
    assert all(0 < row["least_ms"] <= row["median_ms"] for row in rows)
    kinds = {row["work"]: row["difference"] for row in rows if row["work"].startswith("the first")}
    assert kinds == {
        "the first, fast_image_resize": 1,
        "the first, reduced": 0,  # too small to be
        "the first, fast_image_resize, reduced": 1,
        "the first, turned": 0,
        "the first, fast_image_resize, turned": 1,
        "the first, reduced, turned": 0,
        "the first, fast_image_resize, reduced, turned": 1,
    }
    assert "| 500 x 375 | decode | Pillow |" in (tmp_path / "decoders.md").read_text()


@pytest.mark.slow
def test_every_source_feeds_training(tmp_path: Path) -> None:
    flags = ["--images", "6", "--batch", "4", "--rounds", "1"]
    run("benchmarks.input", *flags, "--output", str(tmp_path))
    rows = json.loads((tmp_path / "input.json").read_text())["rows"]
    ways = {(row["source"], row["work"], row["by"], row["workers"]) for row in rows}
    assert len(ways) == len(rows) == 11
    assert {source for source, *_, workers in ways if workers == 2} == {
        "folder",
        "tar",
        "MindRecord",
    }
    assert ("folder", "training", "threads", 2) in ways
    assert all(row["images_per_second"] > 0 for row in rows)
    assert "| folder | training | this process | 0 |" in (tmp_path / "input.md").read_text()


@pytest.mark.slow
def test_training_is_compared_with_the_bare_network(tmp_path: Path) -> None:
    run("benchmarks.training", "--networks", "tiny", "--rounds", "1", "--output", str(tmp_path))
    rows = json.loads((tmp_path / "training.json").read_text())["rows"]
    same_work, shortest, forward = rows
    assert (same_work["against"], same_work["work"]) == ("same work", "training")
    assert (shortest["against"], shortest["work"]) == ("shortest step", "training")
    assert (forward["against"], forward["work"]) == ("forward pass", "forward")
    for row in rows:
        assert row["ratio"] == pytest.approx(row["ours"] / row["bare"])
    assert 0 <= same_work["data_wait_share"] < 1
    assert "| tiny | training | same work | 32 |" in (tmp_path / "training.md").read_text()


def test_a_bundle_for_photos_is_made(tmp_path: Path) -> None:
    Models(output=tmp_path, precision=("fp32", "int8")).run()
    bundle = Bundle.open(tmp_path / NAME / "1")
    # The random weights in int8 are told from those in fp32, and prove themselves in both runtimes.
    int8 = bundle.file("onnx", "int8")
    golden, images = prove_pixels(bundle)
    for runtime in ("onnxruntime", "openvino"):
        [backend] = load(
            bundle.path, bundle.manifest, int8, device=Device("cpu"), runtime=runtime, buckets=[1]
        )
        prove_probabilities(bundle, int8, golden, images, partial(predict, backend, [1]), runtime)
        backend.close()
    manifest = bundle.manifest
    assert manifest.input.shape == ["batch", 224, 224, 3]
    [*photos] = (tmp_path / "photos").iterdir()
    pixels = manifest.transform.decode(photos[0].read_bytes())
    assert pixels.shape == (224, 224, 3)


def test_a_photo_is_as_varied_as_one_and_always_the_same() -> None:
    pixels = photo(3)
    np.testing.assert_array_equal(pixels, photo(3))
    assert (pixels != photo(4)).mean() > 0.9
    assert pixels.shape == (375, 500, 3)
    assert 30 < pixels.std() < 70
    # Neighbours resemble each other, as in photos, unlike in plain noise.
    assert np.abs(np.diff(pixels.astype(int), axis=1)).mean() < pixels.std() / 2


@pytest.mark.slow
def test_a_model_is_loaded_beside_another(tmp_path: Path) -> None:
    model, other = write_bundle(tmp_path), write_bundle(tmp_path, "other")
    flags = ["--model", str(model), "--other", str(other), "--images", str(SAMPLES)]
    flags += ["--duration-s", "1", "--rounds", "2", "--buckets", "1", "--output", str(tmp_path)]
    printed = run("benchmarks.reload", *flags)
    record = json.loads((tmp_path / "reload-tiny-1-onnxruntime.json").read_text())
    assert (record["model"], record["other"], len(record["rounds"])) == ("tiny/1", "other/1", 2)
    for part in ("before", "during", "after"):
        spans = [one[part] for one in record["rounds"]]
        assert all(span["requests"] and not span["failed"] for span in spans)
        assert all(0 < span["p50_ms"] <= span["p99_ms"] for span in spans)
    assert "of 2 rounds" in printed


def test_what_viewers_cost(tmp_path: Path) -> None:
    model = write_bundle(tmp_path)
    flags = ["--model", str(model), "--images", str(SAMPLES), "--output", str(tmp_path)]
    flags += ["--viewers", "2", "--concurrency", "4", "--pairs", "2", "--turn-s", "0.3"]
    flags += ["--idle-s", "0.1"]
    assert "CPU ms per image" in run("benchmarks.page", *flags)
    page = (tmp_path / "page.md").read_text()
    assert "2 viewers in every second of 4 turns of 0.3 s" in page
    record = json.loads((tmp_path / "page.json").read_text())
    turns = [*record["nobody"], *record["watched"]]
    assert len(turns) == 4
    assert all(turn["images_per_second"] > 0 and turn["cpu_ms"] > 0 for turn in turns)


def test_the_interval_of_a_median() -> None:
    # Of 20, the binomial distribution leaves out 5 on each side.
    assert interval([n / 20 for n in range(20)]) == (0.25, 0.7)
    assert interval([1.0, 0.9]) == (0.9, 1.0)
