"""What `model.sig` holds, as OpenSSF Model Signing 1.0 writes it.

A Sigstore bundle (JSON) with a DSSE envelope. The envelope's payload, which is what is signed, is
an in-toto statement with the digest of every file.

https://github.com/sigstore/model-transparency, https://github.com/secure-systems-lab/dsse
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from bundle.kinds import Sha256

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def _base64(text: object) -> object:
    return base64.b64decode(text, validate=True) if isinstance(text, str) else text


Base64 = Annotated[bytes, BeforeValidator(_base64)]


class Stated(BaseModel):
    """Base of what stands there; of the rest the formats say that readers ignore it."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class KeyHint(Stated):
    """Which key signed, says whoever wrote the file: the sha256 of the public key's PEM form."""

    hint: Sha256 | None = None


class Material(Stated):
    """What a signature is checked with; null for one of a certificate or an identity."""

    public_key: KeyHint | None = None


class DsseSignature(Stated):
    """A signature over payload and payload type, in DER."""

    sig: Base64


class Envelope(Stated):
    """A payload, and who signed it."""

    payload: Base64
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: list[DsseSignature] = Field(min_length=1, max_length=1)


class SignatureFile(Stated):
    """The whole file."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: Material
    dsse_envelope: Envelope


class Resource(Stated):
    """A file of the model; `name` is its path."""

    name: str
    algorithm: Literal["sha256"]
    digest: Sha256


class Serialization(Stated):
    """How the model was taken apart: file by file."""

    method: Literal["files"]
    hash_type: Literal["sha256"] = Field(alias="hash_type")


class Predicate(Stated):
    """Every file of the model."""

    serialization: Serialization
    resources: list[Resource]

    @model_validator(mode="after")
    def _names_each_once(self) -> "Predicate":
        if len({resource.name for resource in self.resources}) < len(self.resources):
            raise ValueError("a file stands there twice")
        return self


class Statement(Stated):
    """What is signed."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: Predicate

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file by its name."""
        return {resource.name: resource.digest for resource in self.predicate.resources}


def signed_bytes(payload: bytes) -> bytes:
    """Return what a signature is made over: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (
        len(PAYLOAD_TYPE),
        PAYLOAD_TYPE.encode(),
        len(payload),
        payload,
    )


def payload(name: str, digests: Mapping[str, str], signature_name: str) -> bytes:
    """Return the statement that a model of that name has files with these sha256.

    The order of files is that of their paths, part by part: the digest of all follows from it.
    """
    files = sorted(digests.items(), key=lambda item: PurePosixPath(item[0]))
    together = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in files))
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": together.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [signature_name],
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in files
            ],
        },
    }
    return json.dumps(statement, indent=2).encode()


def signature_file(payload: bytes, signature: bytes, fingerprint: str) -> bytes:
    """Return what `model.sig` holds."""
    content = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": fingerprint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(content).encode() + b"\n"
