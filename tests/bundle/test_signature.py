"""A signature holds for a bundle as it was signed, and for nothing else."""

import base64
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bundle import signature, store
from bundle.keys import PublicKey, algorithm
from bundle.manifest import MANIFEST
from bundle.signature import LARGEST_SIGNATURE, open_signed
from bundle.statement import signature_file, signed_bytes
from bundle.store import SEAL, SIGNATURE, Bundle, BundleError, seal
from export.sign import PrivateKey
from tests.support.bundles import reseal
from tests.support.keys import KeyPair, sign_bundle, write_keys


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


@pytest.fixture
def signed(bundle: Path, keys: KeyPair) -> Path:
    """A bundle that is signed."""
    sign_bundle(bundle, keys)
    return bundle


def open_by(path: Path, *keys: KeyPair) -> tuple[Bundle, PublicKey]:
    return open_signed(path, [PublicKey.read(pair.public) for pair in keys])


def refused(path: Path, keys: KeyPair, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        open_by(path, keys)


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a signature file as somebody would who has no key."""
    stated = json.loads((path / SIGNATURE).read_text())
    edit(stated)
    (path / SIGNATURE).write_text(json.dumps(stated))


def sign_payload(path: Path, keys: KeyPair, payload: bytes) -> None:
    """Sign anything with the right key."""
    key = PrivateKey.read(keys.private, None)
    made = key.key.sign(signed_bytes(payload), algorithm(key.key.public_key()))
    (path / SIGNATURE).write_bytes(signature_file(payload, made, key.public.fingerprint))


def payload_of(path: Path) -> dict[str, Any]:
    stated = json.loads((path / SIGNATURE).read_text())
    return json.loads(base64.b64decode(stated["dsseEnvelope"]["payload"]))  # type: ignore[no-any-return]


def test_a_signature_breaks_no_seal(bundle: Path, keys: KeyPair) -> None:
    before = Bundle.open(bundle)
    sign_bundle(bundle, keys)
    assert Bundle.open(bundle) == before
    opened, key = open_by(bundle, keys)
    assert opened == before
    assert key.path == keys.public


def test_any_of_several_keys_will_do(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "next")
    assert open_by(signed, other, keys)[1].path == keys.public
    sign_bundle(signed, other)
    assert open_by(signed, keys, other)[1].path == other.public


def test_every_file_is_hashed_once(
    signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = Mock(wraps=store.sha256)
    monkeypatch.setattr(store, "sha256", hashed)
    open_by(signed, keys)
    names = [call.args[0].relative_to(signed).as_posix() for call in hashed.call_args_list]
    assert names == sorted([*store.contents(signed), SEAL])


def test_what_is_not_signed_is_refused(bundle: Path, keys: KeyPair) -> None:
    fingerprint = PublicKey.read(keys.public).fingerprint
    refused(bundle, keys, rf"is not signed: .* a signature by sha256:{fingerprint} \(.*\.pub\)")


def test_what_is_no_bundle_is_not_called_unsigned(tmp_path: Path, keys: KeyPair) -> None:
    refused(tmp_path / "nothing", keys, "is not a bundle: there is no such folder")


def test_another_key_is_named_by_its_fingerprint(
    signed: Path, keys: KeyPair, tmp_path: Path
) -> None:
    theirs, ours = PublicKey.read(keys.public).fingerprint, write_keys(tmp_path, "ours")
    refused(signed, ours, rf"is signed by another key \(sha256:{theirs}, .*ours\.pub")


@pytest.mark.parametrize("name", ["model.onnx", MANIFEST, "golden/ant_0.png"])
def test_a_change_is_found_though_it_was_sealed_again(
    signed: Path, keys: KeyPair, name: str
) -> None:
    with (signed / name).open("ab") as file:
        file.write(b" ")
    reseal(signed)
    refused(signed, keys, f"changed since it was signed: .*{name}")


def test_the_seal_itself_is_signed(signed: Path, keys: KeyPair) -> None:
    lines = (signed / SEAL).read_text().splitlines(keepends=True)
    (signed / SEAL).write_text("".join(reversed(lines)))
    Bundle.open(signed)
    refused(signed, keys, f"changed since it was signed: {SEAL}")


def test_files_are_neither_added_nor_taken_away(signed: Path, keys: KeyPair) -> None:
    (signed / "more.txt").touch()
    seal(signed)
    refused(signed, keys, r"not signed: more\.txt")
    (signed / "more.txt").unlink()
    (signed / "golden/ant_0.png").unlink()
    seal(signed)
    refused(signed, keys, r"missing: golden/ant_0\.png")


def test_a_signature_is_of_one_bundle(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    other = shutil.copytree(signed, tmp_path / "other")
    (other / "model.onnx").write_bytes(b"another")
    reseal(other)
    sign_bundle(other, keys)
    shutil.copy(other / SIGNATURE, signed)
    refused(signed, keys, "changed since it was signed: bundle.sha256, manifest.json, model.onnx")


def test_links_are_refused(signed: Path, keys: KeyPair) -> None:
    (signed / "model.onnx").rename(signed / "golden/model.onnx")
    (signed / "model.onnx").symlink_to("golden/model.onnx")
    refused(signed, keys, r"model\.onnx is a symbolic link, and a signed bundle has none")


def test_a_seal_that_was_exchanged_meanwhile_is_found(
    signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashed as the signed one, and another by the time that it is read."""

    def hash_and_exchange(path: Path) -> str:
        digest = sha256(path)
        if path.name == SEAL:
            path.write_text(path.read_text().replace("  model.onnx", "  other.onnx"))
        return digest

    sha256 = store.sha256
    monkeypatch.setattr(store, "sha256", hash_and_exchange)
    refused(signed, keys, "does not state the files that were signed with it")


def test_a_signature_that_was_tampered_with_is_refused(signed: Path, keys: KeyPair) -> None:
    def swap(stated: dict[str, Any]) -> None:
        payload = base64.b64decode(stated["dsseEnvelope"]["payload"])
        payload = payload.replace(b'"model.onnx"', b'"Model.onnx"')
        stated["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()

    change(signed, swap)
    refused(signed, keys, "says that it is by sha256:.*, but that key did not make this signature")


@pytest.mark.parametrize(
    ("edit", "hint"),
    [
        (lambda s: s["verificationMaterial"].update(publicKey={}), "a key that its .* not name"),
        (lambda s: s.update(verificationMaterial={"certificate": {}}), "with a certificate or an"),
    ],
)
def test_who_signed_may_be_unsaid(
    signed: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], hint: str
) -> None:
    change(signed, edit)
    refused(signed, write_keys(tmp_path, "ours"), hint)


def test_what_a_signature_says_of_itself_counts_for_nothing(signed: Path, keys: KeyPair) -> None:
    change(signed, lambda stated: stated["verificationMaterial"].update(publicKey={}))
    open_by(signed, keys)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (b"", "EOF"),
        (b"\xff", "model.sig is no signature in the form of OpenSSF"),
        (b'{"mediaType": "text/plain"}', "mediaType"),
        (b"[" * 100_000, "recursion"),
        (b'{"a": ' * 100_000, "recursion"),
        (b" " * (LARGEST_SIGNATURE + 1), "has more than 1048576 bytes"),
    ],
)
def test_what_is_no_signature_is_refused(
    signed: Path, keys: KeyPair, text: bytes, hint: str
) -> None:
    (signed / SIGNATURE).write_bytes(text)
    refused(signed, keys, hint)


def test_a_truncated_signature_is_refused(signed: Path, keys: KeyPair) -> None:
    whole = (signed / SIGNATURE).read_bytes()
    for length in range(0, len(whole) - 2, 97):
        (signed / SIGNATURE).write_bytes(whole[:length])
        refused(signed, keys, "model.sig is no signature")


@pytest.mark.parametrize("sig", ["", "AAAA", "no base64"])
def test_a_broken_signature_is_refused(signed: Path, keys: KeyPair, sig: str) -> None:
    change(signed, lambda stated: stated["dsseEnvelope"].update(signatures=[{"sig": sig}]))
    refused(signed, keys, "did not make this signature|dsseEnvelope.signatures.0.sig: ")


def test_one_signature_stands_there(signed: Path, keys: KeyPair) -> None:
    change(signed, lambda stated: stated["dsseEnvelope"]["signatures"].append({"sig": "AAAA"}))
    refused(signed, keys, "dsseEnvelope.signatures: List should have at most 1 item")


def test_a_key_that_stands_twice_is_refused(signed: Path, keys: KeyPair) -> None:
    text = (signed / SIGNATURE).read_text()
    (signed / SIGNATURE).write_text(text.replace("{", '{"mediaType": "",', 1))
    refused(signed, keys, "the key 'mediaType' stands 2 times")


def test_a_folder_or_pipe_for_a_signature_is_refused(bundle: Path, keys: KeyPair) -> None:
    (bundle / SIGNATURE).mkdir()
    refused(bundle, keys, "model.sig cannot be read: Is a directory")
    (bundle / SIGNATURE).rmdir()
    os.mkfifo(bundle / SIGNATURE)
    refused(bundle, keys, "model.sig is a pipe and no file")


def test_what_may_not_be_read_is_named(
    signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = PermissionError(13, "Permission denied", str(signed / SIGNATURE))
    monkeypatch.setattr(signature, "refuse_links", Mock(side_effect=refusal))
    refused(signed, keys, "model.sig cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("edit", "hint"),
    [
        (lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"), "predicateType"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "serialization.method"),
        (lambda s: s["predicate"]["serialization"].update(hash_type="blake3"), "hash_type"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "twice"),
        (lambda s: s["predicate"]["resources"][0].update(digest="../../etc"), "digest"),
        (lambda s: s["predicate"].update(resources=[]), "not signed: bundle.sha256, "),
        (
            lambda s: s["predicate"]["resources"][0].update(name="../../etc/passwd"),
            "missing: ../../etc/passwd",
        ),
    ],
)
def test_a_signed_statement_of_another_form_is_refused(
    signed: Path, keys: KeyPair, edit: Callable[[dict[str, Any]], None], hint: str
) -> None:
    statement = payload_of(signed)
    edit(statement)
    sign_payload(signed, keys, json.dumps(statement).encode())
    refused(signed, keys, hint)


def test_a_signed_statement_may_say_more(signed: Path, keys: KeyPair) -> None:
    statement = payload_of(signed)
    statement["predicate"]["card"] = {"licence": "Apache-2.0"}
    sign_payload(signed, keys, json.dumps(statement).encode())
    open_by(signed, keys)
