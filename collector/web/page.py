"""Serves the page. Its files need no key, since they hold nothing; what they show comes from the API, which does.

All files are read once. Modules name each other by relative paths, so their folder carries the digest of all of them
in its name: what is below it never changes and is kept by browsers for good.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

PLACES = (
    *("/", "/runs/{run_id}", "/sessions", "/sessions/{session_id:path}", "/compare"),
    *("/warnings", "/overview", "/status", "/settings"),
)
"""Paths at which the page is."""
DOCUMENTS = frozenset({"api", "jaeger", "compat", "mcp", "static"})
"""What stands first in the paths of everything else but probes."""
FILES = ("/static/{file:path}", "/favicon.ico")

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_PLACE = re.compile(
    "|".join(re.sub(r"\{\w+\}", "[^/]+", place.replace("{session_id:path}", ".+")) for place in PLACES)
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    gzipped: bytes
    type: str


@dataclass(frozen=True, slots=True)
class _Site:
    digest: str
    index: _File
    files: dict[str, _File]


def is_page(path: str) -> bool:
    """Whether the page, or one of its files, is at this path."""
    return path.startswith("/static/") or path == "/favicon.ico" or _PLACE.fullmatch(path) is not None


def is_lost(scope: Scope) -> bool:
    """Whether somebody came with a browser to where nothing is: they see the page, which says so, and no document for
    programs. Below `DOCUMENTS` such are what one asks for."""
    accept = dict(scope["headers"]).get(b"accept", b"")
    first = scope["path"].strip("/").partition("/")[0]
    return scope["method"] == "GET" and b"text/html" in accept and first not in DOCUMENTS


def nothing_here() -> Response:
    """The page with the status that nothing is at this path; it holds nothing of what is stored."""
    index = _site().index
    headers = _SAFE | {"Cache-Control": "no-store"}
    return Response(index.content, status_code=404, headers=headers, media_type=index.type)


def page_routes() -> list[Route]:
    return [Route(path, page, methods=["GET"]) for path in (*PLACES, *FILES)]


async def page(request: Request) -> Response:
    """The page, or one of its files."""
    site = _site()
    path = request.url.path
    if not path.startswith("/static/"):
        if path == "/favicon.ico":
            return _answer(request, site.files["icon.svg"], "public, max-age=86400", site.digest)
        return _answer(request, site.index, "no-cache", site.digest)
    digest, _, name = path.removeprefix("/static/").partition("/")
    found = site.files.get(name) if digest == site.digest else None
    if found is None:
        return Response(status_code=404, headers=_SAFE)
    return _answer(request, found, "public, max-age=31536000, immutable", site.digest)


def _answer(request: Request, file: _File, kept: str, digest: str) -> Response:
    etag = f'"{digest}"'
    headers = _SAFE | {"Cache-Control": kept, "ETag": etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = file.gzipped
        headers["Content-Encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.type)


@cache
def _site() -> _Site:
    found: dict[str, bytes] = {}
    _gather(files("collector.web").joinpath("static"), "", found)
    digest = hashlib.sha256(b"".join(name.encode() + found[name] for name in sorted(found))).hexdigest()[:16]
    index = found.pop("index.html").decode()
    # Modules import each other four deep: the browser is told of all at once.
    modules = "\n".join(
        f'    <link rel="modulepreload" href="{{static}}/{name}">'
        for name in sorted(found)
        if name.endswith(".js")
    )
    index = index.replace("{modules}", modules).replace("{static}", f"/static/{digest}")
    shown = {
        name: _file(name, content) for name, content in found.items() if name.rpartition(".")[2] in _TYPES
    }
    return _Site(digest, _file("index.html", index.encode()), shown)


def _gather(folder: Traversable, prefix: str, found: dict[str, bytes]) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _gather(entry, f"{prefix}{entry.name}/", found)
        else:
            found[prefix + entry.name] = entry.read_bytes()


def _file(name: str, content: bytes) -> _File:
    return _File(content, gzip.compress(content, 9, mtime=0), _TYPES[name.rpartition(".")[2]])
