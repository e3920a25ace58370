"""Ends of a process that no test of ours should have; for children that are spawned."""

import os
import signal


def segmentation_fault(*_: object) -> None:
    """Crash, as a runtime may."""
    os.kill(os.getpid(), signal.SIGSEGV)


def killed(*_: object) -> None:
    """Be killed, as by the kernel when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def early_exit(*_: object) -> None:
    """End without a word."""
    os._exit(3)
