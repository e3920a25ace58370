"""The keys that bundles are signed with: PEM files, and what cannot be one.

ECDSA on P-256, P-384 or P-521, as OpenSSF Model Signing has it.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bundle.small_file import NotAFileError, read_small

HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
MAKE_ONE = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
# Of what `openssl pkey -pubout` writes about 200 bytes.
LARGEST_FILE = 2**16


class KeyFileError(ValueError):
    """A file holds no key that can be used; the message says what it holds, and what would do."""


@dataclass(frozen=True)
class PublicKey:
    """A key that may have signed a bundle, and the file that it came from."""

    path: Path
    fingerprint: str
    _key: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """Read one public key from a PEM file; raise `KeyFileError`.

        It must be a regular file: a server reads it for each bundle, and a pipe would keep that
        waiting.
        """
        try:
            data = read_small(path, LARGEST_FILE)
        except NotAFileError as error:
            raise KeyFileError(f"{error}; write the public key to one") from error
        except OSError as error:
            raise cannot_be_read(path, error) from error
        if (blocks := len(_pem_blocks(data))) > 1:
            raise KeyFileError(f"{path} holds {blocks} PEM blocks; give each key a file of its own")
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            what = no_key(path, data, "PUBLIC KEY", error)
            hint = f"openssl {'x509 -noout -pubkey' if b'CERTIFICATE' in data else 'pkey -pubout'}"
            raise KeyFileError(f"{what}; `{hint} -in FILE` prints the public key") from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise wrong_type(path, key)
        return cls.of(path, key)

    @classmethod
    def of(cls, path: Path, key: ec.EllipticCurvePublicKey) -> "PublicKey":
        """Return the public key of a pair that lies at `path`; raise `KeyFileError`."""
        if key.curve.name not in HASHES:
            raise KeyFileError(
                f"{path} holds a key on {key.curve.name}; bundles are signed on P-256, P-384 or "
                f"P-521, with a key as from: {MAKE_ONE}"
            )
        return cls(path, fingerprint(key), key)

    def holds(self, signature: bytes, data: bytes) -> bool:
        """Return whether this key signed the data."""
        try:
            self._key.verify(signature, data, algorithm(self._key))
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"sha256:{self.fingerprint} ({self.path})"


def algorithm(key: ec.EllipticCurvePublicKey) -> ec.ECDSA:
    """Return how a key signs: with the hash as long as its curve."""
    return ec.ECDSA(HASHES[key.curve.name])


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the sha256 of the key's PEM file as OpenSSL writes it, so `sha256sum` of that file.

    Signatures carry this one, and not that of the DER form, to say whose they are.
    """
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()


def read_key_file(path: Path) -> bytes:
    """Return what a file holds, which may be a pipe; raise `KeyFileError`."""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_FILE)
    except OSError as error:
        raise cannot_be_read(path, error) from error


def cannot_be_read(path: Path, error: OSError) -> KeyFileError:
    """Return the error for a file that the system does not let anybody read."""
    return KeyFileError(f"{path} cannot be read: {error.strerror}")


def no_key(path: Path, data: bytes, wanted: str, error: Exception) -> str:
    """Return what a file holds from which a wanted kind of PEM block could not be read."""
    blocks = _pem_blocks(data)
    if any(block.endswith(wanted) for block in blocks):
        reason = str(error).partition(". ")[0]
        return f"{path} holds a {wanted.lower()} that cannot be read: {reason}"
    held = f"holds {' and '.join(blocks)}" if blocks else "is no PEM file"
    return f"{path} {held}; what is wanted is -----BEGIN {wanted}-----"


def wrong_type(path: Path, key: object) -> KeyFileError:
    """Return the error for a key of another algorithm."""
    kind = re.sub("(Public|Private)Key$", "", type(key).__name__)
    return KeyFileError(
        f"{path} holds a key for {kind}; bundles are signed with ECDSA on P-256, P-384 or P-521, "
        f"with a key as from: {MAKE_ONE}"
    )


def _pem_blocks(data: bytes) -> list[str]:
    """Return what the PEM blocks of a file call themselves."""
    return re.findall("-----BEGIN ([A-Z ]+)-----", data.decode(errors="replace"))
