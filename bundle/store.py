"""A bundle on disk: `<models>/<name>/<version>/`, sealed by a digest over every file."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from bundle import files
from bundle.files import BundleError as BundleError
from bundle.files import Content, parse
from bundle.files import sha256 as sha256
from bundle.manifest import MANIFEST, Format, Manifest, ModelFile, Precision

SEAL = "bundle.sha256"
# Beside the seal, which does not state it: it comes later, and is over the seal.
SIGNATURE = "model.sig"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose digests were checked."""

    path: Path
    manifest: Manifest
    digest: str
    _sealed: Mapping[str, str] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: Path, signed: Mapping[str, str] | None = None) -> "Bundle":
        """Read and check the bundle at `path`, each file once; raise `BundleError`.

        Args:
            path: the bundle's directory.
            signed: the sha256 of every file and of the seal, by name, as somebody signed them
                (`bundle.signature`); nothing is read from a file that has another.
        """
        with readable(path):
            return cls._open(path, signed)

    @classmethod
    def _open(cls, path: Path, signed: Mapping[str, str] | None) -> "Bundle":
        check_kind(path)
        digest, sealed = check_seal(path, signed)
        stated = files.read(path / MANIFEST, sealed[MANIFEST])
        try:
            manifest = parse(Manifest, stated)
        except ValueError as error:
            raise BundleError(f"{path / MANIFEST}: {first_mistake(error)}") from error
        _check_files(path, manifest, sealed)
        return cls(path, manifest, digest, sealed)

    def read(self, name: str) -> bytes:
        """Return what a small file holds; raise `BundleError` unless it is as it was sealed."""
        if name not in self._sealed:
            raise BundleError(f"{self.path / name} is missing")
        return files.read(self.path / name, self._sealed[name])

    def file(self, format: Format, precision: Precision) -> ModelFile:  # noqa: A002
        """Return the model file of that format and precision; raise `BundleError`."""
        for file in self.manifest.files:
            if (file.format, file.precision) == (format, precision):
                return file
        held = ", ".join(f"{file.format} {file.precision}" for file in self.manifest.files)
        raise BundleError(f"{self.path} holds no {format} in {precision}; it holds: {held}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `BundleError` if a file of the bundle at `path` cannot be read in the block."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def check_kind(path: Path) -> None:
    """Raise `BundleError` if there is no bundle at `path`; the message says what may be meant."""
    if not (path / MANIFEST).is_file():
        raise BundleError(f"{path} is not a bundle: {_lack(path)}")


def seal(path: Path) -> str:
    """Write the digest of every file into `bundle.sha256`; return the bundle's digest.

    The file has the form of `sha256sum`, so that `sha256sum -c bundle.sha256` checks it too.
    """
    lines = [f"{sha256(path / name)}  {name}\n" for name in contents(path)]
    text = "".join(lines).encode()
    (path / SEAL).write_bytes(text)
    return _digest(text)


class Seal(NamedTuple):
    """A seal that holds: the bundle's digest, and the sha256 of every file by its name."""

    digest: str
    files: Mapping[str, str]


def check_seal(path: Path, signed: Mapping[str, str] | None = None) -> Seal:
    """Return the seal of a bundle; raise `BundleError` if a file was changed, lost or added.

    `signed` is as for `Bundle.open`.
    """
    if not (path / SEAL).is_file():
        raise BundleError(f"{path} is not sealed: it holds no {SEAL}")
    names = set(contents(path))
    if signed is not None:
        # Before the seal is read: until it is the signed one, anybody may have written it.
        _compare(path, names | {SEAL}, signed, "signed")
    text = (path / SEAL).read_bytes()
    sealed = _entries(path, text.decode(errors="replace").removesuffix("\n"))
    if signed is None:
        _compare(path, names, sealed, "sealed")
    elif signed != {**sealed, SEAL: hashlib.sha256(text).hexdigest()}:
        raise BundleError(f"{path / SEAL} does not state the files that were signed with it")
    return Seal(_digest(text), sealed)


def contents(path: Path) -> list[str]:
    """Return the sorted names of all files of the bundle at `path`, except seal and signature.

    Raises:
        BundleError: it holds a pipe or a device, or a symbolic link that leads out of it.
    """
    return sorted(name for name in files.contents(path) if name not in (SEAL, SIGNATURE))


def model_paths(models: Iterable[ModelFile]) -> set[str]:
    """Return the paths of model files and of their external data."""
    return {part.path for file in models for part in file.parts}


def _compare(path: Path, names: Set[str], stated: Mapping[str, str], how: str) -> None:
    """Compare the files of these names with the sha256 that they had when they were sealed."""
    for what, wrong in (("missing", stated.keys() - names), (f"not {how}", names - stated.keys())):
        if wrong:
            raise BundleError(f"{path}: {what}: {', '.join(sorted(wrong))}")
    changed = [name for name in sorted(names) if sha256(path / name) != stated[name]]
    if changed:
        raise BundleError(f"{path}: changed since it was {how}: {', '.join(changed)}")


def _entries(path: Path, text: str) -> dict[str, str]:
    sealed: dict[str, str] = {}
    for line in text.split("\n"):
        name, digest = _entry(path, line)
        if name in sealed:
            raise BundleError(f"{path / SEAL}: {name!r} stands there twice")
        sealed[name] = digest
    return sealed


def _entry(path: Path, line: str) -> tuple[str, str]:
    digest, separator, name = line.partition("  ")
    if not separator:
        raise BundleError(f"{path / SEAL}: {line!r} is not a digest, two spaces and a file name")
    return name, digest


def _lack(path: Path) -> str:
    """Return why a path without a manifest is no bundle, and what may be meant."""
    if not path.exists():
        return "there is no such folder"
    if not path.is_dir():
        return "it is a file, and a bundle is a folder; `python -m export from-onnx` makes one"
    if held := sorted(path.glob(f"*/{MANIFEST}")) or sorted(path.glob(f"*/*/{MANIFEST}")):
        return f"it holds bundles; name one of them, such as {held[-1].parent}"
    if not (path / SEAL).exists() and (found := sorted(path.glob("*.onnx"))):
        return (
            f"{found[0].name} alone says neither what its classes are nor how images become its "
            f"input; `python -m export from-onnx` makes a bundle of it"
        )
    return f"it holds no {MANIFEST}"


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _check_files(path: Path, manifest: Manifest, sealed: Mapping[str, str]) -> None:
    """Compare the manifest with the seal, which was compared with the files."""
    for part in (part for file in manifest.files for part in file.parts):
        if part.path not in sealed:
            raise BundleError(f"{path / part.path}: the manifest names it, but it is not there")
        if sealed[part.path] != part.sha256:
            raise BundleError(f"{path / part.path}: its sha256 is not the one in the manifest")
    stated = {MANIFEST, *manifest.attachments, *model_paths(manifest.files)}
    if lost := sorted(stated - sealed.keys()):
        raise BundleError(f"{path}: the manifest names files that are not there: {', '.join(lost)}")
    if added := sorted(sealed.keys() - stated):
        raise BundleError(f"{path}: the manifest does not name: {', '.join(added)}")


def read_record(kind: type[Content], path: Path) -> Content:
    """Return what a JSON file of a bundle states; raise `BundleError` if it is broken."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is missing or broken: {error.strerror}") from error
    return parse_record(kind, path, data)


def parse_record(kind: type[Content], path: Path, data: bytes) -> Content:
    """Return what the JSON file at `path` states, once it is read; raise `BundleError`."""
    try:
        return parse(kind, data)
    except ValueError as error:
        raise BundleError(f"{path} is missing or broken: {first_mistake(error)}") from error


def first_mistake(error: ValueError) -> str:
    """Return what is wrong with a JSON file, and where, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
