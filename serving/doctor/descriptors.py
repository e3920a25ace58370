"""May the process open as many files as its connections need?"""

import resource
from collections.abc import Iterator

from serving.doctor.finding import Case, Finding
from serving.rpc.options import OTHER_FILES, allowed

# What a server needs to start: its libraries, models, threads' wake-ups and logs.
LEAST = 256
RAISE = "raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of Docker"


def check(case: Case) -> Iterator[Finding]:
    """Compare the limit, to which the server may raise its own, with the connections."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = case.config.max_connections
    if highest == resource.RLIM_INFINITY:
        yield Finding("ok", "any number of files may be open")
        return
    possible = allowed(wanted, highest)
    limit = f"{highest} files may be open"
    if highest < LEAST:
        yield Finding("fail", f"{limit}, and a server alone needs up to {LEAST}", RAISE)
    elif possible < wanted:
        yield Finding(
            "warn",
            f"{limit}: enough for {possible} gRPC connections, not for --max-connections {wanted}",
            f"{RAISE} to {wanted + OTHER_FILES}, or lower --max-connections",
        )
    else:
        yield Finding("ok", f"{limit}: enough for --max-connections {wanted}")
