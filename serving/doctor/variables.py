"""Which variables of the environment are misspelt, or slow a server down?"""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from serving.backends.devices import parse_devices
from serving.config import ServingConfig
from serving.doctor.finding import Case, Finding

PREFIX = "SERVING_"
# Each makes every request slower, some several times; they are for looking for faults.
SLOW = {
    "PYTHONDEVMODE": "Python's development mode",
    "PYTHONASYNCIODEBUG": "asyncio's debug mode",
    "PYTHONMALLOC": "another allocator than Python's own",
    "PYTHONTRACEMALLOC": "a record of every allocation",
    "GRPC_TRACE": "gRPC's trace",
}
SLOW_ON_GPUS = {"CUDA_LAUNCH_BLOCKING": "a wait for every kernel on a GPU"}


def check(case: Case) -> Iterator[Finding]:
    """Look at those with the prefix of settings, and at those that slow libraries down."""
    [device, *_] = parse_devices(case.config.device)
    slow = SLOW | (SLOW_ON_GPUS if device.kind in ("cuda", "tensorrt") else {})
    found = [*unknown(os.environ), *_slowing(os.environ, slow)]
    yield from found
    if not found:
        names = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
        yield Finding("ok", f"{', '.join(names) or f'no {PREFIX} variable'} set; nothing debugs")


def unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the variables that look like a setting and are none: a server ignores them."""
    known = [field.upper() for field in ServingConfig.model_fields]
    for name in sorted(environment):
        field = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and field not in known:
            meant = "".join(get_close_matches(field, known, 1))
            yield Finding(
                "warn",
                f"{name} is set, and no setting has that name: a server ignores it",
                f"rename it to {PREFIX}{meant}"
                if meant
                else "unset it, or see --help for the names",
            )


def _slowing(environment: Mapping[str, str], slow: Mapping[str, str]) -> Iterator[Finding]:
    for name, meaning in slow.items():
        if environment.get(name, "0") not in ("", "0"):
            yield Finding("warn", f"{name} is set: {meaning} slows every request down", "unset it")
