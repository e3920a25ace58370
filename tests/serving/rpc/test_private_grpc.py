"""What is checked of grpcio before the server binds its port."""

import threading
from typing import Any

import grpc
import pytest
from grpc import _server
from grpc._cython import cygrpc

from serving.errors import StartupError
from serving.rpc.server import DirectServer


def refusal() -> str:
    """Return why a server cannot be made."""
    with pytest.raises(StartupError) as refused:
        DirectServer([])
    message = str(refused.value)
    assert f"grpcio {grpc.__version__} is not known to this server (known: 1.85.x)" in message
    assert message.endswith("install 'grpcio>=1.85,<1.86'")
    return message


@pytest.mark.parametrize("version", ["1.84.9", "1.86.0rc1", "1.850.0", "2.0"])
def test_another_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "__version__", version)
    assert "another version" in refusal()


def test_an_operation_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cygrpc, "ReceiveMessageOperation")
    assert "cygrpc.ReceiveMessageOperation is missing" in refusal()


class OtherState(_server._ServerState):
    """The state of a server whose inside has changed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.change()

    def change(self) -> None:
        """Change it."""


def test_a_state_without_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    class State(OtherState):
        def change(self) -> None:
            del self.due

    monkeypatch.setattr(_server, "_ServerState", State)
    assert "the server's state has no due" in refusal()


def test_a_lock_that_would_be_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    class State(OtherState):
        def change(self) -> None:
            self.lock = threading.Lock()  # type: ignore[assignment]

    monkeypatch.setattr(_server, "_ServerState", State)
    assert "no RLock" in refusal()


def test_a_thread_that_calls_no_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "_process_event_and_continue", lambda _state, _event: True)
    assert "handles tags in another way" in refusal()


def test_a_thread_that_takes_other_answers_of_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(_state: object, event: Any) -> bool:
        [] = event.tag(event)
        return True

    monkeypatch.setattr(_server, "_process_event_and_continue", process)
    assert "handles tags in another way" in refusal()
