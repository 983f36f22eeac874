"""How the page is served; what it does is tried in a browser by `make test-page`."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from importlib.resources import files

import httpx
import pytest

from collector.web.page import DOCUMENTS, is_page
from tests.server import Server

MOST_BYTES = 120_000
STATIC = files("collector.web").joinpath("static")


def fetched(server: Server, path: str, **headers: str) -> httpx.Response:
    return httpx.get(server.endpoints["api"] + path, headers=headers)


def references(text: str, base: str) -> set[str]:
    """What a module imports, as paths."""
    found = re.findall(r'^(?:import|export)[^"]*"(\.[^"]+)"', text, re.MULTILINE)
    return {str(httpx.URL(f"http://there{base}").join(name).path) for name in found}


@pytest.mark.parametrize(
    "path", ["/", "/runs/abc", "/sessions/a%2Fb", "/compare", "/overview", "/status", "/settings"]
)
def test_every_place_is_the_page_and_needs_no_key(server: Server, path: str) -> None:
    shown = fetched(server, path)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert fetched(server, path, **{"if-none-match": shown.headers["etag"]}).status_code == 304


def test_the_page_shows_nothing_of_what_is_stored_without_a_key(server: Server) -> None:
    assert fetched(server, "/api/v1/runs").status_code == 401
    assert not is_page("/api/v1/runs")
    assert not is_page("/runs/a/b/c")
    for path in ("/static/x/app.js", "/static/../pyproject.toml", "/static/%2e%2e/page.py"):
        assert fetched(server, path).status_code in (401, 404)


def test_who_comes_with_a_browser_to_where_nothing_is_sees_the_page(server: Server) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    lost = fetched(server, "/run/abc", **browser)
    assert (lost.status_code, lost.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert lost.headers["cache-control"] == "no-store"
    assert 'id="app"' in lost.text
    assert {route["path"].split("/")[1] for route in server.get("")["routes"]} <= DOCUMENTS | {
        "healthz",
        "readyz",
    }
    for path, headers in (("/api/v1/runs", browser), ("/jaeger/api/services", browser), ("/run/abc", {})):
        refused = fetched(server, path, **headers)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")


def test_all_files_are_there_small_and_kept_by_the_browser(server: Server) -> None:
    index = fetched(server, "/").text
    waiting = set(re.findall(r'(?:src|href)="([^"]+)"', index))
    seen: dict[str, httpx.Response] = {}
    while waiting:
        path = waiting.pop()
        seen[path] = fetched(server, path, **{"accept-encoding": "gzip"})
        assert seen[path].status_code == 200, path
        assert "immutable" in seen[path].headers["cache-control"]
        if path.endswith(".js"):
            waiting |= references(seen[path].text, path) - seen.keys()
    assert len(seen) > 20
    assert sum(int(answer.headers["content-length"]) for answer in seen.values()) < MOST_BYTES


def test_a_file_without_compression_is_the_same(server: Server) -> None:
    [style] = re.findall(r'href="([^"]+style.css)"', fetched(server, "/").text)
    plain = fetched(server, style, **{"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == STATIC.joinpath("style.css").read_bytes()
    assert len(gzip.compress(plain.content)) < len(plain.content)


def test_what_is_not_ours_is_what_its_manifest_says() -> None:
    vendor = STATIC.joinpath("vendor")
    manifest = json.loads(vendor.joinpath("manifest.json").read_text())
    ours = {"manifest.json", "preact.d.ts", "uplot.d.ts"}
    names = {file.name for file in vendor.iterdir()} - ours
    assert names == {*manifest, *(licence for entry in manifest.values() for licence in entry["licences"])}
    for name, entry in manifest.items():
        assert hashlib.sha256(vendor.joinpath(name).read_bytes()).hexdigest() == entry["sha256"], name
