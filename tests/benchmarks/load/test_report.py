"""Figures worked out by hand."""

import grpc
import pytest

from benchmarks.load.loops import Sample, poisson
from benchmarks.load.report import percentiles, summarize
from benchmarks.load.wire import read_timing
from protos import classifier_pb2 as pb

OK, LATE = grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_run_in_figures():
    result = pb.Result(timing=pb.Timing(infer_ms=2, total_ms=3, batch_images=4))
    response = pb.ClassifyResponse(results=[result]).SerializeToString()
    samples = [
        Sample(due=99.0, done=99.5, code=LATE, response=None),  # before the start
        Sample(due=99.9, done=100.1, code=OK, response=response),  # asked before, answered in it
        Sample(due=100.0, done=100.5, code=OK, response=response),
        Sample(due=100.0, done=101.5, code=OK, response=response),  # answered, but not in time
        Sample(due=101.9, done=102.1, code=OK, response=response),  # after the end
        Sample(due=101.0, done=102.0, code=LATE, response=None),
    ]
    report = summarize(
        "x", samples, read_timing, start=100.0, seconds=2.0, timeout_s=1.0, cpu_s=0.003
    )
    assert (report.requests, report.images_per_second, report.goodput) == (4, 1.5, 1.0)
    assert report.latency_ms["p50"] == pytest.approx(500)
    assert report.server_ms["infer"]["p99"] == 2
    assert report.batch_images == 4
    assert report.errors == {"DEADLINE_EXCEEDED": 1}
    assert report.client_cpu_ms == pytest.approx(0.5)


def test_a_run_without_answers_has_no_latencies():
    samples = [Sample(due=0.0, done=1.0, code=LATE, response=None)]
    report = summarize("x", samples, read_timing, start=0.0, seconds=1.0, timeout_s=1.0, cpu_s=0.0)
    assert (report.images_per_second, report.latency_ms, report.server_ms["infer"]) == (0, {}, {})


def test_percentiles_carry_their_names():
    found = percentiles([float(value) for value in range(1001)])
    assert found == pytest.approx({"p50": 500, "p95": 950, "p99": 990, "p99.9": 999})


def test_arrivals_are_those_of_a_poisson_process():
    arrivals = poisson(rate=200, seconds=50)
    assert ((arrivals >= 0) & (arrivals < 50)).all()
    gaps = arrivals[1:] - arrivals[:-1]
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert (poisson(rate=200, seconds=50) == arrivals).all()
