"""Text of strangers has no power over a terminal, and none ends a program."""

import os
import subprocess
import sys

import pytest

from cli.program import fail
from cli.tables import show_rows
from cli.text import printable
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Coat, größer 日本 [red]", "Coat, größer 日本 [red]"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\r\nlines\t\u2028", r"two\r\nlines\t\u2028"),
        ("\x9b31m", r"\x9b31m"),
        ("gnp\u202egpj.exe", r"gnp\u202egpj.exe"),
        (b"byte \xff".decode(errors="surrogateescape"), r"byte \xff"),
        ("half a pair \ud800", r"half a pair \ud800"),
    ],
)
def test_what_is_unprintable_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_tables_and_messages_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(["a", "b"], [["\x1b[2J", "[red]x[/red]"]], title="[b]\x07")
    fail("no \x1b[2J\nno \x07", 1)
    said = capsys.readouterr()
    assert r"\x1b[2J" in said.out
    assert "[red]x[/red]" in said.out
    assert r"[b]\x07" in said.out
    assert said.err == "error: no \\x1b[2J\nno \\x07\n"


def test_a_terminal_that_knows_only_ascii_gets_escapes() -> None:
    program = (
        "import sys; from cli.program import Command, main; from cli.tables import show_rows\n"
        "from pydantic_settings import BaseSettings\n"
        "run = lambda _: print('ü') or show_rows(['a'], [['日本']])\n"
        "sys.exit(main({'': Command(BaseSettings, run)}, tuple, []))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert b"\\xfc\n" in done.stdout
    assert rb"\u65e5\u672c" in done.stdout
    assert done.stderr == b""
