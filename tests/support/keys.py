"""Keys that sign bundles, as PEM files."""

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from export.sign import PrivateKey, sign

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class KeyPair(NamedTuple):
    """The files of a private key and of its public one."""

    private: Path
    public: Path


def write_keys(
    folder: Path, name: str = "release", key: Key | None = None, password: bytes | None = None
) -> KeyPair:
    """Write `name.pem` and `name.pub`, by default of a new key on P-256."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    files = KeyPair(folder / f"{name}.pem", folder / f"{name}.pub")
    files.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    files.public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return files


def sign_bundle(path: Path, keys: KeyPair) -> None:
    """Sign a bundle, again if it is signed."""
    sign(path, PrivateKey.read(keys.private, None), overwrite=True)
