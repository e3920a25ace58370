"""The page for people, at /: static files, read once, with the headers that keep it to itself."""

import hashlib
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

FOLDER = Path(__file__).parents[1] / "web"
INDEX = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# Labels and file names are strangers' text. Whatever of it might reach the page as code is not run:
# there are no scripts or styles but the files here, and no way to make any from text.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # blob: what the user chose, shown before it is sent
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Kept, but asked for again each time: a new server has a new page at once.
    "cache-control": "no-cache",
}


class File(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str
    etag: str


class Page:
    """The routes of the page; its files are read when it is created."""

    def __init__(self) -> None:
        paths = (path for path in FOLDER.rglob("*") if path.suffix in MEDIA_TYPES)
        self._files = {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}

    def routes(self) -> list[BaseRoute]:
        """Return the routes; /openapi.json is for programs, and says nothing of them."""
        return [Route("/", self.index), Route("/web/{file:path}", self.file)]

    async def index(self, request: Request) -> Response:
        """Return the page itself."""
        return _answer(request, self._files[INDEX])

    async def file(self, request: Request) -> Response:
        """Return one of its files."""
        found = self._files.get(request.path_params["file"])
        if not found:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return _answer(request, found)


def _read(path: Path) -> File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return File(content, MEDIA_TYPES[path.suffix], f'"{digest}"')


def _answer(request: Request, file: File) -> Response:
    headers = HEADERS | {"etag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in known or known == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
