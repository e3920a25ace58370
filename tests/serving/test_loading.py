from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bundle.store import Bundle, BundleError
from serving import loading
from serving.backends.backend import Placement, predict
from serving.backends.devices import Device
from serving.backends.opening import load
from serving.backends.settings import DEFAULTS
from serving.config import ServingConfig
from serving.loading import Loader, load_model
from serving.metrics import Metrics
from tests.support.bundles import BUCKETS, SIDE, probabilities

PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def loader(tiny: Path) -> Loader:
    bundle = Bundle.open(tiny)
    return Loader(bundle, bundle.manifest.files[0], BUCKETS, DEFAULTS)


def test_an_instance_can_be_opened_anew_and_answers_alike(loader: Loader) -> None:
    first, second = loader.open(Device("cpu"), 2)
    first.backend.close()
    for backend in (first.reopen(BUCKETS), second.backend):
        answers = predict(backend, BUCKETS, PIXELS)
        np.testing.assert_allclose(answers, probabilities(PIXELS), atol=1e-6)
        backend.close()


def test_what_does_not_prove_itself_is_closed(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    [instance] = loader.open(Device("cpu"), 1)
    wrong = Mock(wraps=instance.backend)
    wrong.run.side_effect = lambda buffer, images: 1 - instance.backend.run(buffer, images)
    monkeypatch.setattr(loading, "load", lambda *_, **__: [wrong])
    with pytest.raises(BundleError, match="probabilities of golden image"):
        instance.reopen(BUCKETS)
    wrong.close.assert_called_once_with()


def test_a_model_spans_all_devices(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs in the place of GPUs: what counts is who is asked for what."""
    asked = []

    def load_on_cpu(*bundle: object, device: Device, **settings: object) -> list[Mock]:
        asked.append(str(device))
        backends = [Mock(wraps=b) for b in load(*bundle, device=Device("cpu"), **settings)]  # type: ignore[arg-type]
        for backend in backends:
            backend.describe.side_effect = lambda: Placement("onnxruntime", str(device), "fp32")
        return backends

    monkeypatch.setattr(loading, "load", load_on_cpu)
    monkeypatch.setattr(loading, "choose_file", lambda manifest, *_: manifest.files[0])
    config = ServingConfig(model=[tiny], device="cuda:0,cuda:2-3")
    registry = CollectorRegistry()
    model = load_model(tiny, config, Metrics(registry))
    assert asked == ["cuda:0", "cuda:2", "cuda:3"]
    assert model.placement == ("onnxruntime", "cuda:0,cuda:2,cuda:3", "fp32")
    ready = {"model": "tiny", "version": "1", "device": "cuda:2#1"}
    assert registry.get_sample_value("serving_device_ready", ready) == 1
    model.close()


@pytest.mark.parametrize(("flags", "threads"), [({}, 4), ({"decode_threads": 2}, 2)])
def test_as_many_threads_decode_as_there_are_cores_unless_told_otherwise(
    tiny: Path, flags: dict[str, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    config = ServingConfig.model_validate({"model": [tiny], **flags})
    model = load_model(tiny, config, Metrics(CollectorRegistry()))
    assert model.decoders.threads == threads
    model.close()
