"""What the search finds on a machine of which every speed is known."""

import math
import random

import pytest

from serving.tune.candidate import Candidate, stages
from serving.tune.command import wins
from serving.tune.process import Result
from serving.tune.report import show
from serving.tune.trial import Pair, Trial
from tests.serving.tune.machine import KINDS, START, Machine

CORES = 4


def speed(candidate: Candidate) -> float:
    """Return the images per second of a CPU that likes int8, two threads and batches of 8."""
    precision = {"fp32": 100.0, "int8": 180.0}[candidate.precision]
    layout = {(4, 1): 1.0, (2, 2): 1.2, (3, 1): 0.9}.get(candidate[2:4], 0.7)
    batch = 1 - 0.1 * abs(math.log2(candidate.buckets[-1] / 8))
    return precision * layout * batch


def run(machine: Machine, budget_s: float = 180.0) -> tuple[list[Trial], Trial]:
    race = machine.race(budget_s)
    trials = race.search(stages(KINDS, CORES))
    return trials, race.confirm()


def test_it_finds_the_best_of_every_setting() -> None:
    machine = Machine(speed)
    trials, final = run(machine)
    assert final.candidate == Candidate("onnxruntime", "int8", 2, 2, (1, 2, 4, 8))
    assert final.ratio == pytest.approx(180 * 1.2 / 80, rel=1e-3)
    assert wins(final)
    assert len({trial.candidate for trial in trials}) == len(trials)
    assert START not in {trial.candidate for trial in trials}
    assert machine.open == 2  # the defaults and the best: all others are gone


def test_a_machine_that_drifts_does_not_mislead_it() -> None:
    _, final = run(Machine(speed, drift=lambda now: 1 + 0.3 * math.sin(now / 20)))
    assert final.candidate == Candidate("onnxruntime", "int8", 2, 2, (1, 2, 4, 8))
    assert final.ratio == pytest.approx(2.7, rel=0.1)


def test_where_the_defaults_are_best_nothing_wins() -> None:
    _, final = run(Machine(lambda one: 100.0 if one == START else 90.0))
    assert not wins(final)
    assert final.pairs == ()


def test_noise_alone_never_wins() -> None:
    chance = random.Random(7)
    for _ in range(20):
        _, final = run(Machine(lambda _: 100.0, drift=lambda _: chance.gauss(1.0, 0.1)))
        assert not wins(final) or final.ratio < 1.15


@pytest.mark.parametrize("budget_s", [5.0, 11.0, 20.0, 60.0])
def test_it_never_takes_longer_than_its_budget(budget_s: float) -> None:
    machine = Machine(speed, load_s=lambda one: 0.01 * sum(one.buckets) * one.instances)
    started = machine.clock.now
    run(machine, budget_s)
    assert machine.clock.now - started <= budget_s


def test_what_would_not_fit_is_not_loaded_and_that_is_said() -> None:
    machine = Machine(speed, load_s=lambda one: 10.0 * len(one.buckets))
    trials, _ = run(machine, 100.0)
    skipped = [trial for trial in trials if trial.note.startswith("skipped: it takes about")]
    assert skipped
    assert not {trial.candidate for trial in skipped} & set(machine.loaded)


def test_a_load_that_never_ends_is_given_up_in_time() -> None:
    machine = Machine(speed, load_s=lambda one: 1.0 if one == START else 1000.0)
    trials, final = run(machine, 30.0)
    assert trials[0].note.startswith("skipped: it is not ready in time")
    assert machine.clock.now - 100.0 <= 30.0 + 1.0  # the defaults were loaded before it began
    assert not wins(final)


def test_what_cannot_be_loaded_is_said_and_left_out() -> None:
    trials, final = run(Machine(lambda one: 0.0 if one.precision == "int8" else speed(one)))
    assert "failed: it cannot be loaded" in {trial.note for trial in trials}
    assert final.candidate == Candidate("onnxruntime", "fp32", 2, 2, (1, 2, 4, 8))


def test_hopeless_candidates_have_one_turn() -> None:
    trials, _ = run(Machine(lambda one: 100.0 if one == START else 50.0))
    assert {len(trial.pairs) for trial in trials} == {1}


def test_progress_counts_down_to_none() -> None:
    left: list[int] = []
    Machine(speed).race(180).search(stages(KINDS, CORES), lambda _, count: left.append(count))
    assert left[-1] == 0


def result(in_time: int) -> Result:
    return Result(answered=100, in_time=in_time, seconds=1, p99_ms=2)


def test_who_keeps_an_slo_that_the_defaults_never_keep_wins() -> None:
    pairs = (Pair(result(100), result(0)),) * 2
    assert wins(Trial(START, pairs))
    assert not wins(Trial(START, (Pair(result(0), result(0)),) * 2))


def test_of_those_who_keep_an_slo_that_the_defaults_never_keep_the_fastest_is_best() -> None:
    slow, fast = (Trial(START, (Pair(result(n), result(0)),) * 2) for n in (10, 90))
    assert slow.ratio < fast.ratio < math.inf


def test_the_table_has_a_row_for_the_only_one_that_keeps_an_slo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = Trial(START, (Pair(result(9), result(0)),) * 2)
    show(START, [one], one, [], slo_ms=2, wins=True)
    assert "9.0" in capsys.readouterr().out


def test_one_pair_of_turns_proves_nothing() -> None:
    assert not wins(Trial(START, (Pair(result(100), result(10)),)))
