"""What was deleted is nowhere any more, and nothing of it comes back."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.doors.keys import Keys, Scope, keys_file
from collector.journal import Header, Record
from collector.pipeline.deadletter import DEAD_LETTERS, DeadLetters, Letter, read
from tests import forked, told
from tests.sending import http_protobuf
from tests.server import COMMAND, TOKEN, Server
from tests.waiting import until

CANARY = "kanarie-4b1f7c29e05d"
PURGED_S = 90.0

LOOK = """
import json, sys
from pathlib import Path
from sinks.clickhouse import Store
from sinks.clickhouse.erasing import EVERY, TIMES
store = Store.open(Path(sys.argv[1]))
tables = store.query("SELECT database, name FROM system.tables WHERE engine LIKE '%MergeTree'")
found = {what: {name: store.query(
    f"SELECT count() FROM {database}.{name} WHERE position(toString(tuple(*)), {{what:String}}) > 0", {"what": what}
)[0][0] for database, name in tables} for what in sys.argv[2:]}
purged = {(table, partition): number for table, partition, number in store.query(
    "SELECT table, partition, max(number) FROM system.mutations"
    " ARRAY JOIN block_numbers.partition_id AS partition, block_numbers.number AS number"
    " WHERE command LIKE '%APPLY DELETED MASK%' GROUP BY table, partition")}
assert {"runs", "run_events", "otel_traces", TIMES} <= {table for table, _ in purged}, purged
assert {table for table, _ in purged} <= {TIMES, *(table for table, _ in EVERY.values())}, purged
old = [(table, name) for table, partition, name, version, hides in store.query(
           "SELECT table, partition_id, name, data_version, has_lightweight_delete FROM system.parts")
       if hides or version < purged.get((table, partition), 0)]
print(json.dumps({"found": found, "old": old}))
store.close()
"""


def run_id(number: int) -> str:
    return f"{number:02x}" * 16


def in_the_store(data_dir: Path, *texts: str) -> list[set[str]]:
    """Tables that hold each of the texts, once the collector has ended. No part is on the disk, whether it is still
    read or not, that hides rows, or is older than the purge of its table's partition."""
    looked = forked.run([sys.executable, "-c", LOOK, str(data_dir / "clickhouse"), *texts], check=True)
    document = json.loads(looked.stdout)
    assert document["old"] == []
    return [{table for table, count in document["found"][text].items() if count} for text in texts]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector of these tests' own: a deletion looks through all that others stored, and waits for it."""
    running = Server(tmp_path_factory.mktemp("deletion") / "data").start()
    yield running
    assert running.stop() == 0


def files_with(data_dir: Path, *texts: bytes) -> list[Path]:
    """Files that are removed meanwhile have none of them."""
    found = []
    for directory, _, names in os.walk(data_dir):
        for file in (Path(directory, name) for name in names):
            with suppress(FileNotFoundError):
                if any(text in file.read_bytes() for text in texts):
                    found.append(file)
    return found


def receipt(server: Server, deletion_id: str) -> dict[str, Any]:
    """The receipt once nothing is left."""
    found: dict[str, Any] = {}

    def is_purged() -> bool:
        found.update(server.get(f"/deletions/{deletion_id}"))
        return bool(found["state"] == "purged")

    until(is_purged, lambda: found, every_s=0.3, patience_s=PURGED_S)
    return found


def send(server: Server, number: int, said: str, project: str = "p", **how: Any) -> str:
    http_protobuf(server, told.run(run_id(number), said, **how), project)
    return run_id(number)


def test_a_deleted_run_is_nowhere_any_more_and_a_crash_only_delays_that(data_dir: Path) -> None:
    server = Server(data_dir).start()
    deleted, kept = send(server, 1, CANARY, session=CANARY), send(server, 2, "another text")
    crashed = send(server, 3, "before a crash")
    http_protobuf(server, told.record(CANARY, run_id=deleted), "p", "logs")
    letters = DeadLetters(data_dir / DEAD_LETTERS, lambda signal, body, project: body)
    for body in (
        told.run(deleted, CANARY),
        told.run(kept, "a letter"),
        b"\xff" + bytes.fromhex(deleted) + CANARY.encode(),
    ):
        letters.keep([Letter(Record(1, Header(1, "", "p", "http", 3), body), "traces", "a test")])
    before = server.settled()["stored"]

    response = server.api.delete(f"/api/v1/runs/{deleted}")

    document = response.json()
    assert response.status_code == (200 if document["state"] == "purged" else 202), response.text
    document = receipt(server, document["deletion_id"])  # a busy machine may take longer than an answer waits
    assert document["matched"]["runs"] == 1
    assert document["matched"]["spans"] == 3
    assert document["matched"]["logs"] == 1
    assert set(document["verified"]) >= {
        "runs",
        "events",
        "spans",
        "logs",
        "warnings",
        "journal",
        "dead_letters",
    }
    assert set(document["verified"].values()) == {0}
    after = server.settled()["stored"]
    assert {name: before[name] - after[name] for name in after} == {"spans": 3, "events": 3, "runs": 1}
    assert {run["run_id"] for run in server.runs()} == {kept, crashed}
    for path in ("", "/events", "/spans", "/warnings"):
        gone = server.api.get(f"/api/v1/runs/{deleted}{path}")
        assert gone.status_code == 410
    assert CANARY not in server.api.get("/api/v1/runs", params={"q": CANARY, "include": "all"}).text

    send(server, 1, CANARY)  # comes late, or is sent again
    http_protobuf(server, told.record(CANARY, run_id=deleted), "p", "logs")
    status = server.settled()
    assert status["stored"] == after
    assert status["pipeline"]["filtered"] == 3
    flow = status["pipeline"]
    assert flow["accepted"] == sum(
        flow[name] for name in ("stored", "queued", "dead_lettered", "duplicates", "filtered", "damaged")
    )

    assert [letter.reason for _, letter in read(data_dir / DEAD_LETTERS)] == ["a test"]
    texts = CANARY.encode(), base64.b64encode(CANARY.encode())[:20], bytes.fromhex(deleted)
    # What came late leaves the journal too.
    until(lambda: not files_with(data_dir / "journal", *texts), every_s=0.2, patience_s=PURGED_S)

    cut_short = server.api.post("/api/v1/deletions", json={"filter": {"run_ids": [crashed]}})
    server.kill()
    server.start()
    assert server.api.get(f"/api/v1/runs/{crashed}").status_code == 410
    document = receipt(server, cut_short.json()["deletion_id"])
    assert document["matched"]["spans"] == 3
    assert server.get("/status")["stored"] == {"spans": 3, "events": 3, "runs": 1}
    assert [run["run_id"] for run in server.runs()] == [kept]

    assert server.stop() == 0
    assert files_with(data_dir, *texts) == []
    gone_from, crashed_in, kept_in = in_the_store(data_dir, CANARY, "before a crash", "another text")
    assert gone_from == crashed_in == set()
    assert kept_in >= {"otel_traces", "run_events"}


def test_who_is_to_be_forgotten_is(server: Server) -> None:
    theirs = {send(server, number, "hello", user="u-17", session=f"s-{number}") for number in (16, 17, 18)}
    send(server, 19, "hello", user="u-18")
    server.settled()
    asked = {"filter": {"user": "u-17"}, "reason": "request 118"}

    dry = server.api.post("/api/v1/deletions", json=asked | {"dry_run": True})
    assert dry.status_code == 200
    assert dry.json()["matched"] == {
        "runs": 3,
        "warnings": 0,
        "events": 9,
        "spans": 9,
        "logs": 0,
        "exchanges": 0,
        "annotations": 0,
    }
    assert {run["run_id"] for run in server.runs(user="u-17")} == theirs

    response = server.api.post("/api/v1/deletions", json=asked)
    assert response.status_code == 202
    assert server.runs(user="u-17") == []  # at once
    document = receipt(server, response.json()["deletion_id"])
    assert response.headers["location"] == f"/api/v1/deletions/{document['deletion_id']}"
    assert document["reason"] == "request 118"
    assert document["matched"]["runs"] == 3
    assert "u-17" not in json.dumps(document)
    assert document["purged_at"] > document["hidden_at"] > document["requested_at"]
    assert len(server.runs(user="u-18")) == 1


def test_runs_of_before_a_time_and_of_a_session_are_deleted(server: Server) -> None:
    old = send(server, 32, "old", project="times", begins_ns=1_700_000_000 * 10**9)
    new = send(server, 33, "new", project="times", session="s-33")
    server.settled()
    first = server.api.post(
        "/api/v1/deletions", json={"filter": {"project": "times", "before": "2024-01-01T00:00:00Z"}}
    )
    assert [run["run_id"] for run in server.runs(project="times")] == [new]
    second = server.api.post("/api/v1/deletions", json={"filter": {"session": "s-33"}})
    assert server.runs(project="times") == []
    for response in (first, second):
        receipt(server, response.json()["deletion_id"])
    assert server.api.get(f"/api/v1/runs/{old}").status_code == 410


def test_a_session_that_an_agent_tells_in_records_is_deleted(server: Server) -> None:
    for happening in ("user_prompt", "api_request", "not_known_yet"):
        values = {
            "session.id": "cc-1",
            "event.name": happening,
            "prompt": CANARY,
            "model": "claude-sonnet-4-5",
        }
        body = told.record(f"claude_code.{happening}", scope="com.anthropic.claude_code.events", of=values)
        http_protobuf(server, body, "agents", "logs")
    server.settled()
    (run,) = server.runs(project="agents", include="all")
    document = server.api.delete(f"/api/v1/runs/{run['run_id']}").json()
    document = receipt(server, document["deletion_id"])
    assert document["matched"]["logs"] == 3
    assert document["verified"]["logs"] == 0


def test_the_same_call_is_counted_again_when_its_twin_is_deleted(server: Server) -> None:
    first, second = run_id(48), run_id(49)
    begin = time.time_ns() - 5 * told.SECOND
    for one, scope in ((first, "by.hand"), (second, "another")):
        shared = {"gen_ai.response.id": "resp-shared"}
        http_protobuf(
            server, told.run(one, "twin", begins_ns=begin, of_call=shared, scope_name=scope), "twins"
        )
        server.settled()

    def calls() -> dict[str, int]:
        return {run["run_id"]: run["counts"]["llm_calls"] for run in server.runs(project="twins")}

    assert sorted(calls().values()) == [0, 1]
    deleted = next(one for one, count in calls().items() if count)
    document = server.api.delete(f"/api/v1/runs/{deleted}").json()
    receipt(server, document["deletion_id"])
    assert list(calls().values()) == [1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "filter"),
        ({"filter": {}}, "filter"),
        ({"filter": {"name": "x"}}, "'name' is not known"),
        ({"filter": {"user": 7}}, "user is no text"),
        ({"filter": {"before": "yesterday"}}, "before"),
        ({"filter": {"run_ids": []}}, "run_ids"),
        ({"filter": {"user": "x"}, "dry_run": "yes"}, "dry_run"),
        ({"filter": {"user": "x"}, "all": True}, "all"),
    ],
)
def test_what_is_not_understood_deletes_nothing(server: Server, body: dict[str, Any], says: str) -> None:
    response = server.api.post("/api/v1/deletions", json=body)
    assert response.status_code == 400
    assert says in response.json()["detail"]


def test_a_key_deletes_what_is_its_own(server: Server) -> None:
    keys = Keys(keys_file(server.data_dir))
    mine = send(server, 64, "mine", project="mine", user="both")
    other = send(server, 65, "other", project="other", user="both")
    server.settled()
    _, reader = keys.create("reader", [Scope.READ, Scope.CONTENT, Scope.INGEST])
    _, limited = keys.create("deleter", [Scope.DELETE], project="mine")
    time.sleep(1.1)

    def asks(secret: str, method: str, path: str, **how: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.request(
            method, f"{server.endpoints['api']}/api/v1{path}", headers=headers, timeout=30, **how
        )

    everything = {"filter": {"user": "both"}}
    assert asks(reader, "DELETE", f"/runs/{mine}").status_code == 403
    assert asks(reader, "POST", "/deletions", json=everything).status_code == 403
    assert asks(limited, "GET", f"/runs/{mine}").status_code == 403
    assert asks(limited, "DELETE", f"/runs/{other}").status_code == 404
    response = asks(limited, "POST", "/deletions", json=everything)
    assert response.status_code == 202
    assert [run["run_id"] for run in server.runs(user="both")] == [other]
    deletion = response.json()["deletion_id"]
    assert asks(limited, "GET", f"/deletions/{deletion}").status_code == 200
    by_owner = server.api.post("/api/v1/deletions", json=everything).json()["deletion_id"]
    assert asks(limited, "GET", f"/deletions/{by_owner}").status_code == 404


def test_runs_are_deleted_from_the_command_line(server: Server) -> None:
    gone, kept = send(server, 80, "by hand", project="rm"), send(server, 81, "by hand", project="rm")
    server.settled()

    def rm(*arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--url", server.endpoints["api"], "--token", TOKEN]
        return forked.run([*COMMAND, "runs", "rm", *arguments, *where])

    assert rm("--project", "rm", "--dry-run").stdout.startswith("2 runs")
    assert rm(gone).returncode == 2  # nobody said yes
    assert len(server.runs(project="rm")) == 2
    done = rm(gone, "--yes")
    assert (done.returncode, "1 runs" in done.stdout) == (0, True), done.stderr
    assert [run["run_id"] for run in server.runs(project="rm")] == [kept]
    assert rm(run_id(99), "--yes").returncode == 3
    assert rm("--yes").returncode == 2
