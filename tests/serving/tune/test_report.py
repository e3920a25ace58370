"""What tuning says in the end."""

from serving.tune.process import Result
from serving.tune.report import _verdict
from serving.tune.trial import Pair, Trial
from tests.serving.tune.machine import START


def turn(in_time: int) -> Result:
    return Result(answered=100, in_time=in_time, seconds=1.0, p99_ms=2.0)


def test_noise_is_told_where_it_is_known() -> None:
    once = (Pair(turn(90), turn(100)),)
    assert _verdict(Trial(START, once), wins=False).endswith(f"({START}: 0.90 times).")
    twice = Trial(START, (*once, Pair(turn(80), turn(100))))
    assert _verdict(twice, wins=False).endswith(f"({START}: 0.85 ± 0.10 times).")
