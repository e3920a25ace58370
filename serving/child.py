"""A module of ours in a process of its own, which ends with all its children."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress


class Child:
    """A running process; `close` ends it, in any state.

    It has a process group of its own: Ctrl-C in a terminal reaches only this process, which then
    ends its children. The module must end by itself should this process be killed: its pipe ends.

    Args:
        module: the module that runs as the program.
        arguments: its arguments.
        stdin: as `subprocess.Popen` takes it.
        stdout: the same; None: with what it says on standard error.
        descriptors: those that it inherits.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        # In memory: a server may run where it can write no file.
        self._errors = os.fdopen(os.memfd_create("errors"), "w+b")
        self.process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            [sys.executable, "-m", module, *arguments],
            stdin=stdin,
            stdout=self._errors if stdout is None else stdout,
            stderr=self._errors,
            pass_fds=descriptors,
            # No session: on a desktop kernel each has a share of the cores, whatever its priority.
            process_group=0,
            bufsize=0,
        )

    def give_way(self) -> None:
        """Have it, and all that it starts, run only while nothing else needs the core.

        Raises `OSError` where that is forbidden.
        """
        with suppress(ProcessLookupError):  # it has ended
            if sys.platform == "linux":
                os.sched_setscheduler(self.process.pid, os.SCHED_IDLE, os.sched_param(0))
            else:
                os.setpriority(os.PRIO_PROCESS, self.process.pid, 19)

    def pause(self) -> None:
        """Stop it and all its children until `resume`.

        Should this process be killed meanwhile, the kernel ends them: they are then a stopped group
        without a parent in their session (setpgid(2)). Under nohup it has them go on, and their
        pipe ends.
        """
        self._signal(signal.SIGSTOP)

    def has_stopped(self) -> bool:
        """Whether a `pause` has reached it: a thread that waits for a core stops only on one."""
        look = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.process.pid, look) is not None
        except ChildProcessError:  # it has ended, and was waited for
            return False

    def resume(self) -> None:
        """Have them go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Begin to end it and all its children."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Once the process has been waited for, its number may belong to another one.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End it and all its children, and wait until it is gone; again, it does nothing."""
        if self._errors.closed:
            return
        self.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file:
                file.close()

    def last_words(self) -> str:
        """Return the last line that it wrote to standard error; empty if there is none."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def ending(code: int) -> str:
    """Return how a process ended, by its exit code as `subprocess` gives it."""
    if code >= 0:
        return f"ended with code {code}"
    how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"{how}, as the kernel does when memory runs out" if code == -signal.SIGKILL else how
