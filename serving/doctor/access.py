"""Who may call, and does the token file say what somebody meant by it?"""

import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from serving.access.identity import Role
from serving.access.token_file import read
from serving.access.tokens import Credentials, parse
from serving.config import ServingConfig
from serving.doctor.finding import Case, Finding
from serving.settings.tls import is_local


def check(case: Case) -> Iterator[Finding]:
    """Read the token file as the server does, and see who is let in without one."""
    config = case.config
    yield from _exposure(config)
    if config.token_file:
        yield from _tokens(config.token_file, asks_certificates=config.tls_client_ca is not None)


def _exposure(config: ServingConfig) -> Iterator[Finding]:
    asks = config.token_file or config.tls_client_ca
    if is_local(config.host):
        yield Finding("ok", f"only this machine reaches {config.host}")
    elif not asks:
        yield Finding(
            "warn",
            f"whoever reaches {config.host} may call: nobody is asked who they are (--insecure)",
            "set --token-file or --tls-client-ca, unless the network keeps strangers out",
        )
    elif not config.tls_cert:
        yield Finding(
            "warn",
            f"tokens and images cross the network to {config.host} in the clear (--insecure)",
            "set --tls-cert and --tls-key, unless a proxy or mesh encrypts",
        )
    else:
        yield Finding("ok", f"those who reach {config.host} are asked who they are, over TLS")


def _tokens(path: Path, *, asks_certificates: bool) -> Iterator[Finding]:
    """Raises `StartupError` as the server would."""
    known = parse(read(path), str(path))
    if path.stat().st_mode & stat.S_IROTH:
        found = f"anybody on this machine may read {path}"
        yield Finding("warn", found, f"chmod 600 {path}")
    if known.certificates and not asks_certificates:
        found = f"{path} has lines for client certificates, which nobody can show"
        yield Finding("warn", found, "set --tls-client-ca, or remove those lines")
    counts = _counts(known)
    if not counts[Role.CLASSIFY]:
        found = f"nobody in {path} may classify"
        yield Finding("warn", found, f"python -m serving token NAME --file {path}")
    known_by = f"{len(known.tokens)} tokens and {len(known.certificates)} certificates"
    told = ", ".join(f"{counts[role]} may {role}" for role in Role)
    yield Finding("ok", f"{path} knows {known_by}: {told}")


def _counts(known: Credentials) -> Counter[Role]:
    """Return how many callers have each role; an admin has all."""
    callers = [*known.tokens.values(), *known.certificates.values()]
    return Counter(
        role
        for caller in callers
        for role in (Role if Role.ADMIN in caller.roles else caller.roles)
    )
