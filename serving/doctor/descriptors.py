"""May the process open as many files as its connections need?"""

import resource
from collections.abc import Iterator

from serving.config import ServingConfig
from serving.doctor.finding import Case, Finding
from serving.rpc.options import OTHER_FILES, allowed

# What a server opens besides connections: models, wake-ups of threads, the log.
LEAST = 256
RAISE = "raise ulimit -n (LimitNOFILE= of systemd, --ulimit nofile= of Docker)"


def check(case: Case) -> Iterator[Finding]:
    """Compare the limits of the process with the connections that it is to have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield from judge(case.config, *limits)


def judge(config: ServingConfig, limit: int, highest: int) -> Iterator[Finding]:
    """Yield what is to be said; the server raises its limit as far as gRPC needs, up to `highest`.

    gRPC may have what other files leave, HTTP a quarter of all.
    """
    if resource.RLIM_INFINITY in (limit, highest):
        yield Finding("ok", "any number of files may be open")
        return
    files = max(limit, min(config.max_connections + OTHER_FILES, highest))
    told = f"{files} files may be open"
    if files < LEAST:
        yield Finding("fail", f"{told}, and a server alone needs up to {LEAST}", RAISE)
        return
    few = [
        f"{possible} of {flag} {wanted}"
        for flag, wanted, possible in (
            ("--max-connections", config.max_connections, allowed(config.max_connections, files)),
            ("--max-http-connections", config.max_http_connections, files // 4),
        )
        if possible < wanted
    ]
    if few:
        yield Finding(
            "warn", f"{told}, so there can be {' and '.join(few)}", f"{RAISE}, or lower them"
        )
    else:
        yield Finding("ok", f"{told}: enough for all connections")
