"""`python -m export sign` and `verify --public-key` as a user runs them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bundle.keys import PublicKey
from bundle.store import SIGNATURE, Bundle
from export.__main__ import main
from tests.support.bundles import write_bundle
from tests.support.keys import KeyPair, write_keys


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


def run(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


def failed(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 1) -> str:
    """Run a command that must fail; return its one line."""
    assert run(*arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_it_says_whose_signature_is_where(
    bundle: Path, tmp_path: Path, curve: ec.EllipticCurve, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = write_keys(tmp_path, key=ec.generate_private_key(curve))
    assert run("sign", bundle, "--key", keys.private) == 0
    told = capsys.readouterr().out
    assert f"signature {bundle / SIGNATURE}: 7 files\n" in told
    assert f"key       sha256:{PublicKey.read(keys.public).fingerprint} (" in told


def test_a_key_may_be_encrypted(bundle: Path, tmp_path: Path) -> None:
    keys = write_keys(tmp_path, password=b"a secret")
    (tmp_path / "password").write_bytes(b"a secret\n")
    password = ("--key-password-file", tmp_path / "password")
    assert run("sign", bundle, "--key", keys.private, *password) == 0


def test_passwords_that_do_not_fit(
    bundle: Path, keys: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = write_keys(tmp_path, "locked", password=b"a secret").private
    sign = ("sign", bundle, "--key")
    assert "is encrypted; name the file of its password: --key-p" in failed(capsys, *sign, locked)
    for text, key, hint in [
        (b"another", locked, "holds a private key that cannot be read: Incorrect password"),
        (b"\n", locked, "holds no password"),
        (b"a secret", keys.private, "is not encrypted; leave --key-password-file out"),
    ]:
        (tmp_path / "password").write_bytes(text)
        password = ("--key-password-file", tmp_path / "password")
        assert hint in failed(capsys, *sign, key, *password)
    nowhere = ("--key-password-file", tmp_path / "nowhere")
    assert "nowhere cannot be read: No such file" in failed(capsys, *sign, locked, *nowhere)
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (rsa.generate_private_key(65537, 2048), "holds a key for RSA; bundles are signed with EC"),
        (ed25519.Ed25519PrivateKey.generate(), "holds a key for Ed25519"),
        (ec.generate_private_key(ec.SECP256K1()), "holds a key on secp256k1"),
    ],
)
def test_keys_of_another_kind_sign_nothing(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    hint: str,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    private = write_keys(tmp_path, key=key).private
    assert hint in failed(capsys, "sign", bundle, "--key", private)


def test_what_is_no_private_key_signs_nothing(
    bundle: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = "holds PUBLIC KEY; what is wanted is -----BEGIN PRIVATE KEY-----"
    assert hint in failed(capsys, "sign", bundle, "--key", keys.public)
    assert "is no PEM file" in failed(capsys, "sign", bundle, "--key", bundle / "model.onnx")
    assert "Is a directory" in failed(capsys, "sign", bundle, "--key", bundle)
    assert "--key: required: private key" in failed(capsys, "sign", bundle, code=2)


def test_a_signature_is_replaced_only_if_asked(
    bundle: Path, keys: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sign", bundle, "--key", keys.private) == 0
    capsys.readouterr()
    first = (bundle / SIGNATURE).read_bytes()
    other = write_keys(tmp_path, "next")
    hint = "is signed already; to replace its model.sig: --overwrite"
    assert hint in failed(capsys, "sign", bundle, "--key", other.private)
    assert (bundle / SIGNATURE).read_bytes() == first
    assert run("sign", bundle, "--key", other.private, "--overwrite") == 0
    assert (bundle / SIGNATURE).read_bytes() != first


def test_what_is_damaged_is_not_signed(
    bundle: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "model.onnx").write_bytes(b"")
    hint = "changed since it was sealed: model.onnx"
    assert hint in failed(capsys, "sign", bundle, "--key", keys.private)
    assert not (bundle / SIGNATURE).exists()


def test_links_are_not_signed(
    bundle: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what is written would go wherever a link leads."""
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / SIGNATURE).symlink_to("manifest.json")
    hint = "model.sig is a symbolic link"
    assert hint in failed(capsys, "sign", bundle, "--key", keys.private, "--overwrite")
    assert (bundle / "manifest.json").read_bytes() == manifest


def test_a_folder_that_may_not_be_written_is_named(
    bundle: Path,
    keys: KeyPair,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path, _: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    hint = "model.sig cannot be written: Read-only file system"
    assert hint in failed(capsys, "sign", bundle, "--key", keys.private)


def test_no_bundle_no_signature(
    tmp_path: Path, keys: KeyPair, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = "is not a bundle: it holds no manifest.json"
    assert hint in failed(capsys, "sign", tmp_path, "--key", keys.private)


def test_the_digest_of_a_bundle_stays(bundle: Path, keys: KeyPair) -> None:
    before = Bundle.open(bundle).digest
    assert run("sign", bundle, "--key", keys.private) == 0
    assert Bundle.open(bundle).digest == before


def test_verify_asks_for_a_signature(
    bundle: Path, keys: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("verify", bundle, "--public-key")
    assert "is not signed: it holds no model.sig" in failed(capsys, *asked, keys.public)
    assert run("sign", bundle, "--key", keys.private) == 0
    capsys.readouterr()
    other = write_keys(tmp_path, "other").public
    assert "is signed by another key" in failed(capsys, *asked, other)
    assert "holds PRIVATE KEY; " in failed(capsys, *asked, keys.private, code=2)
    both = f"{other},{keys.public}"
    # Signed as asked; this one is too small for `verify`, which wants what the export records.
    assert "parity.json is missing" in failed(capsys, *asked, both)
