"""Do the threads that compute fit the cores that the process may use?"""

from collections.abc import Iterator

from cli.cores import Cores, cpu_model, usable_cores
from serving.backends.devices import parse_devices
from serving.doctor.finding import Case, Finding
from serving.shares import count_instances

# The kernel gives a quota out anew after this time, as a rule.
PERIOD_MS = 100


def check(case: Case) -> Iterator[Finding]:
    """Compare instances x threads with the affinity and the CPU quota."""
    cores, threads = usable_cores(case.root), case.config.threads
    [device, *_] = parse_devices(case.config.device)
    yield Finding("ok", f"{cpu_model()}: this process may use {cores}")
    if device.kind == "cpu":
        yield from _computing(count_instances(case.config, device), threads, cores)
    if cores.quota and cores.quota < 1:
        yield Finding(
            "warn",
            f"the CPU quota of {cores.quota:.3g} stops every thread for about "
            f"{(1 - cores.quota) * PERIOD_MS:.0f} of each {PERIOD_MS} ms under load",
            "give the container at least one core: latency grows by these pauses",
        )


def _computing(instances: int, threads: int, cores: Cores) -> Iterator[Finding]:
    if (needed := instances * threads) > cores.usable:
        yield Finding(
            "warn",
            f"{instances} instances x {threads} threads compute, but this process may use {cores}: "
            f"batches may take several times as long",
            f"choose --instances x --threads up to {cores.usable}, or leave both out",
        )
    else:
        yield Finding("ok", f"{instances} x {threads} = {needed} threads compute at once")
