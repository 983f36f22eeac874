"""Calls as they passed, through a real collector: listed, added up, shown, played again, exported."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from collector.cli import main
from collector.config import RedactionSettings
from collector.pipeline.redaction import ProjectRules
from collector.proxy.archive import Archive, exchange_id, started_ms
from collector.proxy.capture import Policy
from collector.proxy.exchange import read_exchange
from collector.proxy.sessions import Resolver
from sinks.base import RetryableError
from sinks.clickhouse.exchanges import StoredExchange
from tests.collector.proxy import sdks
from tests.collector.proxy.tapes import cut, tape
from tests.collector.proxy.test_imported import imported
from tests.provider import CUT, TEXT, Answer, Provider, chat, chat_stream
from tests.server import COMMAND, KEY_NAME, NAMED_KEY, Server
from tests.waiting import PATIENCE_S, until

SECRET = "sk-proj-" + "a1B2" * 12
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}


def post(
    server: Server, provider: Provider, project: str, body: Any = ASKED, **headers: str
) -> httpx.Response:
    url = f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
    given = {"x-loop-project": project, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(url, json=body, headers=given)


def exchanges(server: Server, count: int, **parameters: Any) -> list[dict[str, Any]]:
    """The newest first, once there are so many."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = server.get("/exchanges", **parameters)["data"]
        return len(found) == count

    until(are_there, lambda: found, every_s=0.05)
    return found


@pytest.fixture(scope="module")
def calls(server: Server, _provider: Provider) -> list[dict[str, Any]]:
    """Five calls of two keys and clients, the newest first."""
    provider = _provider
    post(server, provider, "ex", authorization=f"Bearer {SECRET}", user_agent="claude-cli/2.1")
    post(server, provider, "ex", STREAMED, authorization=f"Bearer {SECRET}", user_agent="claude-cli/2.1")
    error = {"error": {"type": "rate_limit_error", "message": "slow down"}}
    provider.script.append(Answer.json(error, 429))
    post(server, provider, "ex", x_api_key=NAMED_KEY, user_agent="codex/1")
    document = chat({**ASKED, "model": "o3"})
    document["usage"] = {**document["usage"], "cost": 0.0025}
    provider.script.append(Answer.json(document))
    post(server, provider, "ex", {**ASKED, "model": "o3"}, x_api_key=NAMED_KEY, user_agent="codex/1")
    provider.script.append(Answer.sse([*[*chat_stream(STREAMED)][:3], CUT]))
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, provider, "ex", STREAMED, x_api_key=NAMED_KEY, user_agent="codex/1")
    return exchanges(server, 5, project="ex")


def test_calls_are_listed_the_newest_first(calls: list[dict[str, Any]]) -> None:
    assert [call["status"] for call in calls] == [200, 200, 429, 200, 200]
    assert [call["outcome"] for call in calls] == [
        "upstream_abort", "complete", "provider_error", "complete", "complete",
    ]  # fmt: skip
    assert [call["streamed"] for call in calls] == [True, False, False, True, False]
    last = calls[3]
    assert (last["model"], last["response_model"]) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18")
    assert (last["method"], last["path"], last["upstream"]) == ("POST", "/v1/chat/completions", "local")
    assert (last["client"], last["user_agent"]) == ("127.0.0.1", "claude-cli/2.1")
    assert last["usage"]["output"] == 10
    assert last["ttft_ms"] > 0
    assert calls[2]["error"] == {"type": "rate_limit_error", "message": "slow down"}
    assert len({call["key_hash"] for call in calls}) == 2
    assert [call["key_name"] for call in calls] == [KEY_NAME, KEY_NAME, KEY_NAME, None, None]
    assert calls[0]["usage"]["output"] is None


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"status": "429"}, 1),
        ({"status": "2xx"}, 4),
        ({"status": "4xx,5xx"}, 1),
        ({"status": "-1"}, 0),
        ({"model": "o3"}, 1),
        ({"model": "gpt-4o-mini-2024*"}, 3),
        ({"path": "/v1/chat*"}, 5),
        ({"path": "/v1/responses"}, 0),
        ({"client": "codex*"}, 3),
        ({"key_name": KEY_NAME}, 3),
        ({"key_name": f"{KEY_NAME[:3]}*,other"}, 3),
        ({"key_name": NAMED_KEY}, 0),
        ({"client": "127.0.0.1"}, 5),
        ({"outcome": "upstream_abort,provider_error"}, 2),
        ({"upstream": "local", "api": "chat_completions"}, 5),
        ({"since": "-1h"}, 5),
        ({"until": "-1h"}, 0),
    ],
)
def test_calls_are_chosen(
    server: Server, calls: list[dict[str, Any]], parameters: dict[str, str], expected: int
) -> None:
    exchanges(server, expected, project="ex", **parameters)


def test_a_key_a_run_and_a_page_choose_too(server: Server, calls: list[dict[str, Any]]) -> None:
    assert [call["id"] for call in exchanges(server, 2, project="ex", key_hash=calls[3]["key_hash"])] == [
        calls[3]["id"], calls[4]["id"],
    ]  # fmt: skip
    of_run = [call["id"] for call in calls if call["run_id"] == calls[1]["run_id"]]
    assert [call["id"] for call in exchanges(server, len(of_run), run=calls[1]["run_id"])] == of_run
    first = server.get("/exchanges", project="ex", limit=3)
    second = server.get("/exchanges", project="ex", limit=3, cursor=first["page"]["next_cursor"])
    assert [call["id"] for call in first["data"] + second["data"]] == [call["id"] for call in calls]
    assert second["page"]["next_cursor"] is None


def test_sums_are_by_key(server: Server, calls: list[dict[str, Any]]) -> None:
    found = server.get("/exchanges/aggregates", project="ex")["data"]
    assert [(row["calls"], row["failed"], row["models"]) for row in found] == [
        (3, 2, ["gpt-4o-mini", "o3"]), (2, 0, ["gpt-4o-mini"]),
    ]  # fmt: skip
    assert {row["value"] for row in found} == {call["key_hash"] for call in calls}
    assert found[1]["usage"]["output"] == 20
    assert found[1]["bytes"]["request"] > 0
    assert found[1]["duration_ms"]["p95"] > 0
    by_name = server.get("/exchanges/aggregates", project="ex", by="key_name")["data"]
    assert [(row["value"], row["calls"]) for row in by_name] == [(KEY_NAME, 3), ("", 2)]
    by_status = server.get("/exchanges/aggregates", project="ex", by="status")["data"]
    assert [(row["value"], row["calls"]) for row in by_status] == [("200", 4), ("429", 1)]


def test_costs_are_those_of_the_events(server: Server, calls: list[dict[str, Any]]) -> None:
    until(lambda: server.get("/exchanges", project="ex")["data"][1]["cost_usd"] is not None, every_s=0.05)
    call = server.get("/exchanges", project="ex")["data"][1]
    assert call["cost_usd"] == 0.0025
    assert server.get(f"/exchanges/{call['id']}")["cost_usd"] == 0.0025
    by_key = server.get("/exchanges/aggregates", project="ex")["data"]
    assert [row["cost_usd"] for row in by_key] == [0.0025, None]


def test_one_call_is_shown_as_it_passed(server: Server, calls: list[dict[str, Any]]) -> None:
    whole = server.get(f"/exchanges/{calls[4]['id']}")
    assert whole["req"]["body"] == ASKED
    assert whole["req"]["headers"]["authorization"].startswith("[redacted len=")
    assert whole["resp"]["body"]["choices"][0]["message"]["content"] == TEXT
    assert (whole["truncated_req"], whole["truncated_resp"], whole["disconnected"]) == (False, False, False)
    stream = server.get(f"/exchanges/{calls[3]['id']}")["resp"]
    assert stream["stream_done"] is True
    assert [*stream["events"][0]] == ["event", "data", "t_delta_ms"]
    text = "".join(
        choice["delta"].get("content") or ""
        for event in stream["events"]
        for choice in (event["data"] or {}).get("choices", [])
    )
    assert text == TEXT
    assert stream["events"][-1]["raw"] == "[DONE]"
    times = [event["t_delta_ms"] for event in stream["events"]]
    assert times == sorted(times)
    assert server.get(f"/exchanges/{calls[0]['id']}")["resp"]["stream_done"] is False


def test_the_run_and_its_span_are_the_calls(server: Server, calls: list[dict[str, Any]]) -> None:
    server.settled()
    events = server.get(f"/runs/{calls[4]['run_id']}/events")["data"]
    assert calls[4]["span_id"] in {event["span_id"] for event in events}


def test_what_does_not_exist_or_fit_is_said_so(server: Server, calls: list[dict[str, Any]]) -> None:
    get = server.api.get
    assert get("/api/v1/exchanges/nothing").status_code == 404
    assert get(f"/api/v1/exchanges/{exchange_id(10**18, '1' * 16)}").status_code == 404
    assert get("/api/v1/exchanges", params={"status": "abc"}).json()["errors"][0]["parameter"] == "status"
    assert get("/api/v1/exchanges", params={"colour": "red"}).status_code == 400
    assert get("/api/v1/exchanges/aggregates", params={"by": "colour"}).status_code == 400
    assert get("/api/v1/exchanges", headers={"Authorization": "Bearer no"}).status_code == 401
    replay = f"/api/v1/exchanges/{calls[4]['id']}/replay"
    assert get(replay).json()["type"].endswith("not-streaming")
    assert get(replay, params={"speed": "0"}).status_code == 400


def test_a_key_without_content_sees_no_content(server: Server, calls: list[dict[str, Any]]) -> None:
    made = server.api.post(
        "/api/v1/tokens", json={"name": "reader", "scopes": ["read"], "project": "ex"}
    ).json()
    reader = {"Authorization": f"Bearer {made['token']}"}
    get = server.api.get
    assert len(get("/api/v1/exchanges", headers=reader).json()["data"]) == 5
    for path in (calls[0]["id"], f"{calls[3]['id']}/replay", "export"):
        assert get(f"/api/v1/exchanges/{path}", headers=reader).status_code == 403
    other = {"name": "other", "scopes": ["read", "content"], "project": "other"}
    made = server.api.post("/api/v1/tokens", json=other).json()
    stranger = {"Authorization": f"Bearer {made['token']}"}
    assert get("/api/v1/exchanges", headers=stranger).json()["data"] == []
    assert get(f"/api/v1/exchanges/{calls[0]['id']}", headers=stranger).status_code == 404


def test_a_stream_is_played_again_at_its_pace(server: Server, provider: Provider) -> None:
    pieces = [piece for one in chat_stream(STREAMED) for piece in (one, 0.02)]
    provider.script.append(Answer.sse(pieces))
    raw = post(server, provider, "replay", STREAMED).content
    (call,) = exchanges(server, 1, project="replay")
    replay = f"/api/v1/exchanges/{call['id']}/replay"

    def played(**parameters: str) -> tuple[bytes, float]:
        begun = time.monotonic()
        answer = server.api.get(replay, params=parameters)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return answer.content, time.monotonic() - begun

    took_ms = call["duration_ms"]
    body, seconds = played()
    assert body == raw
    assert seconds > 0.8 * took_ms / 1000
    body, twice = played(speed="4")
    assert body == raw
    assert twice < seconds
    body, at_once = played(nodelay="1")
    assert body == raw
    assert at_once < seconds
    with server.api.stream("GET", replay) as stream:  # a listener that goes away is no fault
        next(stream.iter_raw())


def test_calls_are_exported_as_json_lines(server: Server, calls: list[dict[str, Any]]) -> None:
    answer = server.api.get("/api/v1/exchanges/export", params={"project": "ex"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == [call["id"] for call in calls]
    assert {"schema", "req", "resp"} <= set(lines[0])
    assert "".join(text for _, text in lines[3]["resp"]["chunks"]).endswith("data: [DONE]\n\n")
    assert server.api.get("/api/v1/exchanges/export", params={"project": "none"}).text == ""


@contextmanager
def mocked(*arguments: str) -> Iterator[str]:
    command = [*COMMAND, "mock-llm", "--listen", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().rpartition(" ")[2].strip()
    finally:
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0


def test_recorded_calls_are_a_provider(server: Server, calls: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_bytes(server.api.get("/api/v1/exchanges/export", params={"project": "ex"}).content)
    with mocked(str(file), "--no-delay") as url:
        client = sdks.openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        said: Any = ASKED["messages"]
        answer = client.chat.completions.create(model="o3", messages=said)
        assert (answer.model, answer.choices[0].message.content) == ("o3-2024-07-18", TEXT)
        assert (
            client.chat.completions.create(model="gpt-4o-mini", messages=said).choices[0].message.content
            == TEXT
        )
        with pytest.raises(sdks.openai.RateLimitError, match="slow down"):
            client.chat.completions.create(model="gpt-4o-mini", messages=said)
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=said, stream=True, stream_options={"include_usage": True}
        )
        text = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
        assert text == TEXT
        cut_off = client.chat.completions.create(
            model="gpt-4o-mini", messages=said, stream=True, stream_options={"include_usage": True}
        )
        with pytest.raises(sdks.openai.APIConnectionError):
            for _ in cut_off:
                pass
        with pytest.raises(sdks.openai.NotFoundError, match="no recorded call"):
            client.embeddings.create(model="m", input="x")
    with mocked(str(file), "--strict") as url:
        client = sdks.openai.OpenAI(base_url=f"{url}/other/v1", api_key="k", max_retries=0)
        assert client.chat.completions.create(model="o3", messages=said).model == "o3-2024-07-18"
        with pytest.raises(sdks.openai.NotFoundError):
            client.chat.completions.create(model="o4", messages=said)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"a": 1}\n')
    result = CliRunner().invoke(main, ["mock-llm", str(tmp_path / "x")])
    assert result.exit_code == 65
    assert "line 1 is no exported call" in result.output


def test_nothing_secret_is_kept(server: Server, provider: Provider) -> None:
    asked = {**STREAMED, "messages": [{"role": "user", "content": f"my key is {SECRET}"}]}
    provider.script.append(Answer.sse(list(chat_stream(STREAMED, text=f"yours is {SECRET}."))))
    post(server, provider, "ex-secret", asked, authorization=f"Bearer {SECRET}")
    (call,) = exchanges(server, 1, project="ex-secret")
    whole = server.get(f"/exchanges/{call['id']}")
    exported = server.api.get("/api/v1/exchanges/export", params={"project": "ex-secret"}).text
    for text in (json.dumps(whole), exported):
        assert "a1B2a1B2" not in text
        assert "[redacted api key]" in text
    assert whole["redaction"]["hits"] is True
    assert "events" not in whole["resp"]
    assert whole["resp"]["assembled"] is True
    assert server.api.get(f"/api/v1/exchanges/{call['id']}/replay").json()["type"].endswith("not-kept")


def test_what_clients_withhold_is_not_kept(server: Server, provider: Provider) -> None:
    post(server, provider, "ex-meta", x_loop_capture="meta")
    post(server, provider, "ex-meta", x_loop_capture="off")
    (call,) = exchanges(server, 1, project="ex-meta")
    whole = server.get(f"/exchanges/{call['id']}")
    assert (whole["req"]["body"], whole["resp"]["body"]) == (None, None)
    assert whole["usage"]["output"] == 10


# --------------------------------------------------------------------------- the archive by itself


EVERYTHING = Policy(True, True, True, True, b"salt")


def archived(*tapes: Any, rules: RedactionSettings | None = None) -> list[StoredExchange]:
    rows: list[StoredExchange] = []
    archive = Archive(rows.extend, ProjectRules(rules or RedactionSettings()))
    for noted in tapes:
        exchange = read_exchange(noted)
        archive.keep(exchange, Resolver().resolve(exchange), EVERYTHING)
    archive.close(PATIENCE_S)
    assert archive.document() == {"stored": len(tapes), "waiting": 0, "behind": 0, "lost": 0}
    return rows


def test_pieces_are_those_of_the_stream_wherever_it_was_cut() -> None:
    whole = b"".join(chat_stream(STREAMED, text="žluť 東京"))
    pieces = cut(whole, [*range(0, len(whole), 3)])
    (row,) = archived(tape("/v1/chat/completions", STREAMED, pieces))
    assert row.response_body is not None
    body = row.response_body.encode()
    starts = [0, *row.chunk_ends[:-1]]
    assert [body[start:end] for start, end in zip(starts, row.chunk_ends, strict=True)] == pieces


def test_media_and_vectors_are_not_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 1000}}
    asked = {"model": "m", "messages": [{"role": "user", "content": [image]}]}
    (seen, vectors) = archived(
        tape("/v1/chat/completions", asked, [json.dumps(chat({})).encode()], media_type="application/json"),
        tape("/v1/embeddings", {"input": "x"}, [b'{"data":[]}'], media_type="application/json"),
    )
    assert "iVBORw0KGgoiVBOR" not in str(seen.request_body)
    assert json.loads(str(seen.request_body))["messages"][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/png;base64,[media bytes=8250 sha256="
    )
    assert vectors.response_body is None


def test_a_project_that_keeps_no_answers_keeps_none_here() -> None:
    rules = RedactionSettings(capture_output=False, mask=["email"])
    asked = {"model": "m", "messages": [{"role": "user", "content": "jo@example.com"}]}
    (row,) = archived(tape("/v1/chat/completions", asked, [*chat_stream(STREAMED)]), rules=rules)
    assert "[email]" in str(row.request_body)
    assert row.response_body is None


def test_what_can_not_be_written_waits_and_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.archive.PAUSE_S", 0.01)
    tries: list[list[StoredExchange]] = []

    def write(rows: Any) -> None:
        tries.append(list(rows))
        if len(tries) < 3:
            raise RetryableError("away")

    archive = Archive(write, ProjectRules(RedactionSettings()))
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, [*chat_stream(STREAMED)]))
    archive.keep(exchange, Resolver().resolve(exchange), EVERYTHING)
    until(lambda: archive.stored)
    archive.close(PATIENCE_S)
    assert [row.exchange_id for rows in tries for row in rows] == [tries[0][0].exchange_id] * 3
    assert archive.lost == 0


def test_a_store_that_stays_away_costs_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.archive.MAX_BYTES", 40_000)

    def write(rows: Any) -> None:
        raise RetryableError("away")

    archive = Archive(write, ProjectRules(RedactionSettings()))
    exchange = read_exchange(tape("/v1/chat/completions", ASKED, [*chat_stream(STREAMED)]))
    for _ in range(50):
        archive.keep(exchange, Resolver().resolve(exchange), EVERYTHING)
    archive.close(PATIENCE_S)
    document = archive.document()
    assert document["stored"] == 0
    assert document["lost"] == 50


def test_an_id_holds_its_time() -> None:
    at = 1_764_000_000_123_456_789
    found = exchange_id(at, "ab" * 8)
    assert started_ms(found) == at // 1_000_000
    assert exchange_id(at + 10**9, "ab" * 8) > found
    assert started_ms("x") is None
    assert started_ms("z" * 26) is None


def test_the_event_of_a_call_is_shown_as_it_passed(server: Server, calls: list[dict[str, Any]]) -> None:
    server.settled()
    whole, streamed = (f"/api/v1/events/{call['span_id']}.end" for call in (calls[4], calls[3]))
    get = server.api.get
    command = get(f"{whole}/raw", params={"format": "curl"}).text
    assert '-H "authorization: Bearer $API_KEY"' in command
    arguments = shlex.split(command)
    assert arguments[:2] == ["curl", "-sS"]
    assert f"http://{calls[4]['server']}/v1/chat/completions" in arguments
    assert json.loads(arguments[arguments.index("--data-raw") + 1]) == ASKED
    assert SECRET not in command
    entry = get(f"{streamed}/raw", params={"format": "har"}).json()["log"]["entries"][0]
    assert json.loads(entry["request"]["postData"]["text"]) == STREAMED
    assert entry["response"]["status"] == 200
    assert "data: [DONE]" in entry["response"]["content"]["text"]
    passed = get(f"{streamed}/raw", params={"format": "http"}).json()
    assert passed["id"] == calls[3]["id"]
    assert "".join(text for _, text in passed["resp"]["chunks"]) == entry["response"]["content"]["text"]
    again = get(f"{streamed}/replay", params={"nodelay": "1"})
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.text == entry["response"]["content"]["text"]
    assert get(f"{whole}/replay").status_code == 400


def test_exported_calls_are_taken_again_as_the_spans_that_they_were(
    server: Server, calls: list[dict[str, Any]]
) -> None:
    exported = server.api.get("/api/v1/exchanges/export", params={"project": "ex"}).text
    found = imported([json.loads(line) for line in exported.splitlines()], "calls")
    assert {span_id: span.trace_id for span_id, span in found.items()} == {
        call["span_id"]: call["run_id"] for call in calls
    }
