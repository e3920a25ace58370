"""Device code that one GPU never loads, taken out of a library of ONNX Runtime: zeros in its place.

Nothing moves, so that every offset in the file stays right, and zeros compress to nothing. A
library like that is for measuring, not for a product.

Layout of the section .nv_fatbin, as CUDA's cuobjdump reads it: modules, each a header (magic, u16
version, u16 size of the header, u64 size of what follows) and entries; an entry is a header (u32
size of the header at byte 4, u64 size of the code at 8, u32 compute capability at 28) and code.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from cli.program import UsageError

ELF = b"\x7fELF\x02\x01"  # 64 bits, little-endian
SECTION = b".nv_fatbin"
MAGIC = 0xBA55ED50
MODULE, ALIGNMENT = struct.Struct("<IHHQ"), 8


class Entry(NamedTuple):
    """Code of a module for one compute capability (90 for sm_90), at `start` in the file."""

    start: int
    size: int
    sm: int


class Trimmed(NamedTuple):
    """What was done: bytes of device code that were kept, and that became zeros."""

    modules: int
    kept: int
    blanked: int


def trim(library: bytearray, sm: int) -> Trimmed:
    """Blank, in place, all device code that a network of convolutions on an `sm` GPU never loads.

    What stays is the code for `sm` in modules that also have some for the oldest GPU: the others
    hold attention, mixtures of experts and products with quantised weights, which newer GPUs alone
    run.

    Raises:
        UsageError: it is no ELF library with device code, or has none for `sm`.
    """
    modules = [list(entries) for entries in _modules(library)]
    found = sorted({entry.sm for entries in modules for entry in entries})
    if sm not in found:
        raise UsageError(
            f"--sm {sm}: the library has device code for {', '.join(map(str, found)) or 'nothing'}"
        )
    kept = blanked = 0
    for entries in modules:
        general = any(entry.sm == found[0] for entry in entries)
        for start, size, own in entries:
            if general and own == sm:
                kept += size
            else:
                library[start : start + size] = bytes(size)
                blanked += size
    return Trimmed(len(modules), kept, blanked)


def _modules(library: bytearray) -> Iterator[Iterator[Entry]]:
    start, size = _section(library)
    at, end = start, start + size
    while at + MODULE.size <= end:
        magic, _, header, length = MODULE.unpack_from(library, at)
        if magic != MAGIC:
            at += ALIGNMENT  # padding between modules
            continue
        yield _entries(library, at + header, at + header + length)
        at += header + length


def _entries(library: bytearray, at: int, end: int) -> Iterator[Entry]:
    while at < end:
        header, size = struct.unpack_from("<IQ", library, at + 4)
        [sm] = struct.unpack_from("<I", library, at + 28)
        yield Entry(at + header, size, sm)
        at += header + size


def _section(library: bytearray) -> tuple[int, int]:
    """Return offset and size of the section with the device code."""
    if not library.startswith(ELF):
        raise UsageError("the library is no 64-bit ELF file: there is nothing to trim in it")
    [table] = struct.unpack_from("<Q", library, 0x28)
    width, count, names = struct.unpack_from("<HHH", library, 0x3A)
    headers = [table + width * number for number in range(count)]
    [text] = struct.unpack_from("<Q", library, headers[names] + 24)
    for header in headers:
        name = text + struct.unpack_from("<I", library, header)[0]
        if library[name : library.index(0, name)] == SECTION:
            start, size = struct.unpack_from("<QQ", library, header + 24)
            return start, size
    raise UsageError(f"the library has no section {SECTION.decode()}: it holds no device code")
