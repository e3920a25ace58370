"""Servers that take turns, the plain one among them, and the tables and the picture of it."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.__main__ import FloorComparison
from benchmarks.command import Benchmark
from benchmarks.comparison import Pair
from benchmarks.floor import Best, Floor
from benchmarks.floor_network import Way, write_network
from benchmarks.photos import Photos
from benchmarks.picture import Picture
from benchmarks.precisions import Measured, PrecisionRecord, Variant, runs_here
from benchmarks.records import Machine, Record
from benchmarks.revisions import Revisions
from benchmarks.rival import Rival
from benchmarks.server import LoadResult, listening
from benchmarks.turns import Turns, by_turns
from bundle.golden import read_golden
from bundle.store import Bundle
from cli.program import UsageError
from clients.client import ClassifierClient
from tests.benchmarks.test_benchmarks import run
from tests.support.bundles import write_bundle
from tests.support.paths import ROOT, SAMPLES

RECORD = Record(
    command="python -m benchmarks.precisions",
    started=datetime(2026, 11, 1, tzinfo=UTC),
    revision="0" * 40,
    machine=Machine(cpu="a CPU", cores=2, system="Linux", load=0.0),
    versions={"python": "3.11.7"},
)
WAY = Way(runtime="openvino", workers=2, threads=1, batch=1)


def answered(speed: float, cpu_ms: float = 1.0) -> LoadResult:
    return LoadResult(
        images_per_second=speed,
        p50_ms=2.0,
        p99_ms=3.0,
        batch_images=1.5,
        cpu_ms=cpu_ms,
        client_cpu_ms=0.1,
        memory_mib=100.0,
    )


def measured(name: str, top1: float | None, *speeds: float) -> Measured:
    floor = Floor(way=WAY, images_per_second=100.0, batch_ms=10.0, cpu_ms=1.0)
    pairs = [Pair(floor=floor, server=answered(speed)) for speed in speeds]
    precision = name.split()[1]
    return Measured.model_validate(
        {"name": name, "precision": precision, "top1": top1, "pairs": pairs}
    )


def precision_record(*top1: float | None) -> PrecisionRecord:
    names = ("onnxruntime fp32", "openvino bf16", "openvino int8")
    rounds = ((10.0, 20.0, 40.0), (20.0, 30.0, 80.0), (50.0, 100.0, 150.0))
    return PrecisionRecord(
        **RECORD.model_dump(),
        model="m/1",
        digest="sha256:0",
        images="photos",
        in_flight=32,
        duration_s=1.0,
        best={"fp32": Best(busy=WAY, lone=WAY, trials=[])},
        measured=[
            measured(name, accuracy, *speeds)
            for name, accuracy, speeds in zip(names, top1, rounds, strict=True)
        ],
    )


def test_each_has_a_turn_in_every_round_and_the_order_alternates() -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    taken = by_turns({name: lambda name=name: turn(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "abccbaabc"
    assert taken == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_ratios_are_medians_over_the_rounds_to_the_first_server() -> None:
    first = [answered(10, 4.0), answered(20, 4.0), answered(40, 4.0)]
    other = [answered(20, 2.0), answered(30, 1.0), answered(40, 8.0)]
    record = Turns(
        **RECORD.model_dump(),
        images="photos",
        duration_s=1.0,
        turns={"32 in flight": {"plain": first, "ours": other}},
    )
    plain, ours = record.cells()
    assert plain[:6] == ["32 in flight", "plain", "20.0", "1.00", "4.00", "1.00"]
    # 20/10, 30/20, 40/40 and 4/2, 4/1, 4/8
    assert ours[:6] == ["32 in flight", "ours", "30.0", "1.50", "2.00", "2.00"]


def test_precisions_are_compared_with_the_first_and_with_their_floors() -> None:
    fp32, _, int8 = precision_record(0.9326, None, 0.9323).cells()
    assert fp32[:4] == ["onnxruntime fp32", "93.26%", "20.0", "1.00"]
    assert int8[:4] == ["openvino int8", "93.23%", "100.0", "5.00"]
    assert int8[6:8] == ["100.0", "100.0%"]


@pytest.mark.parametrize("top1", [(0.9, 0.89, 0.88), (None, None, None)], ids=str)
def test_the_picture_says_speed_and_accuracy(
    tmp_path: Path, top1: tuple[float | None, ...]
) -> None:
    (tmp_path / "record.json").write_text(precision_record(*top1).model_dump_json())
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        Picture(records=[tmp_path / "record.json"], output=picture).run()
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    drawn = pictures[0].read_text()
    for text in ("m/1", "20.0", "5.0x", "ONNX Runtime"):
        assert f"<!-- {text} -->" in drawn
    assert ("top-1 89.00%" in drawn) == (top1[0] is not None)
    assert ("random weights" in drawn) == (top1[0] is None)


def test_a_missing_record_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"python -m benchmarks\.precisions writes it"):
        Picture(records=[tmp_path / "none.json"]).run()


def test_what_a_bundle_lacks_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    assert runs_here(bundle, Variant("openvino", "fp32"))
    assert not runs_here(bundle, Variant("openvino", "int8"))
    assert "left out: openvino int8" in capsys.readouterr().err


def test_the_plain_server_gives_the_bundles_answers(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    network = tmp_path / "network.onnx"
    file = bundle.path / bundle.file("onnx", "fp32").path
    write_network(file, network, bundle.manifest.transform.crop)
    command = [sys.executable, "-m", "benchmarks.plain_server", "--model", str(bundle.path)]
    with (
        listening([*command, "--network", str(network)], tree=ROOT) as server,
        ClassifierClient(server.address) as client,
    ):
        for image in read_golden(bundle.path).images:
            [prediction] = client.classify([bundle.path / image.path], timeout_s=10.0)
            best = max(range(6), key=lambda index: image.probabilities[index])
            assert prediction.classes[0].index == best
            expected = pytest.approx(image.probabilities[best], abs=0.01)
            assert prediction.classes[0].probability == expected


@pytest.mark.slow
def test_ours_and_the_plain_server_take_turns(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    flags = ["--model", str(bundle), "--images", str(SAMPLES), "--output", str(tmp_path)]
    printed = run("benchmarks.rival", *flags, "--rounds", "1", "--duration-s", "0.6",
                  "--concurrency", "2")  # fmt: skip
    record = json.loads((tmp_path / "rival.json").read_text())
    assert list(record["turns"]["2 in flight"]) == ["plain", "ours, onnxruntime fp32"]
    assert "1" in record["trials"]
    assert "ours, onnxruntime fp32" in printed


def test_photos_are_written(tmp_path: Path) -> None:
    Photos(output=tmp_path, images=2, width=80, height=60).run()
    assert len(list(tmp_path.glob("photo_*.jpg"))) == 2


@pytest.mark.parametrize(
    ("benchmark", "field"),
    [(Revisions, "old"), (Rival, "original"), (FloorComparison, "original")],
)
def test_a_path_that_is_not_there_is_refused_at_once(
    benchmark: type[Benchmark], field: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match=f"{field}\n  Path does not point to a "):
        benchmark.model_validate({field: tmp_path / "nowhere"})
