"""The token file: what its lines mean, and what a token is.

    # name            digest            roles
    alice             sha256:9f86d0…    classify,read
    cert:prometheus                     read

A file holds digests only, so who reads it learns no token. They are of one round of SHA-256: slow
hashes protect passwords, of which an attacker can try all that people choose. A token of ours has
256 bits from the system's generator, and nobody tries those, at whatever speed.

No message quotes a line: it may hold a token that somebody took for a digest.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.access.identity import Identity, Role
from serving.errors import StartupError

# By which people, and programs that look for secrets, know one of ours.
PREFIX = "rxs_"
TOKEN_BYTES = 32
ALGORITHM, CERTIFICATE = "sha256:", "cert:"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FORM = "a line is `NAME sha256:DIGEST ROLES` or `cert:NAME ROLES`"


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a token file says.

    A token is looked up by its digest, so no secret is compared with anything. How long that takes
    may depend on how far two digests agree, which tells of digests only: nobody can choose what the
    digest of a guess is, and no token follows from one.

    Attributes:
        tokens: the callers by the digest of their token.
        certificates: those who are known by the name in their certificate.
    """

    tokens: Mapping[bytes, Identity] = field(default_factory=dict)
    certificates: Mapping[str, Identity] = field(default_factory=dict)

    def of_token(self, token: str) -> Identity | None:
        """Return whose token that is."""
        return self.tokens.get(digest(token))


def new_token() -> str:
    """Return a token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token, 32 bytes."""
    # Whatever strangers send has a digest, also what is no text.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def line(name: str, token: str, roles: str) -> str:
    """Return the line of a token, without its end."""
    return f"{name} {ALGORITHM}{digest(token).hex()} {roles}"


def check_name(name: str) -> str:
    """Return the name of a token; raise ValueError if it is none."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "a name begins with a letter or digit, and has no more than 64 of A-Z a-z 0-9 . _ @ + -"
        )
    return name


def parse_roles(text: str) -> tuple[Role, ...]:
    """Return the roles that a text lists, separated with commas.

    Raises:
        ValueError: one is unknown or stated twice, or there is none.
    """
    stated = text.split(",")
    if len({*stated}) < len(stated) or not {*stated} <= {*Role}:
        raise ValueError(f"roles are {', '.join(Role)}: one or more, separated with commas")
    return tuple(map(Role, stated))


def check_roles(text: str) -> str:
    """Return a list of roles; raise ValueError if it is none."""
    return ",".join(parse_roles(text))


def parse(data: bytes, where: str) -> Credentials:
    """Return what a token file says.

    Args:
        data: its content.
        where: it lies, for messages.

    Raises:
        StartupError: a line is wrong, or there is none; the message names the line.
    """
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise StartupError(f"{where}, line {number}: this is not UTF-8") from None
    tokens: dict[bytes, Identity] = {}
    certificates: dict[str, Identity] = {}
    lines_of: dict[str | bytes, int] = {}  # of a name, or of a digest
    for number, text in enumerate(map(str.strip, lines), start=1):
        if not text or text.startswith("#"):
            continue
        try:
            key, identity = _entry(text.split())
            _check_new({key: "digest", identity.name: "name"}, lines_of)
        except ValueError as error:
            raise StartupError(f"{where}, line {number}: {error}") from None
        lines_of |= {key: number, identity.name: number}
        if isinstance(key, bytes):
            tokens[key] = identity
        else:
            certificates[key.removeprefix(CERTIFICATE)] = identity
    if not lines_of:
        raise StartupError(
            f"{where} has no line with a token or a certificate, so nobody could call: "
            f"`python -m serving token NAME --file {where}` adds one"
        )
    return Credentials(tokens, certificates)


def _check_new(keys: Mapping[str | bytes, str], lines_of: Mapping[str | bytes, int]) -> None:
    for key, kind in keys.items():
        if key in lines_of:
            raise ValueError(f"line {lines_of[key]} has the same {kind}")


def _entry(fields: Sequence[str]) -> tuple[str | bytes, Identity]:
    """Return an identity under the digest of its token, or under its name; raise ValueError."""
    if fields[0].startswith(CERTIFICATE):
        if len(fields) != 2 or fields[0] == CERTIFICATE:
            raise ValueError(FORM)
        return fields[0], Identity(fields[0], frozenset(parse_roles(fields[1])))
    if any(PREFIX in field for field in fields):
        raise ValueError(
            "this is a token, not its digest: whoever could read the file may use it; make "
            "another with `python -m serving token`"
        )
    if len(fields) != 3:
        raise ValueError(FORM)
    name, hashed, roles = fields
    found = hashed.removeprefix(ALGORITHM)
    if found == hashed or not DIGEST.fullmatch(found):
        raise ValueError(
            "the second word must be `sha256:` and 64 digits of 0-9 a-f, the digest of a token; "
            "`python -m serving token NAME` makes the line"
        )
    return bytes.fromhex(found), Identity(check_name(name), frozenset(parse_roles(roles)))
