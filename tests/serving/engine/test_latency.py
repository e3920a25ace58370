import pytest

from serving.engine.latency import FRESH_S, BatchLatency, WaitCorrection
from tests.support.serving import VirtualClock


def seeded() -> tuple[BatchLatency, VirtualClock]:
    clock = VirtualClock()
    latency = BatchLatency(clock)
    latency.seed(1, 0.01)
    latency.seed(8, 0.06)
    return latency, clock


def test_warm_up_is_what_is_expected_first() -> None:
    latency, _ = seeded()
    assert latency.usual(1) == latency.bound(1) == 0.01
    assert latency.usual(8) == latency.bound(8) == 0.06


def test_the_fastest_instance_is_the_seed() -> None:
    latency, _ = seeded()
    latency.seed(8, 0.05)
    latency.seed(8, 0.07)
    assert latency.usual(8) == 0.05


def test_nothing_is_expected_of_what_never_ran() -> None:
    assert BatchLatency(VirtualClock()).bound(4) == 0


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_twenty_batches_of_another_speed_change_every_bucket(factor: float) -> None:
    latency, clock = seeded()
    for _ in range(20):
        clock.now += 0.01
        latency.observe(8, 0.06 * factor)
    for bucket, seconds in ((1, 0.01), (8, 0.06)):
        assert latency.usual(bucket) == pytest.approx(factor * seconds)
        assert latency.bound(bucket) == pytest.approx(factor * seconds)


def test_the_bound_is_a_quantile_and_the_usual_time_ignores_the_odd_one() -> None:
    latency, _ = seeded()
    for seconds in [0.01] * 14 + [0.02, 0.02]:
        latency.observe(1, seconds)
    assert latency.usual(1) == pytest.approx(0.01)
    assert latency.bound(1) == pytest.approx(0.02)
    latency.observe(1, 60.0)
    assert latency.bound(1) == pytest.approx(0.02)


def test_old_batches_count_no_more() -> None:
    latency, clock = seeded()
    for _ in range(20):
        latency.observe(1, 1.0)
    assert not latency.is_stale(clock.now)
    clock.now += FRESH_S + 1
    assert latency.is_stale(clock.now)
    latency.observe(1, 0.01)
    assert latency.bound(1) == pytest.approx(0.01)


def test_one_slow_batch_on_an_idle_server_is_not_what_is_expected() -> None:
    latency, clock = seeded()
    for seconds in (0.01, 0.01, 1.5):
        clock.now += 5
        latency.observe(1, seconds)
    assert latency.bound(1) == pytest.approx(0.01)
    assert latency.usual(1) == pytest.approx(0.01)


def test_two_slow_batches_are() -> None:
    latency, clock = seeded()
    clock.now += FRESH_S + 1
    for _ in range(2):
        latency.observe(1, 0.03)
    assert latency.bound(1) == pytest.approx(0.03)


def test_waits_are_corrected_by_what_nine_of_ten_took() -> None:
    clock = VirtualClock()
    correction = WaitCorrection(clock)
    assert correction.factor() == 1.0
    correction.observe([(1.0, 1.2)] * 8 + [(1.0, 1.5), (2.0, 8.0)])
    assert correction.factor() == 1.5


def test_short_waits_teach_nothing() -> None:
    correction = WaitCorrection(VirtualClock())
    correction.observe([(0.0, 5.0)] * 10)
    assert correction.factor() == 1.0


def test_a_correction_is_forgotten_when_nothing_waits_any_more() -> None:
    clock = VirtualClock()
    correction = WaitCorrection(clock)
    correction.observe([(1.0, 2.0)] * 10)
    clock.now += 11
    assert correction.factor() == 1.0
