"""A shared library that is one in its headers alone, with device code for some GPUs."""

import struct
from collections.abc import Mapping, Sequence

HEADER = 64
NAMES = b"\0.shstrtab\0.nv_fatbin\0"


def library(modules: Sequence[Mapping[int, bytes]]) -> bytes:
    """Return an ELF file whose modules hold code, by compute capability."""
    fatbin = b"".join(_module(module) for module in modules)
    table = HEADER + len(NAMES) + len(fatbin)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    numbers = struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 1)
    sections = [
        bytes(64),
        _section(NAMES.index(b".shstrtab"), HEADER, len(NAMES)),
        _section(NAMES.index(b".nv_fatbin"), HEADER + len(NAMES), len(fatbin)),
    ]
    return ident + numbers + NAMES + fatbin + b"".join(sections)


def _section(name: int, start: int, size: int) -> bytes:
    return struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, start, size, 0, 0, 1, 0)


def _module(codes: Mapping[int, bytes]) -> bytes:
    entries = b"".join(_entry(sm, code) for sm, code in codes.items())
    module = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries
    return module + bytes(16)  # padding, as a linker leaves


def _entry(sm: int, code: bytes) -> bytes:
    header = struct.pack("<HHIQIIII", 2, 0x101, 64, len(code), 0, 0, 0, sm)
    return header + bytes(64 - len(header)) + code
