"""What a bundle may hold on a disk, and that what was hashed is what a runtime opens."""

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.files import held
from bundle.golden import GOLDEN, read_golden
from bundle.manifest import MANIFEST
from bundle.store import SEAL, Bundle, BundleError, contents, seal


def link_out(bundle: Path) -> None:
    secret = bundle.parent / "secret"
    secret.write_bytes((bundle / "model.onnx").read_bytes())
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to("../secret")


def bind(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))  # an absolute path may be too long for a socket


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link out": (link_out, r"model\.onnx is a symbolic link out of the bundle, to .*secret"),
    "an absolute link": (
        lambda path: (path / "more").symlink_to("/etc/passwd"),
        "more is a symbolic link out of the bundle, to /etc/passwd",
    ),
    "a folder outside": (
        lambda path: (path / "more").symlink_to(path.parent),
        "more is a symbolic link out of the bundle",
    ),
    "the seal of another": (
        lambda path: (
            (path / SEAL).rename(path.parent / SEAL)
            and (path / SEAL).symlink_to(path.parent / SEAL)
        ),
        r"bundle\.sha256 is a symbolic link out",
    ),
    "a link to nothing": (
        lambda path: (path / "more").symlink_to("nothing"),
        "more is a symbolic link that leads nowhere",
    ),
    "a loop": (
        lambda path: (path / "more").symlink_to("more"),
        "more is a symbolic link that leads nowhere",
    ),
    "a pipe": (lambda path: make_pipe(path / "model.onnx"), r"model\.onnx is a pipe; a bundle"),
    "a pipe more": (lambda path: make_pipe(path / "golden/more"), "more is a pipe; a bundle holds"),
    "a socket": (lambda path: bind(path / "golden/ant_0.png"), r"ant_0\.png is a socket; a bundle"),
    "a device": (
        lambda path: (path / "more").symlink_to("/dev/zero"),
        "more is a symbolic link out of the bundle, to /dev/zero",
    ),
    "a file that is sealed twice": (
        lambda path: (path / SEAL).write_text((path / SEAL).read_text() * 2) and None,
        r"bundle\.sha256: 'golden/ant_0\.png' stands there twice",
    ),
    "a path out in the seal": (
        lambda path: (path / SEAL).write_text(f"{'0' * 64}  ../secret\n") and None,
        r"missing: \.\./secret",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_file_of_the_bundle_is_refused(bundle: Path, case: str) -> None:
    spoil, told = CASES[case]
    spoil(bundle)
    with pytest.raises(BundleError, match=told):
        Bundle.open(bundle)


def test_a_link_inside_is_followed(bundle: Path) -> None:
    (bundle / "golden/ant_0.png").rename(bundle / "golden/first.png")
    (bundle / "golden/ant_0.png").symlink_to("first.png")
    assert {"golden/ant_0.png", "golden/first.png"} <= {*contents(bundle)}


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", ""])
def test_a_manifest_names_no_path_outside(bundle: Path, path: str) -> None:
    stated = json.loads((bundle / MANIFEST).read_text())
    stated["files"][0]["path"] = path
    (bundle / MANIFEST).write_text(json.dumps(stated))
    seal(bundle)
    with pytest.raises(BundleError, match=r"files\.0\.path: .* is not a plain relative path"):
        Bundle.open(bundle)


def doubled(text: str, key: str) -> str:
    """Return JSON in which a key of the outermost object stands twice, the true one last."""
    return text.replace("{", f'{{"{key}": null, ', 1)


def test_a_key_that_stands_twice_is_refused(bundle: Path) -> None:
    path = bundle / MANIFEST
    path.write_text(doubled(path.read_text(), "labels"))
    seal(bundle)
    with pytest.raises(BundleError, match=r"manifest\.json: the key 'labels' stands 2 times"):
        Bundle.open(bundle)


def test_a_nested_key_that_stands_twice_is_refused(bundle: Path) -> None:
    path = bundle / MANIFEST
    path.write_text(path.read_text().replace('"files":[{', '"files":[{"tolerance":1,'))
    seal(bundle)
    with pytest.raises(BundleError, match="the key 'tolerance' stands 2 times in one object"):
        Bundle.open(bundle)


def test_a_golden_set_with_a_key_twice_is_refused(bundle: Path) -> None:
    (bundle / GOLDEN).write_text(doubled((bundle / GOLDEN).read_text(), "images"))
    with pytest.raises(BundleError, match=r"golden\.json .*: the key 'images' stands 2 times"):
        read_golden(bundle)


def test_the_descriptor_leads_to_what_was_hashed(bundle: Path) -> None:
    [file] = Bundle.open(bundle).manifest.files
    with held(bundle, file.parts) as descriptors:
        data = Path(f"/proc/self/fd/{descriptors['model.onnx']}").read_bytes()
    assert hashlib.sha256(data).hexdigest() == file.sha256


def test_a_file_that_was_replaced_before_it_is_loaded_is_refused(bundle: Path) -> None:
    [file] = Bundle.open(bundle).manifest.files
    (bundle / "model.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model\.onnx: its sha256 is not the one"):
        held(bundle, file.parts).__enter__()


def replace(path: Path) -> None:
    (path.parent / "other").write_bytes(path.read_bytes())
    (path.parent / "other").rename(path)


def write_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0")


@pytest.mark.parametrize("change", [replace, write_in_place, Path.unlink])
def test_a_file_that_changes_while_it_is_loaded_is_refused(
    bundle: Path, change: Callable[[Path], None]
) -> None:
    [file] = Bundle.open(bundle).manifest.files
    os.utime(bundle / "model.onnx", (0, 0))  # any write is later
    with (
        pytest.raises(BundleError, match=r"model\.onnx was changed while it was loaded"),
        held(bundle, file.parts),
    ):
        change(bundle / "model.onnx")
