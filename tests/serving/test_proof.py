"""What backends must answer before they serve, on a CPU and on an accelerator."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from bundle.store import Bundle, BundleError
from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities
from serving.backends.devices import Device
from serving.backends.runtimes import load
from serving.backends.settings import DEFAULTS
from serving.errors import ProcessLostError, ServingError, StartupError
from serving.loader import Loader
from tests.support.bundles import BUCKETS

Step = tuple[str, int]


class Spoiled:
    """Right answers from `backend`, but wrong ones in batches of `victim` after `step`."""

    def __init__(self, backend: Backend, victim: int = 0, step: Step = ("", 0)) -> None:
        self.backend, self.victim, self.step = backend, victim, step
        self.ran: list[tuple[int, int]] = []
        self.was_prepared = self.is_spoiled = False

    def allocate(self, bucket: int) -> Pixels:
        self._follow("allocate", bucket)
        return self.backend.allocate(bucket)

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        self.ran.append((len(buffer), images))
        answers = self.backend.run(buffer, images)
        wrong = self.is_spoiled and len(buffer) == self.victim
        self._follow("run", len(buffer))
        return 1 - answers if wrong else answers

    def _follow(self, call: str, bucket: int) -> None:
        self.was_prepared |= bucket == self.victim
        self.is_spoiled |= self.was_prepared and self.step == (call, bucket)

    def describe(self) -> Placement:
        return self.backend.describe()

    def trim(self) -> None:
        self.backend.trim()

    def widen(self, threads: int) -> None:
        """Return None."""

    def close(self) -> None:
        self.backend.close()


def loader(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Backend], Spoiled]
) -> Loader:
    """Return a loader whose accelerators are a CPU."""

    def load_on_cpu(*bundle: object, **settings: object) -> list[Spoiled]:
        backends = load(*bundle, **settings | {"device": Device("cpu")})  # type: ignore[arg-type]
        return [wrap(backend) for backend in backends]

    monkeypatch.setattr("serving.loader.load", load_on_cpu)
    bundle = Bundle.open(tiny)
    return Loader(bundle, bundle.manifest.files[0], BUCKETS, DEFAULTS)


@pytest.mark.parametrize("device", ["cuda:1", "ascend"])
def test_every_batch_size_is_proved_on_every_instance(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    wrapped: list[Spoiled] = []

    def wrap(backend: Backend) -> Spoiled:
        wrapped.append(Spoiled(backend))
        return wrapped[-1]

    for instance in loader(tiny, monkeypatch, wrap).open(Device.parse(device), 2):
        instance.backend.close()
    prepared = [(bucket, bucket) for bucket in reversed(BUCKETS)]
    alone = [(1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (4, 3), (8, 3)]  # three golden images
    full = [(bucket, bucket) for bucket in BUCKETS]
    assert [backend.ran for backend in wrapped] == [prepared + alone + full] * 2


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("victim", [2, 8])
def test_a_batch_size_that_another_one_spoils_is_found(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, device: str, victim: int
) -> None:
    """Preparing the smallest size breaks a larger one, whose own first run was right."""

    def wrap(backend: Backend) -> Spoiled:
        return Spoiled(backend, victim, ("allocate", 1))

    with pytest.raises(BundleError):
        loader(tiny, monkeypatch, wrap).open(Device.parse(device), 1)


def test_a_batch_size_that_another_ones_first_run_spoils_on_one_instance_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped: list[Spoiled] = []

    def wrap(backend: Backend) -> Spoiled:
        wrapped.append(Spoiled(backend, 8 if wrapped else 0, ("run", 1)))
        return wrapped[-1]

    with pytest.raises(BundleError, match=r"differ by .*; it ran on cpu in batches of 8"):
        loader(tiny, monkeypatch, wrap).open(Device("cuda"), 2)


@pytest.mark.parametrize(
    ("device", "raised"),
    [("cuda:1", ProcessLostError), ("tensorrt", ProcessLostError), ("ascend", StartupError)],
)
def test_a_gpu_that_cannot_be_reopened_is_lost_for_the_process(
    device: str, raised: type[ServingError], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be tried for ever, by a process that looks alive."""
    [instance] = loader(tiny, monkeypatch, Spoiled).open(Device.parse(device), 1)
    instance.backend.close()
    failing = Mock(side_effect=StartupError("ONNX Runtime cannot load it: CUDA failure 700"))
    monkeypatch.setattr("serving.loader.load", failing)
    with pytest.raises(raised, match="CUDA failure 700") as caught:
        instance.reopen(BUCKETS)
    assert type(caught.value) is raised


def test_what_another_process_has_proved_answers_one_image(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Spoiled] = []

    def wrap(backend: Backend) -> Spoiled:
        opened.append(Spoiled(backend))
        return opened[-1]

    instances = loader(tiny, monkeypatch, wrap).open(Device("cpu"), 2, is_proved=True)
    assert [one.ran for one in opened] == [[(1, 1)], []]
    for instance in instances:
        instance.backend.close()


def test_what_computes_otherwise_than_where_it_was_proved_is_refused(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = loader(tiny, monkeypatch, lambda backend: Spoiled(backend, 1, ("allocate", 1)))
    with pytest.raises(BundleError, match="probabilities of golden image"):
        wrong.open(Device("cpu"), 1, is_proved=True)
