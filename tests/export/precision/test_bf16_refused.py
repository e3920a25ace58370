"""bf16 where it cannot be: without the fp32 file, or on a CPU that has none."""

from pathlib import Path

import pytest

from bundle.manifest import MANIFEST, Manifest
from export.__main__ import main
from serving.backends import hardware
from serving.backends.devices import Device
from serving.backends.runtimes import choose
from serving.errors import StartupError
from tests.export.precision.test_bundle import Wrapping
from tests.support.bundles import write_bundle


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without bf16, as far as Linux says."""
    monkeypatch.setattr(hardware, "BF16", {"amx_of_another_planet"})


def test_it_needs_the_fp32_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ckpt-file", "x.ckpt", "--precision", "bf16"]) == 2
    assert "ask for both, --precision fp32,bf16" in capsys.readouterr().err


@pytest.mark.usefixtures("no_bf16")
def test_an_export_measures_it_or_refuses(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapping = Wrapping(tmp_path)
    assert main(wrapping.arguments(network, "--precision", "fp32,bf16")) == 1
    told = capsys.readouterr().err
    assert "measured where the export runs, and this CPU cannot compute in bf16" in told
    assert "leave bf16 out of --precision" in told
    assert not list(wrapping.output.glob("fashion/*"))


@pytest.mark.usefixtures("no_bf16")
def test_a_server_refuses_it(tmp_path: Path) -> None:
    path = write_bundle(tmp_path)
    stated = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    [fp32] = stated.files
    bf16 = fp32.model_copy(update={"precision": "bf16"})
    held = stated.model_copy(update={"files": [fp32, bf16]})
    with pytest.raises(StartupError, match="openvino: this CPU cannot compute in bf16"):
        choose(held, Device("cpu"), "bf16")
    assert choose(held, Device("cpu")).file is fp32
