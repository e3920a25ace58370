"""The check of who calls, which both ports make before they read what is sent."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, NoReturn, get_args

from prometheus_client import CollectorRegistry, Counter

from serving.access import roles
from serving.access.identity import Identity, Role
from serving.access.roles import Need
from serving.access.token_file import TokenFile
from serving.errors import PermissionDeniedError, ServingError, UnauthenticatedError

Reason = Literal["missing", "malformed", "unknown", "role"]
SCHEME = "bearer"
HOW = "send the header `authorization: Bearer TOKEN`"


class Check(NamedTuple):
    """The check before one method or route.

    Attributes:
        what: its name, for the log.
        identify: returns who calls, given the values of `authorization`, and what returns the name
            in the client's certificate, if there is one. A token comes before a certificate: a call
            with a wrong one is refused. Raises `UnauthenticatedError` if the caller is not known,
            `PermissionDeniedError` if the role is lacking.
    """

    what: str
    identify: Callable[[Sequence[str], Callable[[], str | None]], Identity]


class Guard:
    """Knows callers by the token file, and lets them do what their roles allow; on any thread.

    Args:
        file: the token file.
        registry: gets `serving_access_refusals_total`.

    Attributes:
        refusals: its counters, by the reason.
    """

    def __init__(self, file: TokenFile, registry: CollectorRegistry) -> None:
        self.file = file
        refusals = Counter(
            "serving_access_refusals_total",
            "Calls refused before they were read, by reason: no credentials (missing), some that "
            "cannot be read (malformed) or that nobody has (unknown), or the caller lacks the role",
            ("reason",),
            registry=registry,
        )
        self.refusals: dict[Reason, Counter] = {
            reason: refusals.labels(reason) for reason in get_args(Reason)
        }

    def of_method(self, path: str) -> Check | None:
        """Return the check for a method of gRPC, None if it is open; raise LookupError."""
        return self._check(path, roles.of_method(path))

    def of_route(self, path: str) -> Check | None:
        """Return the check for a route of HTTP, None if it is open; raise LookupError."""
        return self._check(path, roles.of_route(path))

    def _check(self, what: str, need: Need) -> Check | None:
        return Check(what, partial(self._identify, need)) if need else None

    def _identify(
        self, need: Need, authorization: Sequence[str], certificate: Callable[[], str | None]
    ) -> Identity:
        identity = (
            self._by_token(authorization) if authorization else self._by_certificate(certificate())
        )
        if identity.roles.isdisjoint(need):
            needed = " or ".join(role for role in Role if role in need)
            held = ", ".join(sorted(identity.roles))
            why = f"this needs the role {needed}, and {identity.name} has {held}"
            self._refuse("role", PermissionDeniedError(why, identity.name))
        return identity

    def _by_token(self, authorization: Sequence[str]) -> Identity:
        if len(authorization) > 1:  # who looked at them before may have gone by another one
            self._unknown("malformed", "there are several `authorization` headers; send one")
        scheme, _, token = authorization[0].strip().partition(" ")
        if scheme.lower() != SCHEME or not token:
            self._unknown("malformed", f"`authorization` is not of the form asked for; {HOW}")
        identity = self.file.credentials.of_token(token.strip())
        return identity or self._unknown("unknown", "the server does not know this token")

    def _by_certificate(self, name: str | None) -> Identity:
        if name is None:
            self._unknown("missing", f"the server asks who calls; {HOW}")
        identity = self.file.credentials.certificates.get(name)
        return identity or self._unknown(
            "unknown",
            f"the server does not know the certificate of {name!r} (a line `cert:NAME ROLES` of "
            f"its token file would say what it may do); {HOW}",
        )

    def _unknown(self, reason: Reason, why: str) -> NoReturn:
        self._refuse(reason, UnauthenticatedError(why))

    def _refuse(self, reason: Reason, error: ServingError) -> NoReturn:
        self.refusals[reason].inc()
        raise error
