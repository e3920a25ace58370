"""Signed bundles from the key to the server, as export/README.md shows it, and what is refused."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from bundle.keys import PublicKey
from bundle.signature import open_signed
from bundle.store import SIGNATURE, Bundle
from clients.client import ClassifierClient
from clients.types import Prediction
from tests.support.bundles import reseal
from tests.support.foreign import foreign
from tests.support.keys import KeyPair, sign_bundle, write_keys
from tests.support.paths import ROOT, SAMPLES, SHIPPED
from tests.support.process import serve, start

BUNDLE = "bundles/fashion_resnext/1"


def shown() -> list[str]:
    """Return the commands of the page's section, comments stripped."""
    section = (ROOT / "export/README.md").read_text().partition("\n## Signatures\n")[2]
    blocks = re.findall(r"```sh\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


class Signed(NamedTuple):
    """A signed copy of the shipped bundle, and the keys."""

    bundle: Path
    keys: KeyPair


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    made = Signed(shutil.copytree(SHIPPED, folder / BUNDLE), write_keys(folder))
    sign_bundle(*made)
    return made


@pytest.fixture
def copy(signed: Signed, tmp_path: Path) -> Path:
    """The signed bundle, to spoil."""
    return shutil.copytree(signed.bundle, tmp_path / "fashion_resnext/1")


def spoil(path: Path) -> None:
    """Change a file and seal the bundle again, as who has no key would."""
    with (path / "parity.md").open("a") as file:
        file.write("\n")
    reseal(path)
    Bundle.open(path)


def refused(path: Path, *flags: str | Path, code: int = 1) -> str:
    """Start a server that must not start; return its one error."""
    process = start(path, *map(str, flags))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    [error] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err
    return error


@pytest.mark.slow
def test_the_page_leads_from_a_key_to_a_server(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / BUNDLE)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    *commands, served = shown()[:5]
    for command in commands:
        words = command.replace(".venv/bin/python", f"{ROOT}/.venv/bin/python").split()
        done = subprocess.run(words, cwd=tmp_path, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert re.search(r"^signature by sha256:\w{64} \(release\.pub\)$", done.stdout, re.MULTILINE)
    flag, key = served.split()[-2:]
    with serve(tmp_path / BUNDLE, flag, str(tmp_path / key)) as server:
        assert server.process.poll() is None


def test_a_signed_bundle_is_served(signed: Signed) -> None:
    with (
        serve(signed.bundle, "--require-signature", str(signed.keys.public)) as server,
        ClassifierClient(server.grpc) as client,
    ):
        [result] = client.classify([next(SAMPLES.glob("sneaker_*.png"))])
        assert isinstance(result, Prediction)
        assert result.classes[0].label == "Sneaker"


def test_others_read_ours_and_we_read_theirs(signed: Signed, copy: Path) -> None:
    """Runs the last two commands with `model_signing` itself, and opens what it signed."""
    for command in shown()[5:]:
        done = foreign(
            "-m", *command.replace(BUNDLE, str(copy)).split(), cwd=signed.keys.public.parent
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (copy / SIGNATURE).read_bytes() != (signed.bundle / SIGNATURE).read_bytes()
    key = PublicKey.read(signed.keys.public)
    assert open_signed(copy, [key]) == (Bundle.open(copy), key)


def test_others_refuse_what_was_changed(signed: Signed, copy: Path) -> None:
    """Or the test above would show nothing."""
    spoil(copy)
    words = shown()[5].replace(BUNDLE, str(copy)).split()
    done = foreign("-m", *words, cwd=signed.keys.public.parent)
    assert done.returncode == 1
    assert "Hash mismatch for 'parity.md'" in done.stdout + done.stderr


def test_what_is_not_signed_by_that_key_is_not_served(signed: Signed, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "other").public
    error = refused(signed.bundle, "--require-signature", other)
    theirs = PublicKey.read(signed.keys.public).fingerprint
    assert f"is signed by another key (sha256:{theirs}, as its model.sig says)" in error
    assert "is not signed: it holds no model.sig" in refused(SHIPPED, "--require-signature", other)


def test_what_was_changed_and_sealed_again_is_not_served(signed: Signed, copy: Path) -> None:
    spoil(copy)
    error = refused(copy, "--require-signature", signed.keys.public)
    assert "changed since it was signed: bundle.sha256, manifest.json, parity.md" in error


def test_what_is_no_key_is_a_wrong_call(signed: Signed) -> None:
    error = refused(signed.bundle, "--require-signature", signed.keys.private, code=2)
    assert error.startswith("error: --require-signature: ")
    assert "holds PRIVATE KEY; what is wanted is -----BEGIN PUBLIC KEY-----" in error
