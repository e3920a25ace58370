"""What all requests share."""

from unittest.mock import Mock

import pytest

from serving.api.requests import Requests
from serving.engine.repository import ModelRepository
from serving.lifecycle import Readiness


@pytest.mark.parametrize(
    ("timeout_us", "deadline_s", "expected_s"),
    [(None, None, 30), (None, 7, 7), (2_000_000, None, 2), (2_000_000, 7, 2), (9_000_000, 7, 7)],
)
def test_the_earlier_deadline_rules(
    timeout_us: int | None, deadline_s: float | None, expected_s: float
) -> None:
    requests = Requests(ModelRepository(), Readiness(Mock()), 8, 30.0, Mock())
    call_s = None if deadline_s is None else 100 + deadline_s
    assert requests.deadline(100.0, call_s, timeout_us) == 100 + expected_s
