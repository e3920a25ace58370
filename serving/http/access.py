"""Who may ask for a path over HTTP, known as soon as the head of the request is."""

from collections.abc import Iterable, Sequence
from typing import cast
from urllib.parse import unquote

import httptools
from starlette.routing import BaseRoute, Match, Route

from serving.access.guard import Check, Guard


class Doors:
    """The routes of an application, each with its check.

    Args:
        guard: asks who calls.
        routes: of the application, in the order in which it looks for one.

    Raises:
        LookupError: a route is missing in `serving/access/roles.py`.
    """

    def __init__(self, guard: Guard, routes: Sequence[BaseRoute]) -> None:
        known = cast("Sequence[Route]", routes)
        self._doors = [(one, guard.of_route(one.path)) for one in known]
        # A path that there is not is told to those who may know which ones there are.
        self._nowhere = guard.of_route("/openapi.json")

    def check(self, method: str, url: bytes) -> Check | None:
        """Return the check of a request, given its method and address; None if it is open."""
        if method == "OPTIONS":  # browsers ask without a token what they may ask with one
            return None
        # As uvicorn and Starlette read them: a path must not be one thing here and another there.
        path = unquote(httptools.parse_url(url).path.decode("ascii"))
        scope = {"type": "http", "method": "GET" if method == "HEAD" else method, "path": path}
        fitting = [(r, check) for r, check in self._doors if r.path_regex.match(path)]
        for route, check in fitting:
            if route.matches(scope)[0] is Match.FULL:
                return check
        return fitting[0][1] if fitting else self._nowhere


def authorization(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the values of that header, given the names in small letters."""
    return [value.decode("latin-1") for name, value in headers if name == b"authorization"]
