"""Is the time of day right, on which certificates and the times in logs and traces depend?

Deadlines do not: they run on the monotonic clock. Source: adjtimex(2) of Linux, which tells whether
something keeps the clock (chrony, systemd-timesyncd, the host of a virtual machine).
"""

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

from serving.doctor.finding import Case, Finding

# Of <sys/timex.h>.
UNSYNCHRONISED = 0x40
KEEP = "let chrony or systemd-timesyncd keep it; in a container, on its host"


class Timex(ctypes.Structure):
    """The first fields of `struct timex` on 64-bit Linux; `rest` is longer than the others."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def check(case: Case) -> Iterator[Finding]:
    """Compare the clock with the program's own files, and ask the kernel whether it is kept."""
    installed, matters = Path(__file__).stat().st_mtime, case.config.tls_cert is not None
    yield from judge(time.time(), installed, _status(), matters=matters)


def judge(now: float, installed: float, status: int | None, *, matters: bool) -> Iterator[Finding]:
    """Yield what is to be said.

    Args:
        now: the time of day, in seconds since 1970.
        installed: when this program was, by its files.
        status: of the clock, as the kernel states it; None if it may not be asked.
        matters: whether the server has a certificate.
    """
    shown = f"the clock says {_text(now)}"
    if now < installed:
        yield Finding(
            "fail" if matters else "warn",
            f"{shown}, before this program's files ({_text(installed)})",
            f"set it, and {KEEP}",
        )
    elif status is None:
        yield Finding(
            "warn",
            f"{shown}; whether something keeps it is unknown: the kernel may not be asked here",
            "compare it with another machine's",
        )
    elif status & UNSYNCHRONISED:
        yield Finding("warn", f"{shown}, and nothing keeps it", KEEP)
    else:
        yield Finding("ok", f"{shown}, and is synchronised")


def _text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _status() -> int | None:
    clock = Timex()  # modes 0: only asks
    libc = ctypes.CDLL(None)
    adjtimex = getattr(libc, "adjtimex", None)
    return None if adjtimex is None or adjtimex(ctypes.byref(clock)) < 0 else clock.status
