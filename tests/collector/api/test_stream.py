"""The live stream of a real collector: what is told, to whom, and what who was away is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.demo import captured
from collector.doors.keys import Keys, Scope, keys_file
from tests.sending import http_protobuf
from tests.server import TOKEN, Server
from tests.waiting import PATIENCE_S


class Listening:
    """Takes messages in a thread of its own until it has as many as are wanted."""

    def __init__(
        self,
        server: Server,
        path: str = "/stream",
        *,
        until: str = "run.finished",
        token: str = TOKEN,
        form: str = "application/x-ndjson",
        last: str = "",
        **parameters: str,
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self._heard = threading.Event()
        self._until = until
        headers = {"Authorization": f"Bearer {token}", "Accept": form}
        if last:
            headers["Last-Event-ID"] = last
        request = ("GET", f"{server.endpoints['api']}/api/v1{path}")
        self._thread = threading.Thread(target=self._listen, args=(request, headers, parameters), daemon=True)
        self._thread.start()
        assert self._heard.wait(PATIENCE_S)

    def _listen(self, request: tuple[str, str], headers: dict[str, str], parameters: Any) -> None:
        with httpx.stream(*request, headers=headers, params=parameters, timeout=PATIENCE_S) as response:
            self.type = response.headers["content-type"]
            for line in response.iter_lines():
                self._heard.set()
                self.lines.append(line)
                if line.startswith("{"):
                    self.messages.append(json.loads(line))
                if self._until in line:
                    return

    def all(self) -> list[dict[str, Any]]:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), self.lines[-5:]
        return self.messages


def sent(server: Server, project: str) -> str:
    run_id, body = captured()
    http_protobuf(server, body, project)
    return run_id


def test_runs_events_and_warnings_are_told_as_they_are_stored(server: Server) -> None:
    listening = Listening(server, project="live")
    run_id = sent(server, "live")
    messages = listening.all()
    events = [one["data"] for one in messages if one["event"] == "event"]
    assert messages[-1]["data"] == server.get(f"/runs/{run_id}") | {"input": None, "output": None}
    stored = {one["event_id"] for one in server.get(f"/runs/{run_id}/events")["data"]}
    told = {one["event_id"] for one in events}
    assert told <= stored
    assert {event_id for event_id in stored if ".run." not in event_id and ".retry." not in event_id} == told
    warnings = {one["data"]["type"] for one in messages if one["event"] == "warning"}
    assert "exact_repeat" in warnings
    numbers = [int(one["id"].partition("-")[2]) for one in messages]
    assert numbers == sorted(set(numbers))


def test_server_sent_events_have_the_form_that_browsers_read(server: Server) -> None:
    listening = Listening(
        server, form="text/event-stream", until='"status":"completed"', types="run", project="sse"
    )
    run_id = sent(server, "sse")
    listening.all()
    assert listening.type.startswith("text/event-stream")
    lines = listening.lines
    assert lines[0].startswith("retry: ")
    place = lines.index("event: run.finished")
    assert lines[place - 1].startswith("id: ")
    data = lines[place + 1]
    assert json.loads(data.removeprefix("data: "))["run_id"] == run_id


def test_only_what_is_asked_for_is_told(server: Server) -> None:
    others = Listening(server, project="choosy", types="warning", q="tool:get_weather cost<1", until="exact_")
    none = Listening(server, project="choosy", q="-tool:get_weather", until="marker")
    sent(server, "elsewhere")
    sent(server, "choosy")
    assert {one["event"] for one in others.all()} == {"warning"}
    assert {one["data"]["project"] for one in others.all()} == {"choosy"}
    server.settled()
    assert none.messages == []


def test_one_run_can_be_followed(server: Server) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    start = {"trace_id": b"followed" * 2, "start_time_unix_nano": 1_790_000_000_000_000_000, "name": "agent"}
    spans.add(
        span_id=b"firstone", parent_span_id=b"rootspan", end_time_unix_nano=10**9 * 1_790_000_001, **start
    )
    http_protobuf(server, request.SerializeToString(), "followed")
    server.settled()
    run_id = (b"followed" * 2).hex()
    listening = Listening(server, f"/runs/{run_id.upper()}/stream", types="run", until='"status":"completed"')
    sent(server, "another")
    del spans[:]
    spans.add(span_id=b"rootspan", end_time_unix_nano=10**9 * 1_790_000_002, **start)
    http_protobuf(server, request.SerializeToString(), "followed")
    assert {one["data"]["run_id"] for one in listening.all()} == {run_id}
    assert server.api.get(f"/api/v1/runs/{'0' * 32}/stream").status_code == 404


def test_who_was_cut_off_hears_what_they_missed(server: Server) -> None:
    first = Listening(server, project="resumed", types="run")
    one = sent(server, "resumed")
    last = first.all()[-1]
    assert last["data"]["run_id"] == one
    other = sent(server, "resumed")
    server.settled()
    again = Listening(server, project="resumed", types="run", last=last["id"])
    assert {message["data"]["run_id"] for message in again.all()} == {other}


def test_who_asks_for_what_is_not_kept_is_told_so(server: Server) -> None:
    strange = Listening(server, last="00000000-5", until="gap").all()
    assert strange[-1]["event"] == "gap"
    assert strange[-1]["data"]["missed"] is None


def test_content_is_told_on_request_and_to_who_may_see_it(server: Server) -> None:
    plain = Listening(server, project="content", types="event", until="tool_call_completed")
    whole = Listening(server, project="content", types="event", fields="io", until="tool_call_completed")
    sent(server, "content")
    assert whole.all()[-1]["data"]["output"]
    assert "output" not in plain.all()[-1]["data"]


@pytest.fixture(scope="module")
def secrets(server: Server) -> Iterator[dict[str, str]]:
    keys = Keys(keys_file(server.data_dir))
    made = {
        "mine": keys.create("mine", [Scope.READ], project="mine"),
        "ingest": keys.create("ingest", [Scope.INGEST]),
        "tenant": keys.create("tenant", [Scope.CONTENT], tenant="somebody"),
    }
    time.sleep(1.1)  # until the collector looks at the file again
    yield {who: secret for who, (_, secret) in made.items()}
    for key, _ in made.values():
        keys.revoke(key.id)


def test_a_limited_key_hears_its_own(server: Server, secrets: dict[str, str]) -> None:
    mine = Listening(server, token=secrets["mine"])
    tenant = Listening(server, token=secrets["tenant"], until="never")
    sent(server, "not-mine")
    run_id = sent(server, "mine")
    assert {one["data"]["run_id"] for one in mine.all()} == {run_id}
    assert tenant.messages == []

    def refused(who: str, query: str) -> int:
        headers = {"Authorization": f"Bearer {secrets[who]}"}
        return httpx.get(f"{server.endpoints['api']}/api/v1/stream{query}", headers=headers).status_code

    assert refused("mine", "?fields=io") == 403
    assert refused("ingest", "") == 403


@pytest.mark.parametrize(
    "query", ["types=runs", "q=text:hello", "attr.x=1", "since=-1h", "q=hello", "span=x"]
)
def test_what_can_not_be_followed_is_refused(server: Server, query: str) -> None:
    assert server.api.get(f"/api/v1/stream?{query}").status_code == 400


def test_listeners_do_not_hold_up_the_end(data_dir: Any) -> None:
    server = Server(data_dir).start()
    listening = Listening(server, until="never")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 8
    listening.all()
