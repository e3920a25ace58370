"""Signed bundles: whose signature a bundle carries, and what it states of every file.

The seal finds accidents: whoever changes a file can seal the bundle again. The signature finds
hands: it holds for the seal and for every file, and only who has the private key can make another.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bundle import files
from bundle.keys import PublicKey
from bundle.statement import Material, SignatureFile, Statement, signed_bytes
from bundle.store import SIGNATURE, Bundle, BundleError, check_kind, first_mistake, readable

# A file takes about 250 bytes of it.
LARGEST_SIGNATURE = 2**20


class Signed(NamedTuple):
    """A bundle, and whose signature holds for it."""

    bundle: Bundle
    key: PublicKey


def open_signed(path: Path, keys: Sequence[PublicKey]) -> Signed:
    """Open the bundle at `path` if one of the keys signed it.

    Nothing else of it is read before the signature holds, and nothing from a file whose sha256 is
    not the signed one.

    Raises:
        BundleError: it is not signed, or by another key, or was changed since, or is damaged.
    """
    with readable(path):
        check_kind(path)
        key, payload = _signer(path, keys)
        try:
            statement = files.parse(Statement, payload)
        except ValueError as error:
            raise BundleError(
                f"{path / SIGNATURE}: what {key} signed is no model in the form of OpenSSF Model "
                f"Signing 1.0, file by file with SHA-256: {first_mistake(error)}"
            ) from error
        return Signed(Bundle.open(path, statement.digests), key)


def _signer(path: Path, keys: Sequence[PublicKey]) -> tuple[PublicKey, bytes]:
    """Return the key that signed a bundle, and what it signed; raise `BundleError`."""
    if not (path / SIGNATURE).exists():
        raise BundleError(f"{path} is not signed: it holds no {SIGNATURE}; {_wanted(keys)}")
    refuse_links(path)
    stated = _read(path)
    payload = stated.dsse_envelope.payload
    signature = stated.dsse_envelope.signatures[0].sig
    for key in keys:
        if key.holds(signature, signed_bytes(payload)):
            return key, payload
    raise BundleError(_not_by(path, stated.verification_material, keys))


def refuse_links(path: Path) -> None:
    """Raise `BundleError` if there is a symbolic link: signatures are over files, and say so."""
    for found in sorted(path.rglob("*")):
        if found.is_symlink():
            raise BundleError(
                f"{found} is a symbolic link, and a signed bundle has none; put the file itself "
                f"there"
            )


def _read(path: Path) -> SignatureFile:
    with files.open_file(path / SIGNATURE) as file:
        data = file.read(LARGEST_SIGNATURE + 1) or b""
    if len(data) > LARGEST_SIGNATURE:
        raise BundleError(
            f"{path / SIGNATURE} has more than {LARGEST_SIGNATURE} bytes, so it is no signature"
        )
    try:
        return files.parse(SignatureFile, data)
    except ValueError as error:
        raise BundleError(
            f"{path / SIGNATURE} is no signature in the form of OpenSSF Model Signing 1.0: "
            f"{first_mistake(error)}"
        ) from error


def _not_by(path: Path, material: Material, keys: Sequence[PublicKey]) -> str:
    """Return why none of the keys made a signature; who did is only what it says itself."""
    if material.public_key is None:
        return f"{path} is signed with a certificate or an identity, not a key; {_wanted(keys)}"
    hint = material.public_key.hint
    if hint is None:
        return f"{path} is signed by a key that its {SIGNATURE} does not name; {_wanted(keys)}"
    if claimed := next((key for key in keys if key.fingerprint == hint), None):
        return (
            f"{path / SIGNATURE} says that it is by {claimed}, but that key did not make this "
            f"signature: it was changed afterwards; sign the bundle again"
        )
    return (
        f"{path} is signed by another key (sha256:{hint}, as its {SIGNATURE} says); {_wanted(keys)}"
    )


def _wanted(keys: Sequence[PublicKey]) -> str:
    return f"what is asked for is a signature by {' or '.join(map(str, keys))}"
