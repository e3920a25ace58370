"""The seal: nothing in a bundle changes, vanishes or appears unnoticed."""

import errno
import json
import re
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest

from bundle import store
from bundle.manifest import MANIFEST
from bundle.store import SEAL, Bundle, BundleError, check_seal, seal


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_sealed_bundle_opens(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert opened.manifest.name == "tiny"
    assert opened.digest == check_seal(bundle).digest
    assert opened.file("onnx", "fp32").path == "model.onnx"


def test_sha256sum_reads_the_seal(bundle: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", SEAL], cwd=bundle, check=True)


def test_the_digest_depends_on_every_byte(bundle: Path) -> None:
    before = seal(bundle)
    assert seal(bundle) == before
    flip_a_byte(bundle / "golden/ant_0.png")
    assert seal(bundle) != before


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST, "golden/ant_0.png", "golden/golden.json"])
def test_a_flipped_byte_is_refused(bundle: Path, name: str) -> None:
    flip_a_byte(bundle / name)
    with pytest.raises(BundleError, match=f"changed since it was sealed: {name}"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "golden/ant_0.png"])
def test_a_lost_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"missing: {name}"):
        Bundle.open(bundle)


def test_every_file_is_hashed_once(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = Mock(wraps=store.sha256)
    monkeypatch.setattr(store, "sha256", hashed)
    Bundle.open(bundle)
    names = [call.args[0].relative_to(bundle).as_posix() for call in hashed.call_args_list]
    assert names == store.contents(bundle)


def test_an_added_file_is_refused(bundle: Path) -> None:
    (bundle / "golden/more.png").write_bytes(b"")
    with pytest.raises(BundleError, match=r"not sealed: golden/more\.png"):
        Bundle.open(bundle)


@pytest.mark.parametrize(("name", "hint"), [(MANIFEST, "is not a bundle"), (SEAL, "is not sealed")])
def test_a_folder_without_manifest_or_seal_is_no_bundle(bundle: Path, name: str, hint: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=hint):
        Bundle.open(bundle)


def test_what_is_no_bundle_is_named_with_what_may_be_meant(bundle: Path) -> None:
    for path, lack in {
        bundle / "nothing": "there is no such folder",
        bundle / "model.onnx": "it is a file, and a bundle is a folder; `python -m export from-onn",
        bundle.parent: f"it holds bundles; name one of them, such as {bundle}",
        bundle.parents[1]: f"it holds bundles; name one of them, such as {bundle}",
    }.items():
        with pytest.raises(BundleError, match=re.escape(f"{path} is not a bundle: {lack}")):
            Bundle.open(path)


def test_a_model_file_alone_is_told_how_to_become_a_bundle(bundle: Path) -> None:
    for name in (MANIFEST, SEAL):
        (bundle / name).unlink()
    with pytest.raises(
        BundleError, match=r"model\.onnx alone says .* `python -m export from-onnx`"
    ):
        Bundle.open(bundle)


def test_a_folder_that_may_not_be_read_is_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = PermissionError(errno.EACCES, "Permission denied", str(bundle / MANIFEST))
    monkeypatch.setattr(Path, "is_file", Mock(side_effect=refusal))
    with pytest.raises(BundleError, match=f"{bundle / MANIFEST} cannot be read: Perm"):
        Bundle.open(bundle)


def test_a_seal_of_another_form_is_refused(bundle: Path) -> None:
    (bundle / SEAL).write_bytes(b"\xff nonsense")
    with pytest.raises(BundleError, match="is not a digest, two spaces and a file name"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"schema_version": 2}, r"manifest\.json: schema_version: Input should be 1"),
        ({"labels": ["ant"]}, r"manifest\.json: .*output shape is"),
    ],
)
def test_a_resealed_manifest_is_still_read_strictly(
    bundle: Path, change: dict[str, object], hint: str
) -> None:
    stated = json.loads((bundle / MANIFEST).read_text()) | change
    (bundle / MANIFEST).write_text(json.dumps(stated))
    seal(bundle)
    with pytest.raises(BundleError, match=hint):
        Bundle.open(bundle)


def test_a_resealed_model_is_not_the_one_of_the_manifest(bundle: Path) -> None:
    flip_a_byte(bundle / "model.onnx")
    seal(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx: its sha256 is not the one"):
        Bundle.open(bundle)


def test_a_resealed_bundle_without_its_model_is_refused(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    seal(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx: the manifest names it"):
        Bundle.open(bundle)


def test_a_resealed_bundle_without_an_attachment_is_refused(bundle: Path) -> None:
    (bundle / "golden/ant_0.png").unlink()
    seal(bundle)
    with pytest.raises(BundleError, match=r"names files that are not there: golden/ant_0\.png"):
        Bundle.open(bundle)


def test_a_resealed_bundle_with_one_file_more_is_refused(bundle: Path) -> None:
    (bundle / "golden/more.png").write_bytes(b"")
    seal(bundle)
    with pytest.raises(BundleError, match=r"the manifest does not name: golden/more\.png"):
        Bundle.open(bundle)


def test_a_file_that_is_not_there_is_answered_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(BundleError, match="holds no onnx in int8; it holds: onnx fp32"):
        Bundle.open(bundle).file("onnx", "int8")
