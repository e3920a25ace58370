"""MindSpore Lite in its worker, with the real library."""

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bundle.manifest import ModelFile
from bundle.store import Bundle
from images.transform import Pixels
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.lite.backend import LiteBackend
from serving.backends.runtimes import load
from serving.backends.settings import RuntimeSettings
from serving.errors import DeviceLostError, StartupError
from tests.support.lite import shared_memory

CPU = Device("cpu")
BUCKETS = [1, 2, 4, 8, 16, 32]


def open_one(
    path: Path,
    python: Path,
    *,
    file: ModelFile | None = None,
    device: Device = CPU,
    buckets: Sequence[int] = BUCKETS,
    batch_timeout_s: float = 60.0,
) -> LiteBackend:
    bundle = Bundle.open(path)
    [backend] = load(
        path,
        bundle.manifest,
        file or bundle.file("mindir-lite", "fp32"),
        device=device,
        buckets=buckets,
        settings=RuntimeSettings(lite_python=python, batch_timeout_s=batch_timeout_s),
    )
    assert isinstance(backend, LiteBackend)
    return backend


@contextmanager
def opened(path: Path, python: Path, **options: Any) -> Iterator[LiteBackend]:
    backend = open_one(path, python, **options)
    try:
        yield backend
    finally:
        backend.close()
        assert not alive(backend.worker.pid)


@pytest.fixture(scope="module")
def backend(lite_bundle: Path, lite_python: Path) -> Iterator[LiteBackend]:
    with opened(lite_bundle, lite_python) as backend:
        yield backend


def pixels(images: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (images, 28, 28, 3), np.uint8)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextmanager
def ending(pid: int) -> Iterator[None]:
    """Wait for the end of a process that is alive at first."""
    descriptor = os.pidfd_open(pid)
    try:
        yield
        ready, _, _ = select.select([descriptor], [], [], 30)
        assert ready, f"process {pid} still runs"
    finally:
        os.close(descriptor)


def test_every_bucket_in_any_order_gives_what_onnx_runtime_gives(
    backend: LiteBackend, lite_bundle: Path
) -> None:
    bundle = Bundle.open(lite_bundle)
    [onnx] = load(lite_bundle, bundle.manifest, bundle.file("onnx", "fp32"), device=CPU)
    expected = predict(onnx, BUCKETS, pixels(32))
    for bucket in [1, 32, 2, 8, 32, 16, 4, 1, 16]:
        batch = backend.allocate(bucket)
        batch[:] = pixels(32)[:bucket]
        np.testing.assert_allclose(backend.run(batch, bucket), expected[:bucket], atol=1e-5, rtol=0)


def test_answers_stay_when_the_next_batch_runs(backend: LiteBackend) -> None:
    first = predict(backend, BUCKETS, pixels(1))
    kept = first.copy()
    predict(backend, BUCKETS, pixels(2)[1:])
    np.testing.assert_array_equal(first, kept)


def test_a_buffer_of_ones_own_is_copied_and_padding_not_answered(backend: LiteBackend) -> None:
    answers = backend.run(pixels(4), 3)
    assert answers.shape == (3, 10)
    np.testing.assert_allclose(answers, predict(backend, BUCKETS, pixels(3)), atol=1e-6)


def test_only_the_stated_batch_sizes_run(backend: LiteBackend) -> None:
    with pytest.raises(ValueError, match=r"no bucket of 3; there are \[1, 2, 4"):
        backend.run(pixels(3), 3)


def test_it_says_what_is_in_use(backend: LiteBackend) -> None:
    assert backend.describe() == ("mindspore-lite", "cpu", "fp32")


def test_a_ctrl_c_in_the_terminal_does_not_reach_the_worker(backend: LiteBackend) -> None:
    assert os.getpgid(backend.worker.pid) != os.getpgid(0)


def test_batches_lie_in_one_file_that_has_no_name(backend: LiteBackend) -> None:
    [file] = shared_memory(backend.worker.pid)
    assert file in shared_memory(os.getpid())
    assert file.endswith("(deleted)")


def test_a_worker_killed_in_mid_batch_fails_it_and_leaves_nothing(
    lite_bundle: Path, lite_python: Path
) -> None:
    files = shared_memory(os.getpid())
    with opened(lite_bundle, lite_python) as backend:
        os.kill(backend.worker.pid, signal.SIGSTOP)  # so that the batch cannot be over
        killer = threading.Timer(0.2, os.kill, (backend.worker.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(DeviceLostError, match=f"{backend.worker.pid} ended with -9"):
            backend.run(backend.allocate(1), 1)
        with pytest.raises(DeviceLostError):
            backend.run(backend.allocate(1), 1)
    del backend
    assert shared_memory(os.getpid()) == files


def test_a_worker_that_hangs_is_killed_at_the_deadline(
    lite_bundle: Path, lite_python: Path
) -> None:
    with opened(lite_bundle, lite_python, batch_timeout_s=0.3) as backend:
        os.kill(backend.worker.pid, signal.SIGSTOP)
        with pytest.raises(DeviceLostError, match=r"did not answer within 0\.3 s and was killed"):
            backend.run(backend.allocate(1), 1)


@pytest.fixture
def wrapper(lite_python: Path, tmp_path: Path) -> Path:
    """A script that starts the interpreter and waits for it."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n"{lite_python}" "$@"\nexit $?\n')
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("number", [signal.SIGCONT, signal.SIGSTOP, signal.SIGKILL])
def test_an_interpreter_behind_a_script_ends_with_it(
    lite_bundle: Path, wrapper: Path, number: signal.Signals
) -> None:
    backend = open_one(lite_bundle, wrapper)
    [interpreter] = psutil.Process(backend.worker.pid).children()
    closer = threading.Thread(target=backend.close, daemon=True)
    with ending(interpreter.pid), ending(backend.worker.pid):
        interpreter.send_signal(number)
        closer.start()
        closer.join(30)
        assert not closer.is_alive()


def test_a_worker_that_hangs_up_but_does_not_end_is_killed(
    lite_bundle: Path, tmp_path: Path
) -> None:
    script = tmp_path / "python"
    hang_up = "import os, sys, time; os.close(int(sys.argv[2])); time.sleep(600)"
    script.write_text(f"#!{sys.executable}\n{hang_up}\n")
    script.chmod(0o755)
    with ThreadPoolExecutor(1) as callers:
        opening = callers.submit(open_one, lite_bundle, script)
        with pytest.raises(StartupError, match="ended with -9"):
            opening.result(30)


PARENT = """
import sys
from pathlib import Path
from tests.serving.backends.lite.test_backend import open_one
print(open_one(Path(sys.argv[1]), Path(sys.argv[2])).worker.pid, flush=True)
sys.stdin.read()
"""


def test_a_worker_ends_with_its_server(lite_bundle: Path, lite_python: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(lite_bundle), str(lite_python)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        worker = int(parent.stdout.readline())
        with ending(worker):
            parent.kill()


def test_an_interpreter_without_the_package_is_named(lite_bundle: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot load .*No module named 'mindspore_lite'"):
        open_one(lite_bundle, Path(sys.executable))


def test_an_interpreter_that_is_none_is_named(lite_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"{tmp_path} cannot be run.*--lite-python"):
        open_one(lite_bundle, tmp_path)


def test_a_broken_model_is_refused(lite_bundle: Path, lite_python: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(lite_bundle)
    broken = tmp_path / "broken.mindir"
    broken.write_bytes(b"broken")
    sha256 = hashlib.sha256(b"broken").hexdigest()
    file = bundle.file("mindir-lite", "fp32").model_copy(
        update={"path": str(broken), "sha256": sha256}
    )
    with pytest.raises(StartupError, match=r"cannot load .*broken.mindir.*build_from_file failed"):
        open_one(lite_bundle, lite_python, file=file)


def test_a_file_of_another_device_is_refused(lite_bundle: Path, lite_python: Path) -> None:
    with pytest.raises(StartupError, match="was not converted for ascend"):
        open_one(lite_bundle, lite_python, device=Device("ascend"))


def test_no_room_for_batches_is_said(lite_bundle: Path, lite_python: Path) -> None:
    file = Bundle.open(lite_bundle).file("mindir-lite", "fp32")
    huge = file.model_copy(update={"buckets": [10**9]})
    with pytest.raises(StartupError, match=r"/dev/shm has no room for .*--shm-size"):
        open_one(lite_bundle, lite_python, file=huge, buckets=[10**9])


def test_other_batch_sizes_than_those_of_the_file_are_refused(
    lite_bundle: Path, lite_python: Path
) -> None:
    with pytest.raises(StartupError, match=r"converted for batches of \[1, 2.*not of \[1, 3\]"):
        open_one(lite_bundle, lite_python, buckets=[1, 3])


CONTEXT = """
import json, sys
sys.path.insert(0, "serving/backends/lite")
import mindspore_lite, worker
settings = json.loads(sys.argv[1])
print(json.dumps(worker.read_back(worker.make_context(mindspore_lite, settings))))
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cpu", "device_id": 0, "precision_mode": "enforce_fp32", "threads": 2},
        {"device": "ascend", "device_id": 5, "precision_mode": "enforce_fp16", "threads": 1},
        {"device": "ascend", "device_id": 0, "precision_mode": "preferred_optimal", "threads": 3},
    ],
)
def test_the_real_context_holds_what_was_asked(
    lite_python: Path, settings: dict[str, object]
) -> None:
    command = [lite_python, "-c", CONTEXT, json.dumps(settings)]
    assert json.loads(subprocess.check_output(command)) == settings
