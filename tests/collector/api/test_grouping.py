"""Only the fields that are asked for, and how many there are in all."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from collector.api.grouping import EVENT_GROUPS, RUN_GROUPS
from collector.demo import captured
from collector.documents import models
from collector.doors.keys import Keys, Scope, keys_file
from tests.sending import http_protobuf
from tests.server import Server

PROJECT = "grouping"
RUNS = 3


@pytest.fixture(scope="module")
def run_ids(server: Server) -> list[str]:
    sent = [captured() for _ in range(RUNS)]
    for _, body in sent:
        http_protobuf(server, body, PROJECT)
    server.settled()
    return [run_id for run_id, _ in sent]


def test_every_field_is_of_one_group() -> None:
    grouped = [field for fields in RUN_GROUPS.values() for field in fields]
    assert sorted(grouped) == sorted(models.Run.__annotations__)
    grouped = [field for fields in EVENT_GROUPS.values() for field in fields]
    assert sorted(grouped) == sorted(
        models.Event.__annotations__.keys() - models.EventContent.__annotations__.keys()
    )


@pytest.mark.parametrize(
    ("fields", "groups"),
    [("core", ["core"]), ("usage,cost", ["core", "usage", "cost"]), ("meta,io", ["core", "meta", "io"])],
)
def test_a_run_has_the_groups_that_are_asked_for(
    server: Server, run_ids: list[str], fields: str, groups: list[str]
) -> None:
    expected = {field for group in groups for field in RUN_GROUPS[group]}
    whole = server.get(f"/runs/{run_ids[0]}")
    part = server.get(f"/runs/{run_ids[0]}", fields=fields)
    assert part == {name: value for name, value in whole.items() if name in expected}
    for run in server.get("/runs", project=PROJECT, fields=fields)["data"]:
        assert set(run) == expected
    answer = server.api.post("/api/v1/runs:batch", params={"fields": fields}, json={"ids": run_ids[:1]})
    assert answer.json()["data"] == [part]


def test_inputs_and_outputs_are_added_to_everything_or_to_what_is_asked_for(
    server: Server, run_ids: list[str]
) -> None:
    assert server.get(f"/runs/{run_ids[0]}", fields="io") == server.get(f"/runs/{run_ids[0]}")
    path = f"/runs/{run_ids[0]}/events"
    whole, plain = server.get(path, fields="io")["data"], server.get(path)["data"]
    assert all(entry.items() <= more.items() for entry, more in zip(plain, whole, strict=True))
    assert {"input", "output"} <= set(whole[3]) - set(plain[3])
    part = server.get(path, fields="cost,io")["data"][3]
    assert set(EVENT_GROUPS["core"]) | {"cost_usd", "input"} <= set(part)
    assert "usage" not in part


def test_the_total_is_of_the_filter_and_not_of_the_page(server: Server, run_ids: list[str]) -> None:
    for count in ("exact", "estimate"):
        page = server.get("/runs", project=PROJECT, count=count, limit=1)
        assert (page["meta"]["total"], len(page["data"])) == (RUNS, 1)
    assert server.get("/runs", project=PROJECT, q="tool:none", count="exact")["meta"]["total"] == 0
    assert "total" not in server.get("/runs", project=PROJECT)["meta"]
    body = {"q": f"project:{PROJECT}", "count": "exact", "fields": "core", "limit": 2}
    found = server.api.post("/api/v1/runs:search", json=body).json()
    assert found["meta"]["total"] == RUNS
    assert set(found["data"][0]) == set(RUN_GROUPS["core"])


def test_a_cursor_goes_on_whatever_fields_are_shown(server: Server, run_ids: list[str]) -> None:
    first = server.get("/runs", project=PROJECT, limit=1, fields="core")
    rest = server.get("/runs", project=PROJECT, cursor=first["page"]["next_cursor"], count="exact")
    assert len(rest["data"]) == RUNS - 1


def test_runs_come_as_lines_too(server: Server, run_ids: list[str]) -> None:
    answer = server.api.get(
        "/api/v1/runs",
        params={"project": PROJECT, "limit": 2, "fields": "core"},
        headers={"Accept": "application/x-ndjson"},
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len(answer.text.splitlines()) == 2
    assert answer.headers["x-next-cursor"]


def test_who_may_not_see_content_does_not_ask_for_it(server: Server, run_ids: list[str]) -> None:
    keys = Keys(keys_file(server.data_dir))
    key, secret = keys.create("reader", [Scope.READ])
    time.sleep(1.1)  # until the collector looks at the file again

    def ask(query: str) -> Any:
        # As the exporters of others send their keys.
        headers = {"api_key": secret}
        return httpx.get(f"{server.endpoints['api']}/api/v1/runs?project={PROJECT}{query}", headers=headers)

    assert ask("&fields=io").status_code == 403
    assert ask("").json()["data"][0]["input"] is None
    assert "input" not in ask("&fields=cost").json()["data"][0]
    keys.revoke(key.id)
