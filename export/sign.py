"""`python -m export sign`: who has the private key vouches for a bundle as it is."""

from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bundle.keys import (
    KeyFileError,
    PublicKey,
    algorithm,
    no_key,
    read_key_file,
    wrong_type,
)
from bundle.signature import refuse_links
from bundle.statement import payload, signature_file, signed_bytes
from bundle.store import SEAL, SIGNATURE, Bundle, check_seal
from export.errors import ExportError


class PrivateKey(NamedTuple):
    """A key that signs, and what others check its signatures with."""

    key: ec.EllipticCurvePrivateKey
    public: PublicKey

    @classmethod
    def read(cls, path: Path, password_file: Path | None) -> "PrivateKey":
        """Read a private key from a PEM file; raise `KeyFileError`.

        Args:
            path: the file, which may be a pipe.
            password_file: holds the password that the key is encrypted with; a line break at its
                end does not count.
        """
        data = read_key_file(path)
        password = _read_password(password_file) if password_file else None
        try:
            key = serialization.load_pem_private_key(data, password)
        except TypeError as error:  # says cryptography of a password too many or too few
            raise KeyFileError(
                f"{path} is not encrypted; leave --key-password-file out"
                if password
                else f"{path} is encrypted; name the file of its password: --key-password-file"
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(no_key(path, data, "PRIVATE KEY", error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise wrong_type(path, key)
        return cls(key, PublicKey.of(path, key.public_key()))


def _read_password(path: Path) -> bytes:
    password = read_key_file(path).rstrip(b"\r\n")
    if not password:
        raise KeyFileError(f"{path} holds no password")
    return password


class Signature(NamedTuple):
    """What was written, for how many files, and by which key."""

    path: Path
    files: int
    key: PublicKey


def sign(path: Path, key: PrivateKey, *, overwrite: bool) -> Signature:
    """Write `model.sig` into the bundle at `path`; it states the seal and every file.

    Raises:
        BundleError: the bundle is damaged, or holds symbolic links.
        ExportError: it is signed already, or cannot be written to.
    """
    Bundle.open(path)
    refuse_links(path)
    target = path / SIGNATURE
    if target.exists() and not overwrite:
        raise ExportError(f"{path} is signed already; to replace its {SIGNATURE}: --overwrite")
    seal = check_seal(path)
    digests = {**seal.files, SEAL: seal.digest.removeprefix("sha256:")}
    statement = payload(path.resolve().name, digests, SIGNATURE)
    signature = key.key.sign(signed_bytes(statement), algorithm(key.key.public_key()))
    try:
        target.write_bytes(signature_file(statement, signature, key.public.fingerprint))
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror}") from error
    return Signature(target, len(digests), key.public)
