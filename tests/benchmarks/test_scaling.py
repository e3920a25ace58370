"""The simulation of more cores: what must hold of any, what a formula says, and its command."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.frontends import Cost as Measured
from benchmarks.frontends import FrontEndRecord
from benchmarks.queueing import Clock, Cores, Device, Threads
from benchmarks.scaling import Scaling, check
from benchmarks.scaling_costs import Cost, Costs, DeviceCurve
from benchmarks.scaling_record import ScalingRecord
from benchmarks.scaling_server import Outcome, Setup, Simulation
from cli.program import UsageError
from tests.benchmarks.test_turns import RECORD

FAST = DeviceCurve(images_per_second=100_000, batch=64, fixed_ms=0.1)
FLAGS = {"alone_ms": 0.3, "engine_ms": 0.1, "frontend_ms": 0.2, "decode_ms": 1, "locked_ms": 0.2}


def costs(
    alone: float = 0.3,
    engine: float = 0.1,
    frontend: float = 0.2,
    decode: float = 1.0,
    locked: float = 0.2,
) -> Costs:
    each = {
        "alone": alone,
        "engine": engine,
        "frontend": frontend,
        "decode": decode,
        "locked": locked,
    }
    return Costs.model_validate({name: Cost(ms=ms, source="a test") for name, ms in each.items()})


def simulate(
    cores: int, frontends: int, each: Costs | None = None, device: DeviceCurve = FAST
) -> Outcome:
    return Simulation(Setup(cores, frontends, each or costs(), device, in_flight=128)).run()


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_queue_waits_as_the_formula_for_it_says(load: float) -> None:
    """M/D/1: Poisson arrivals, equal times, one server (Pollaczek and Khinchine)."""
    service_s, requests = 1.0, 20_000
    source, waited = random.Random(1), []
    clock = Clock()
    thread = Threads(Cores(clock, 1))

    def arrive() -> None:
        came = clock.now
        thread.put(service_s, lambda: waited.append(clock.now - came - service_s))
        clock.after(source.expovariate(load / service_s), arrive)

    arrive()
    clock.run(requests * service_s / load)
    expected_s = load * service_s / (2 * (1 - load))
    assert sum(waited) / len(waited) == pytest.approx(expected_s, rel=0.1)
    assert thread.busy_s / clock.now == pytest.approx(load, rel=0.05)


def test_threads_of_several_processes_share_the_cores() -> None:
    clock, done = Clock(), []
    cores = Cores(clock, 2)
    for number in range(3):
        Threads(cores).put(1.0, lambda number=number: done.append((number, clock.now)))
    clock.run(10)
    assert done == [(0, 1.0), (1, 1.0), (2, 2.0)]
    assert cores.busy_s == 3.0


def test_a_lock_is_one_at_a_time_whatever_the_cores() -> None:
    clock, done = Clock(), []
    python = Threads(Cores(clock, 8))
    for _ in range(3):
        python.put(1.0, lambda: done.append(clock.now))
    clock.run(10)
    assert done == [1.0, 2.0, 3.0]


def test_a_device_runs_what_waits_and_at_most_a_batch() -> None:
    clock, done = Clock(), []
    device = Device(clock, 4, lambda images: 1.0 + images)
    for _ in range(3):
        device.put(2, lambda: done.append(clock.now))
    clock.run(20)
    assert done == [3.0, 8.0, 8.0]  # 2 images at once, then both that have gathered
    assert device.busy_s == pytest.approx(6 * 5.0 / 4)


@pytest.mark.parametrize(("cores", "frontends"), [(2, 0), (2, 1), (8, 2), (16, 4)])
def test_no_request_is_lost_or_made_up(cores: int, frontends: int) -> None:
    """Little's law: what is in flight is the rate times the time that each takes."""
    outcome = simulate(cores, frontends)
    assert outcome.images_per_second * outcome.mean_s == pytest.approx(128, rel=0.03)
    worked = outcome.images_per_second * 1.3 / 1e3  # 0.3 + 1 ms, or 0.1 + 0.2 + 1
    assert outcome.shares["cores"] * cores == pytest.approx(worked, rel=0.03)
    assert max(outcome.shares.values()) <= 1.02


def test_more_cores_are_never_slower() -> None:
    for frontends in (0, 1, 4):
        speeds = [simulate(cores, frontends).images_per_second for cores in (1, 2, 4, 8, 16, 32)]
        assert all(more > 0.97 * fewer for fewer, more in pairwise(speeds))


@pytest.mark.parametrize(
    ("cores", "frontends", "each", "device", "bound", "speed"),
    [
        (2, 4, costs(), FAST, "cores", 2000 / 1.3),
        (32, 1, costs(), FAST, "front ends", 1000 / 0.4),
        (32, 0, costs(), FAST, "engine", 1000 / 0.5),
        (64, 8, costs(engine=0.5), FAST, "engine", 1000 / 0.5),
        (
            32,
            8,
            costs(),
            DeviceCurve(images_per_second=500, batch=8, fixed_ms=2),
            "device",
            500,
        ),
    ],
    ids=["cores", "front ends", "one process", "engine", "device"],
)
def test_what_has_no_time_left_is_the_bound(
    cores: int, frontends: int, each: Costs, device: DeviceCurve, bound: str, speed: float
) -> None:
    outcome = simulate(cores, frontends, each, device)
    assert outcome.bound == bound
    assert outcome.images_per_second == pytest.approx(speed, rel=0.06)


def test_with_too_few_requests_nothing_of_the_server_is_the_bound() -> None:
    setup = Setup(32, 8, costs(), FAST, in_flight=2)
    assert Simulation(setup).run().bound == "callers"


def test_the_same_seed_is_the_same_run() -> None:
    first, again = simulate(4, 2), simulate(4, 2)
    assert first == again


def measured(frontends: int, speed: float) -> Measured:
    return Measured(
        frontends=frontends,
        images_per_request=1,
        in_flight=64,
        images_per_second=speed,
        engine_ms=0.3 if not frontends else 0.1,
        frontend_ms=0.0 if not frontends else 0.2 + 0.01 * frontends,
        caller_ms=0.1,
        batch_images=8.0,
    )


def front_end_record(folder: Path, *runs: Measured) -> Path:
    path = folder / "frontends.json"
    record = FrontEndRecord(**RECORD.model_dump(), model="m/1", costs=list(runs))
    path.write_text(record.model_dump_json())
    return path


def test_a_run_is_simulated_with_its_own_costs_and_callers() -> None:
    # One process on two cores: its lock bounds it. Two front ends: the cores, callers included.
    assert check(measured(0, 3000), 2, seed=0).simulated == pytest.approx(1000 / 0.3, rel=0.05)
    found = check(measured(2, 5000), 2, seed=0)
    assert (found.bound, found.measured) == ("cores", 5000)
    assert found.simulated == pytest.approx(2000 / (0.1 + 0.22 + 0.1), rel=0.05)


def test_the_command_writes_record_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = front_end_record(tmp_path, measured(0, 3000), measured(1, 4500), measured(2, 5000))
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        Scaling(
            cores=[2, 16],
            frontends=[0, 2],
            duration_s=0.2,
            record=path,
            picture=picture,
            output=tmp_path,
        ).run()
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert "<!-- what bounds it, and thousands of images per second -->" in pictures[0].read_text()
    record = ScalingRecord.model_validate_json((tmp_path / "scaling.json").read_text())
    assert [(point.frontends, point.cores) for point in record.points] == [
        (0, 2),
        (0, 16),
        (2, 2),
        (2, 16),
    ]
    assert len(record.checks) == 3
    assert record.costs.frontend.ms == pytest.approx(0.22), "the dearest run counts"
    assert "revision 0000000" in record.costs.engine.source
    assert "Measured and simulated" in capsys.readouterr().out
    assert "| 2 | 1 | 5,000 |" in (tmp_path / "scaling.md").read_text()


def test_flags_take_the_place_of_records(tmp_path: Path) -> None:
    scaling = Scaling(
        cores=[2],
        frontends=[1],
        duration_s=0.1,
        record=tmp_path / "none.json",
        decoders=tmp_path / "none.json",
        picture=tmp_path / "picture.svg",
        output=tmp_path,
        **FLAGS,
    )
    scaling.run()
    record = ScalingRecord.model_validate_json((tmp_path / "scaling.json").read_text())
    assert record.checks == []
    assert record.costs.decode == Cost(ms=1, source="flag")


def test_a_missing_or_old_record_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"python -m benchmarks\.frontends writes it"):
        Scaling(record=tmp_path / "none.json").run()
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no record of this python -m benchmarks\.frontends"):
        Scaling(record=tmp_path / "old.json").run()
    path = front_end_record(tmp_path, measured(1, 4500))
    with pytest.raises(UsageError, match="with front ends and without"):
        Scaling(record=path).run()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"locked_ms": 2}, "it cannot hold the lock for 2 ms"),
        ({"device_fixed_ms": 20}, "a full batch takes 12.8 ms"),
    ],
    ids=str,
)
def test_times_that_do_not_fit_are_told(wrong: dict[str, float], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        Scaling(record=tmp_path / "none.json", **(FLAGS | wrong)).run()
