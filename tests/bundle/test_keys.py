"""Files of public keys: what is none says what it is, and what would do."""

import hashlib
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bundle.keys import KeyFileError, PublicKey
from tests.support.keys import write_keys


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_fingerprint_is_what_sha256sum_gives(curve: ec.EllipticCurve, tmp_path: Path) -> None:
    keys = write_keys(tmp_path, key=ec.generate_private_key(curve))
    key = PublicKey.read(keys.public)
    assert key.fingerprint == hashlib.sha256(keys.public.read_bytes()).hexdigest()
    assert str(key) == f"sha256:{key.fingerprint} ({keys.public})"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (rsa.generate_private_key(65537, 2048), "holds a key for RSA; bundles are signed with EC"),
        (ed25519.Ed25519PrivateKey.generate(), "holds a key for Ed25519; .*openssl genpkey"),
        (ec.generate_private_key(ec.SECP256K1()), "holds a key on secp256k1; .*P-256"),
    ],
)
def test_keys_of_another_kind_are_refused(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(KeyFileError, match=hint):
        PublicKey.read(write_keys(tmp_path, key=key).public)


CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BROKEN = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "is no PEM file; what is wanted is -----BEGIN PUBLIC KEY-----; `openssl pkey -pub"),
        (b"\xff\x00" * 100, "is no PEM file"),
        (CERTIFICATE, "holds CERTIFICATE; .*; `openssl x509 -noout -pubkey -in FILE` prints"),
        (BROKEN, "holds a public key that cannot be read: "),
        (BROKEN * 2, "holds 2 PEM blocks; give each key a file of its own"),
    ],
)
def test_what_is_no_public_key_is_named(data: bytes, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pub"
    path.write_bytes(data)
    with pytest.raises(KeyFileError, match=hint):
        PublicKey.read(path)


def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(KeyFileError, match=f"{path} is not a file; write the public key"):
            PublicKey.read(path)


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"holds PRIVATE KEY; .*`openssl pkey -pubout"):
        PublicKey.read(write_keys(tmp_path).private)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nothing\.pub cannot be read: No such file"):
        PublicKey.read(tmp_path / "nothing.pub")
