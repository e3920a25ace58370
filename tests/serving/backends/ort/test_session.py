import logging
import re
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from bundle.manifest import MANIFEST, Manifest
from serving.backends.backend import Target
from serving.backends.devices import Device
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.session import check_placement, log_progress, open_session
from serving.backends.settings import DEFAULTS
from serving.errors import StartupError
from tests.support.bundles import BUCKETS

CUDA = Device("cuda")
NAME = "CUDAExecutionProvider"


def session(tiny: Path) -> onnxruntime.InferenceSession:
    stated = Manifest.model_validate_json((tiny / MANIFEST).read_bytes())
    return open_session(Target(tiny, stated, stated.files[0], Device("cpu"), BUCKETS, DEFAULTS))


def cuda_session(options: dict[str, str], parts: list[tuple[str, str]]) -> Mock:
    """Return what a session on a GPU would say of itself."""
    assigned = []
    for provider, operator in parts:
        part = Mock(ep_name=provider)
        part.get_nodes.return_value = [Mock(op_type=operator)]
        assigned.append(part)
    said = Mock()
    said.get_providers.return_value = [NAME, "CPUExecutionProvider"]
    said.get_provider_options.return_value = {NAME: options, "CPUExecutionProvider": {}}
    said.get_provider_graph_assignment_info.return_value = assigned
    return said


def test_a_session_that_fell_back_to_the_cpu_is_refused(tiny: Path) -> None:
    with pytest.raises(StartupError, match=r"cuda:0 was asked for, but .*\['CPUExecutionProvider'"):
        check_placement(session(tiny), CUDA, (NAME, {}))


def test_an_option_that_is_not_in_use_is_refused() -> None:
    said = cuda_session({"device_id": "1", "use_tf32": "1"}, [])
    asked = {"device_id": "0", "use_tf32": "0", "unreported": "1"}
    with pytest.raises(StartupError, match="device_id is 1, not 0, use_tf32 is 1, not 0"):
        check_placement(said, CUDA, (NAME, asked))


def test_work_on_the_cpu_is_refused() -> None:
    cpu = "CPUExecutionProvider"
    said = cuda_session({}, [(NAME, "Conv"), (cpu, "FusedConv"), (cpu, "Shape"), (cpu, "Gemm")])
    with pytest.raises(StartupError, match="1 FusedConv on CPUExecutionProvider, 1 Gemm on"):
        check_placement(said, CUDA, (NAME, {}))


def test_arithmetic_on_shapes_may_stay_on_the_cpu() -> None:
    parts = [(NAME, "Conv"), ("CPUExecutionProvider", "Shape")]
    check_placement(cuda_session({"device_id": "0"}, parts), CUDA, (NAME, {"device_id": "0"}))


@pytest.mark.parametrize("parts", [[], [(NAME, "Relu")]])
def test_a_session_that_does_not_say_where_its_work_runs_is_refused(
    parts: list[tuple[str, str]],
) -> None:
    with pytest.raises(StartupError, match="does not say what runs on CUDAExecutionProvider"):
        check_placement(cuda_session({}, parts), CUDA, (NAME, {}))


def test_where_the_operators_run_is_read_from_the_real_runtime(tiny: Path) -> None:
    """A graph on the CPU, asked whether it runs elsewhere: its product is found on the CPU."""
    real = session(tiny)
    said = cuda_session({}, [])
    said.get_provider_graph_assignment_info = real.get_provider_graph_assignment_info
    with pytest.raises(StartupError, match=r"1 (Gemm|MatMul) on CPUExecutionProvider"):
        check_placement(said, CUDA, (NAME, {}))


class Listener(logging.Handler):
    """Sets an event at the first line that says that something is not done."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "not done" in record.getMessage():
            self.heard.set()


def test_what_takes_long_is_logged_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handler = Listener()
    logging.getLogger("serving.backends.ort.session").addHandler(handler)
    with log_progress("engine", interval_s=0.001):
        assert handler.heard.wait(10)
    logging.getLogger("serving.backends.ort.session").removeHandler(handler)
    assert re.fullmatch(r"engine: not done after \d+ s", caplog.messages[0])
    assert re.fullmatch(r"engine: done in \d+\.\d s", caplog.messages[-1])
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_what_fails_is_not_said_to_be_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError), log_progress("engine"):
        raise RuntimeError
    assert caplog.messages == []
