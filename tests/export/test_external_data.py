"""Bundles whose weights do not fit into their ONNX files; 2 GB are made small for it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from bundle.manifest import MANIFEST
from bundle.store import Bundle, BundleError
from export.__main__ import main
from export.formats import onnx_model
from serving.backends.devices import Device
from serving.backends.settings import DEFAULTS
from serving.errors import StartupError
from serving.loader import Loader
from tests.export.conftest import ANIMALS
from tests.support.bundles import reseal
from tests.support.checkpoints import write_checkpoint

pytestmark = pytest.mark.slow

PRECISIONS = ("fp32", "fp16", "int8")
WEIGHTS = "model_fp32.onnx.data"


@pytest.fixture(scope="module")
def little_room() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_model, "LARGEST_WEIGHTS", 1000)
        yield


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, animals: Path) -> list[str]:
    checkpoint = tmp_path_factory.mktemp("large") / "best.ckpt"
    write_checkpoint(checkpoint, labels=ANIMALS)
    return [
        *("--ckpt-file", str(checkpoint), "--images", str(animals)),
        *("--max-accuracy-drop", "50", "--batch-size", "2"),
    ]


@pytest.fixture(scope="module")
def large(command: list[str], little_room: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("large")
    assert main([*command, "--precision", ",".join(PRECISIONS), "--output", str(output)]) == 0
    return output / "tiny/1"


@pytest.fixture
def copy(large: Path, tmp_path: Path) -> Path:
    return shutil.copytree(large, tmp_path / "tiny/1")


def start(path: Path) -> None:
    """Do what a server does before it is ready."""
    bundle = Bundle.open(path)
    for file in bundle.manifest.files:
        Loader(bundle, file, file.buckets, DEFAULTS).open(Device("cpu"), 1)


def test_every_file_has_its_weights_beside_it(large: Path) -> None:
    manifest = Bundle.open(large).manifest
    for file, precision in zip(manifest.files, PRECISIONS, strict=True):
        assert file.external_data
        assert file.external_data.path == f"model_{precision}.onnx.data"
        graph = onnx.load(large / file.path, load_external_data=False).graph
        outside = [t for t in graph.initializer if t.data_location == TensorProto.EXTERNAL]
        assert {entry.value for t in outside for entry in t.external_data[:1]} == {
            file.external_data.path
        }
        onnx.checker.check_model(large / file.path, full_check=True)
    assert not [name for name in manifest.attachments if ".onnx" in name]


def test_a_server_proves_and_verify_repeats_it(
    large: Path, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(large)
    assert main(["verify", str(large), "--images", str(animals)]) == 0
    assert capsys.readouterr().out.count("holds") == 4  # int8 in two runtimes


def test_inspect_counts_both_files(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(large)]) == 0
    told = re.search(r"model_fp32\.onnx +fp32 +onnxruntime +([\d,]+)", capsys.readouterr().out)
    files = (large / "model_fp32.onnx", large / WEIGHTS)
    assert told
    assert int(told[1].replace(",", "")) == sum(path.stat().st_size for path in files)


def test_the_same_checkpoint_gives_the_same_bytes(
    command: list[str], large: Path, little_room: None, tmp_path: Path
) -> None:
    assert main([*command, "--precision", "fp32,fp16", "--output", str(tmp_path)]) == 0
    ours, again = (Bundle.open(path).manifest.files for path in (large, tmp_path / "tiny/1"))
    assert [file.digests for file in ours[:2]] == [file.digests for file in again]


def test_a_bundle_of_such_a_file_keeps_its_weights_beside_it(
    large: Path, little_room: None, tmp_path: Path
) -> None:
    stated = Bundle.open(large).manifest.model_dump(mode="json", include={"transform"})
    plain = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    (tmp_path / "transform.json").write_text(json.dumps({**stated, "normalization": plain}))
    (tmp_path / "labels.txt").write_text("\n".join(ANIMALS))
    flags = ("--transform", "transform.json"), ("--labels", "labels.txt"), ("--output", "out")
    told = [word for flag, name in flags for word in (flag, str(tmp_path / name))]
    source = str(large / "model_fp32.onnx")
    kind = ("--output-kind", "probabilities")
    assert main(["from-onnx", source, "--name", "again", *told, *kind]) == 0
    start(tmp_path / "out/again/1")
    [file] = Bundle.open(tmp_path / "out/again/1").manifest.files
    assert file.external_data


def flip(path: Path) -> None:
    """Flip the highest bit of the exponents of the last weights."""
    data = bytearray((path / WEIGHTS).read_bytes())
    data[-61::4] = bytes(byte ^ 0x40 for byte in data[-61::4])
    (path / WEIGHTS).write_bytes(data)


def cut(path: Path) -> None:
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-4])


def exchange(path: Path) -> None:
    other = path / "model_int8.onnx.data"
    (path / WEIGHTS).rename(path / "aside")
    other.rename(path / WEIGHTS)
    (path / "aside").rename(other)


def forget(path: Path) -> None:
    stated = json.loads((path / MANIFEST).read_text())
    stated["files"][0]["external_data"] = None
    (path / MANIFEST).write_text(json.dumps(stated))


def leave(path: Path) -> None:
    """Let the graph take its weights from outside of the bundle, where they are right."""
    shutil.copy(path / WEIGHTS, path.parent / "outside.data")
    model = onnx.load(path / "model_fp32.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../outside.data"
    (path / "model_fp32.onnx").write_bytes(model.SerializeToString())


CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "flipped": (flip, "changed since it was sealed", "differ by|gave probabilities"),
    "cut": (cut, "changed since it was sealed", "ONNX Runtime cannot load it"),
    "exchanged": (exchange, "changed since it was sealed", "ONNX Runtime cannot load it"),
    "lost": (lambda path: (path / WEIGHTS).unlink(), "missing: model_fp32", "is not there"),
    "added": (
        lambda path: shutil.copy(path / WEIGHTS, path / "more.onnx.data"),
        r"not sealed: more\.onnx\.data",
        r"does not name: more\.onnx\.data",
    ),
    "not named": (forget, "changed since it was sealed", r"does not name: model_fp32\.onnx\.data"),
    "elsewhere": (leave, "changed since it was sealed", "External data path escapes"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("resealed", [False, True])
def test_spoiled_weights_are_refused(copy: Path, case: str, resealed: bool) -> None:
    spoil, *told = CASES[case]
    spoil(copy)
    if resealed:
        reseal(copy)
    with pytest.raises((BundleError, StartupError), match=told[resealed]):
        start(copy)
