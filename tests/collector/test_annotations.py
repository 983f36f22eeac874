"""What people say of runs: shown with them, found by, and theirs to change."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from collector.doors.keys import Keys, Scope, keys_file
from tests import forked, told
from tests.sending import http_protobuf
from tests.server import COMMAND, TOKEN, Server


@pytest.fixture(scope="module")
def pair(server: Server) -> tuple[str, str]:
    for number in (1, 2):
        http_protobuf(server, told.run(f"e{number}" * 16, "annotated"), "annotated")
    server.settled()
    return "e1" * 16, "e2" * 16


def patch(server: Server, run_id: str, body: Any) -> httpx.Response:
    return server.api.patch(f"/api/v1/runs/{run_id}", json=body)


def test_tags_a_note_and_a_pin_are_shown_and_found(server: Server, pair: tuple[str, str]) -> None:
    first, second = pair
    run = patch(
        server, first, {"tags": ["good", "golden set", "good"], "note": "look at the second call"}
    ).json()
    assert (run["tags"], run["note"], run["pinned"]) == (
        ["good", "golden set"],
        "look at the second call",
        False,
    )
    run = patch(server, first, {"pinned": True}).json()
    assert (run["tags"], run["pinned"]) == (["good", "golden set"], True)
    assert server.get(f"/runs/{first}")["note"] == "look at the second call"
    said = server.get(f"/runs/{first}/annotation")
    assert said["tags"] == ["good", "golden set"]
    assert said["updated_at"]

    def found(query: str) -> set[str]:
        return {run["run_id"] for run in server.runs(project="annotated", q=query)}

    assert found("tag:good") == found("tag:gold*") == found("pinned:true") == found("note:second") == {first}
    assert found("-tag:good") == found("pinned:false") == {second}
    facets = server.get("/facets", of="tag", project="annotated")["data"]
    assert {(facet["value"], facet["count"]) for facet in facets} == {("good", 1), ("golden set", 1)}
    assert {
        f["value"]: f["count"] for f in server.get("/facets", of="pinned", project="annotated")["data"]
    } == {
        "true": 1,
        "false": 1,
    }

    run = patch(server, first, {"tags": [], "note": None, "pinned": False}).json()
    assert (run["tags"], run["note"], run["pinned"]) == ([], None, False)
    assert found("tag:good") == found("pinned:true") == set()


def test_what_is_said_outlives_a_later_span(server: Server, pair: tuple[str, str]) -> None:
    _, second = pair
    patch(server, second, {"tags": ["kept"]})
    http_protobuf(server, told.run(second, "comes later"), "annotated")
    server.settled()
    assert server.get(f"/runs/{second}")["tags"] == ["kept"]


@pytest.mark.parametrize(
    "body",
    [{"tags": "good"}, {"tags": [""]}, {"tags": ["x" * 201]}, {"note": 7}, {"pinned": "yes"}, {"name": "x"}],
)
def test_what_can_not_be_said_changes_nothing(
    server: Server, pair: tuple[str, str], body: dict[str, Any]
) -> None:
    before = server.get(f"/runs/{pair[1]}")
    assert patch(server, pair[1], body).status_code == 400
    assert server.get(f"/runs/{pair[1]}") == before


def test_who_only_reads_says_nothing(server: Server, pair: tuple[str, str]) -> None:
    keys = Keys(keys_file(server.data_dir))
    reader = keys.create("reader", [Scope.READ, Scope.CONTENT])[1]
    other = keys.create("other", [Scope.ADMIN], project="other")[1]
    time.sleep(1.1)
    for secret, status in ((reader, 403), (other, 404)):
        answer = httpx.patch(
            f"{server.endpoints['api']}/api/v1/runs/{pair[0]}",
            json={"note": "mine"},
            headers={"Authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == status


def test_from_the_command_line(server: Server, pair: tuple[str, str]) -> None:
    where = ["--url", server.endpoints["api"], "--token", TOKEN]

    def annotate(*arguments: str) -> str:
        done = forked.run([*COMMAND, "runs", "annotate", *arguments, *where])
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "one, two, pinned" in annotate(pair[0], "--tag", "one", "--tag", "two", "--pin")
    assert "two, three" in annotate(pair[0], "--untag", "one", "--tag", "three", "--unpin")
