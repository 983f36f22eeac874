"""Answers are sent once, and compressed for who can read that."""

from __future__ import annotations

import base64
import gzip

import httpx
import pytest
import zstandard

from collector.api.transfer import chosen
from tests.corpus import select
from tests.sending import http_protobuf, renamed
from tests.server import TOKEN, Server

PATH = "/api/v1/openapi.json"


def asked(server: Server, path: str = PATH, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": "identity"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with httpx.stream("GET", server.endpoints["api"] + path, headers=sent) as response:
        response._content = b"".join(response.iter_raw())
    return response


def test_what_the_client_has_is_not_sent_again(server: Server) -> None:
    first = asked(server)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for given in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        again = asked(server, If_None_Match=given)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert asked(server, If_None_Match='W/"other"').status_code == 200


def test_a_list_that_has_grown_is_sent(server: Server) -> None:
    path = "/api/v1/runs?project=transfer"
    empty = asked(server, path).headers["etag"]
    http_protobuf(
        server, renamed(next(select("openinference/openai/tools")).traces[0].read_bytes(), 55), "transfer"
    )
    server.settled()
    grown = asked(server, path, If_None_Match=empty)
    assert (grown.status_code, len(grown.json()["data"]) > 0) == (200, True)


def test_long_answers_are_compressed_and_say_so(server: Server) -> None:
    plain = asked(server)
    assert "content-encoding" not in plain.headers
    packed = asked(server, Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    smaller = asked(server, Accept_Encoding="gzip, deflate, br, zstd")
    assert smaller.headers["content-encoding"] == "zstd"
    assert zstandard.ZstdDecompressor().decompress(smaller.content) == plain.content
    assert len(smaller.content) < len(plain.content) / 3
    for response in (plain, packed, smaller):
        assert response.headers["vary"] == "Accept-Encoding"
        assert response.headers["etag"] == plain.headers["etag"]
        assert int(response.headers["content-length"]) == len(response.content)
    assert "content-encoding" not in asked(server, "/healthz", Accept_Encoding="gzip").headers


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("gzip, zstd", "zstd"),
        ("*", "zstd"),
        ("gzip;q=0", ""),
        ("zstd;q=0, *", "gzip"),
        ("br, deflate", ""),
        ("gzip;q=x", ""),
        ("GZIP", "gzip"),
    ],
)
def test_the_encoding_is_the_one_that_the_client_rather_takes(accepted: str, encoding: str) -> None:
    assert chosen(accepted) == encoding


def test_what_belongs_to_a_run_that_ended_has_a_strong_tag_for_each_compression(server: Server) -> None:
    run = next(run for run in server.runs(include="all") if run["status"] == "completed")
    path = f"/api/v1/runs/{run['run_id']}/events"
    plain = server.api.get(path, headers={"Accept-Encoding": "identity"})
    packed = server.api.get(path, headers={"Accept-Encoding": "gzip"})
    tag, packed_tag = plain.headers["etag"], packed.headers["etag"]
    assert (tag[0], packed_tag) == ('"', f'{tag[:-1]}-gzip"')
    assert plain.headers["cache-control"] == "private, no-cache"
    for known in (tag, packed_tag, f"W/{tag}"):
        assert server.api.get(path, headers={"If-None-Match": known}).status_code == 304
    assert server.api.get(path, headers={"If-None-Match": f'{tag[:-1]}-br"'}).status_code == 200


def test_a_run_is_found_by_every_form_of_its_id(server: Server) -> None:
    run_id = server.runs(include="all")[0]["run_id"]
    in_base64 = base64.urlsafe_b64encode(bytes.fromhex(run_id)).decode().rstrip("=")
    for form in (run_id.upper(), f"otel-{run_id}", in_base64):
        assert server.get(f"/runs/{form}")["run_id"] == run_id
