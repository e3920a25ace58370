"""What makes two bundles answer differently; names, versions and dates do not count."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from pydantic import BaseModel

from bundle.manifest import Manifest, ModelFile
from bundle.store import Bundle
from cli.tables import show_rows

ABSENT = "-"


class Difference(NamedTuple):
    """Something that two bundles state differently."""

    what: str
    a: str
    b: str


def differences(a: Bundle, b: Bundle) -> Iterator[Difference]:
    """Yield what differs: architecture, labels, transform, normalisation, accuracy, weights."""
    yield from _labels(a.manifest.labels, b.manifest.labels)
    yield from _fields(_described(a.manifest), _described(b.manifest))
    ours, theirs = _files(a), _files(b)
    for kind in sorted(ours.keys() | theirs.keys()):
        yield from _file(kind, (a, ours.get(kind)), (b, theirs.get(kind)))


def show(found: list[Difference]) -> None:
    """Print one line per difference; nothing if there is none."""
    if found:
        show_rows(("differs", "A", "B"), found, text_columns=3)


def _labels(a: list[str], b: list[str]) -> Iterator[Difference]:
    for index, (ours, theirs) in enumerate(zip_longest(a, b, fillvalue=ABSENT)):
        if ours != theirs:
            yield Difference(f"label {index}", ours, theirs)


def _described(manifest: Manifest) -> dict[str, str]:
    names = ("architecture", "task", "transform", "normalization", "accuracy")
    return dict(_leaves({name: getattr(manifest, name) for name in names}))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value) of everything inside nested models."""
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    elif value is not None:
        yield path, str(value)


def _fields(a: dict[str, str], b: dict[str, str]) -> Iterator[Difference]:
    for name in a | b:
        ours, theirs = a.get(name, ABSENT), b.get(name, ABSENT)
        if ours != theirs:
            yield Difference(name, ours, theirs)


def _files(bundle: Bundle) -> dict[str, ModelFile]:
    return {f"{file.format} {file.precision}": file for file in bundle.manifest.files}


def _file(
    kind: str, a: tuple[Bundle, ModelFile | None], b: tuple[Bundle, ModelFile | None]
) -> Iterator[Difference]:
    (ours, our_file), (theirs, their_file) = a, b
    if our_file is None or their_file is None:
        yield Difference(
            kind, *("present" if file else "absent" for file in (our_file, their_file))
        )
        return
    if our_file.digests == their_file.digests or our_file.precision == "bf16":
        return  # bf16 is the fp32 file, which is compared for itself
    yield Difference(kind, _short(our_file.digests), _short(their_file.digests))
    if our_file.format == "onnx":
        # Needs onnx, which an environment for serving does not have; all else works there.
        from export.formats.onnx_model import compare_weights

        paths = ours.path / our_file.path, theirs.path / their_file.path
        for name, a_text, b_text in compare_weights(*paths):
            yield Difference(f"{kind} {name}", a_text, b_text)


def _short(digests: Iterable[str]) -> str:
    return ", ".join(digest[:12] for digest in digests)
