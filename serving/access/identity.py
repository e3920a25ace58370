"""Who calls, and what that caller may do."""

from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a caller may do; `serving/access/roles.py` says which calls need which."""

    CLASSIFY = "classify"  # ask for answers
    READ = "read"  # see metrics, models and statistics
    ADMIN = "admin"  # change what the server serves, and all that the others may


class Identity(NamedTuple):
    """A caller who is known by a token or a client certificate.

    Attributes:
        name: as the token file has it; `cert:…` for a certificate.
        roles: as it states them.
    """

    name: str
    roles: frozenset[Role]
