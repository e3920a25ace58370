import pytest

from benchmarks.gpu_kit.trim import trim
from cli.program import UsageError
from tests.benchmarks.gpu_kit.elf import library

GENERAL = {75: b"a" * 64, 80: b"b" * 32, 90: b"c" * 40}
NEW_ONLY = {80: b"d" * 16, 90: b"e" * 24}


def test_only_the_general_code_of_one_gpu_stays_and_nothing_moves() -> None:
    whole = library([GENERAL, NEW_ONLY])
    trimmed = bytearray(whole)
    assert trim(trimmed, 90) == (2, 40, 64 + 32 + 16 + 24)
    blanked = whole
    for code in (GENERAL[75], GENERAL[80], NEW_ONLY[80], NEW_ONLY[90]):
        blanked = blanked.replace(code, bytes(len(code)))
    assert trimmed == blanked
    assert GENERAL[90] in trimmed


def test_a_gpu_that_the_library_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="--sm 100: the library has device code for 75, 80, 90"):
        trim(bytearray(library([GENERAL])), 100)


def test_what_is_no_library_is_refused() -> None:
    with pytest.raises(UsageError, match="no 64-bit ELF file"):
        trim(bytearray(b"#!/bin/sh\n"), 90)
    with pytest.raises(UsageError, match="no section"):
        trim(bytearray(library([GENERAL]).replace(b".nv_fatbin", b".nv_nothin")), 90)
