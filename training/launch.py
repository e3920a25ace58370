"""How `train` and `eval` start: a log, and the processes of a distributed run, through msrun."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil

from cli.cores import usable_cores
from cli.program import INTERRUPTED, Command, main
from training import cuda
from training.errors import DeviceError, TrainingError, writing
from training.run.log import log_to_stdout
from training.settings.config import CommonConfig

# By any of these a process knows that a launcher (msrun, Open MPI, a rank table) started it.
LAUNCHERS = ("MS_ROLE", "OMPI_COMM_WORLD_RANK", "RANK_ID")
LAUNCHED = "TRAINING_LAUNCHED"  # set for the processes that `launch` starts
LOCALHOST = "127.0.0.1"
# MindSpore answers a SIGINT that arrives inside a graph by sending itself SIGTERM.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Config = TypeVar("Config", bound=CommonConfig)

logger = logging.getLogger(__name__)


def run(
    settings: type[Config], program: Callable[[Config], int], arguments: Sequence[str] | None
) -> int:
    """Run the program with its settings, in several processes if it is to be distributed.

    Returns the exit code, which is the program's unless something fails (see cli/program.py).
    """
    log_to_stdout()
    words = list(sys.argv[1:] if arguments is None else arguments)

    def start(config: Config) -> int:
        if not needed(config):
            if config.platform == "GPU":
                cuda.prepare(device_index())
            return program(config)
        module = settings.model_config["cli_prog_name"] or ""
        launch(config, [*module.split(), *words])
        return 0

    return main({"": Command(settings, start)}, lambda: (TrainingError,), words)


def device_index() -> int:
    """Return the index of this process's device, which a launcher sets; 0 without one."""
    return int(os.environ.get("DEVICE_ID", "0"))


def interrupted() -> int:
    """Return the exit code of a process that has stopped because it was asked to.

    To msrun any code but 0 is a failure; the launcher that started msrun answers 130 itself.
    """
    return 0 if LAUNCHED in os.environ else INTERRUPTED


def needed(config: CommonConfig) -> bool:
    """Return whether this process must start the others: no launcher has started it."""
    return config.is_distributed and not any(name in os.environ for name in LAUNCHERS)


def launch(config: CommonConfig, command: Sequence[str]) -> None:
    """Run the command, python and its arguments, in group_size processes; print the master's log.

    All logs are in <output_path>/workers/<time>. Raises OutputError if they cannot be written,
    DeviceError if a process has failed, and, after SIGINT or SIGTERM, KeyboardInterrupt once the
    processes have saved and ended.
    """
    if config.group_size == 1:
        raise DeviceError("is_distributed=1 needs group_size, the number of processes to start")
    logs = config.output_path / "workers" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    with writing(logs):
        logs.mkdir(parents=True)
    logger.info("%d processes, logs in %s", config.group_size, logs)
    if _wait(config, [*_msrun(config, logs), *command]):
        raise DeviceError(f"a process has failed and the others were ended; their logs: {logs}")


def _wait(config: CommonConfig, command: Sequence[str]) -> int:
    """Return msrun's exit code; if interrupted, end the workers and raise KeyboardInterrupt.

    Like each worker, msrun is in a session of its own: a Ctrl-C reaches this process alone.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with subprocess.Popen(  # noqa: S603 - this very command
        command, env=_environment(config), start_new_session=True
    ) as msrun:
        try:
            return msrun.wait()
        except KeyboardInterrupt:
            _end(msrun)
            raise


def _end(msrun: "subprocess.Popen[bytes]") -> None:
    """Let the workers save and leave; if interrupted again, or too early, let msrun kill them."""
    with suppress(KeyboardInterrupt):
        if _workers_are_asked(msrun):
            msrun.wait()
    msrun.send_signal(signal.SIGINT)
    msrun.wait()


def _workers_are_asked(msrun: "subprocess.Popen[bytes]") -> bool:
    """Send SIGTERM to each worker, in its own session; return whether there are any yet."""
    asked = False
    for child in psutil.Process(msrun.pid).children():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(child.pid) == child.pid:
                child.terminate()
                asked = True
    return asked


def _msrun(config: CommonConfig, logs: Path) -> list[str]:
    table = [] if config.rank_table is None else [f"--rank_table_file={config.rank_table}"]
    return [
        str(_scripts() / "msrun"),
        f"--worker_num={config.group_size}",
        f"--local_worker_num={config.group_size}",
        f"--master_addr={LOCALHOST}",
        f"--master_port={_free_port()}",
        f"--log_dir={logs}",
        "--tail_worker_log=0",
        "--join=True",
        *table,
    ]


def _environment(config: CommonConfig) -> dict[str, str]:
    """Let msrun find this very Python, MindSpore log errors only, and processes share the cores."""
    path = os.pathsep.join([str(_scripts()), os.environ.get("PATH", os.defpath)])
    defaults = {"GLOG_v": "3"}
    if config.platform == "CPU":  # each would have a thread for every core
        threads = usable_cores().usable // config.group_size
        defaults["OMP_NUM_THREADS"] = str(max(threads, 1))
    return {**defaults, **os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", LAUNCHED: "1"}


def _scripts() -> Path:
    return Path(sys.executable).parent


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((LOCALHOST, 0))
        return int(listener.getsockname()[1])
