"""The wire capture: records as other tools read them, in a file that stays within its bounds."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import httpx
import jq
import pytest
from click.testing import CliRunner

from collector.cli import main
from collector.config import LoggingSettings, RedactionSettings, load
from collector.pipeline.redaction import ProjectRules
from collector.proxy.capture import Policy
from collector.proxy.exchange import read_exchange
from collector.proxy.tape import Ending
from collector.proxy.wire import WireCapture
from collector.proxy.wire.encoding import read_records
from collector.proxy.wire.file import WireFile
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import MS, cut, tape
from tests.provider import CUT, TEXT, Answer, Provider, chat, chat_stream
from tests.server import Server
from tests.waiting import until

EVERYTHING = Policy(True, True, True, True, b"salt")
SECRET = "sk-proj-" + "a1B2" * 12
ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}


def settings(path: Path, **more: Any) -> LoggingSettings:
    return LoggingSettings(capture_file=str(path), capture_flush_interval=0.05, **more)


def capture(path: Path, redaction: RedactionSettings | None = None, **more: Any) -> WireCapture:
    return WireCapture(settings(path, **more), ProjectRules(redaction or RedactionSettings()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "wire_capture.log"


@pytest.fixture
def captured(file: Path, provider: Provider) -> Iterator[tuple[RunningProxy, Path]]:
    upstreams = {name: {"url": provider.url} for name in ("openai", "anthropic")}
    with RunningProxy(wire=capture(file), upstreams=upstreams) as running:
        yield running, file


def lines(path: Path, direction: str = "", count: int = 1) -> list[dict[str, Any]]:
    """Records of the file, once there are so many."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        written = path.read_text().splitlines(keepends=True) if path.exists() else []
        records = [json.loads(line) for line in written if line.endswith("\n")]
        found[:] = [record for record in records if direction in ("", record["direction"])]
        return len(found) >= count

    until(are_there, lambda: found)
    return found


def run_jq(program: str, path: Path) -> list[Any]:
    found: list[Any] = jq.compile(program).input_text(path.read_text()).all()
    return found


# --------------------------------------------------------------------------- records


def test_a_call_is_a_record_in_each_direction(captured: tuple[RunningProxy, Path]) -> None:
    proxy, path = captured
    headers = {
        "user-agent": "Cline/1.0",
        "authorization": f"Bearer {SECRET}",
        "x-loop-session": "session-123",
    }
    answer = httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED, headers=headers)
    records = lines(path, count=4)
    assert [record["direction"] for record in records] == [
        "inbound_request", "outbound_request", "inbound_response", "outbound_response",
    ]  # fmt: skip
    sent, got = records[1], records[2]
    assert list(sent) == [
        "timestamp_iso", "timestamp_unix", "mono_ns", "direction", "source", "destination", "session_id", "backend",
        "model", "key_name", "content_type", "content_length", "payload", "metadata",
    ]  # fmt: skip
    assert (sent["source"], sent["destination"]) == ("127.0.0.1(Cline/1.0)", "openai")
    assert (got["source"], got["destination"]) == ("openai", "127.0.0.1(Cline/1.0)")
    assert (sent["session_id"], sent["backend"], sent["model"]) == ("session-123", "openai", "gpt-4o-mini")
    assert (sent["payload"], sent["content_type"]) == (ASKED, "json")
    assert (got["payload"], got["content_length"]) == (answer.json(), len(answer.content))
    assert sent["content_length"] == len(answer.request.content)
    assert sent["metadata"]["request_id"] == answer.headers["x-loop-span-id"]
    assert got["metadata"]["http_status"] == 200
    assert abs(sent["timestamp_unix"] - time.time()) < 60
    assert sent["timestamp_iso"].endswith("+00:00")
    assert SECRET not in path.read_text()
    assert len(str(sent["key_name"])) == 16


def test_a_stream_is_its_pieces_and_what_they_come_to(captured: tuple[RunningProxy, Path]) -> None:
    proxy, path = captured
    with httpx.stream("POST", f"{proxy.url}/openai/v1/chat/completions", json=STREAMED) as stream:
        raw = b"".join(stream.iter_raw())
    records = lines(path, count=6)
    directions = [record["direction"] for record in records]
    chunks = [record for record in records if record["direction"] == "stream_chunk"]
    assert directions[:3] == ["inbound_request", "outbound_request", "stream_start"]
    assert directions[-3:] == ["stream_end", "inbound_response", "outbound_response"]
    assert "".join(record["payload"] for record in chunks).encode() == raw
    assert [record["metadata"]["chunk_number"] for record in chunks] == [*range(1, len(chunks) + 1)]
    end = records[-3]["metadata"]
    assert (end["total_bytes"], end["total_chunks"], end["outcome"]) == (len(raw), len(chunks), "complete")
    assert records[-2]["payload"]["choices"][0]["message"]["content"] == TEXT
    assert records[-2]["payload"]["usage"]["total_tokens"]
    assert records[-2]["metadata"]["assembled"] is True
    assert sorted(record["timestamp_unix"] for record in records) == [
        record["timestamp_unix"] for record in records
    ]


def test_the_recipes_for_jq_work(captured: tuple[RunningProxy, Path], provider: Provider) -> None:
    proxy, path = captured
    url = f"{proxy.url}/openai/v1/chat/completions"
    httpx.post(url, json=ASKED)
    httpx.post(url, json=STREAMED)
    error = {"error": {"type": "rate_limit_error", "message": "slow down"}}
    provider.script += [Answer.json(error, 429), Answer([b"<html>"], 502), Answer.sse([b"data: {}\n\n", CUT])]
    httpx.post(url, json=ASKED)
    httpx.post(url, content=b"no json")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(url, json=STREAMED)
    lines(path, "inbound_response", 5)
    assert run_jq('select(.direction=="outbound_request") | .backend', path) == ["openai"] * 5
    said = 'select(.direction=="outbound_request") | .payload.messages[]? | select(.role=="user") | .content'
    assert run_jq(said, path) == ["hi"] * 4
    wrong = run_jq(
        'select(.direction=="inbound_response" and (.payload.error or .payload.choices == null))', path
    )
    assert len(wrong) >= 2
    tokens = (
        'select(.direction=="inbound_response" and .payload.usage) | "\\(.model) \\(.payload.usage.total_tokens //'
        ' (.payload.usage.prompt_tokens + .payload.usage.completion_tokens))"'
    )
    assert len(run_jq(tokens, path)) == 2
    assert len(run_jq('select(.direction=="stream_chunk") | .session_id', path)) >= 2
    (cut_off,) = run_jq('select(.direction=="stream_end" and .metadata.error)', path)
    assert cut_off["metadata"]["outcome"] == "upstream_abort"
    kinds = run_jq('select(.direction=="inbound_response" and .payload.error) | .payload.error.type', path)
    assert kinds == ["rate_limit_error"]
    times = run_jq('select(.direction=="stream_chunk") | "\\(.session_id) \\(.timestamp_unix)"', path)
    assert all(len(text.split()) == 2 for text in times)
    assert Counter(record["direction"] for record in lines(path))["inbound_request"] == 5


def test_calls_that_become_no_span_are_captured_too(captured: tuple[RunningProxy, Path]) -> None:
    proxy, path = captured
    httpx.get(f"{proxy.url}/openai/v1/models")
    (record,) = lines(path, "outbound_request")
    assert (record["metadata"]["method"], record["metadata"]["path"]) == ("GET", "/v1/models")
    assert record["payload"] is None
    httpx.post(f"{proxy.url}/openai/v1/files", content=b"x")
    httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED, headers={"x-loop-capture": "off"})
    httpx.post(f"{proxy.url}/openai/v1/chat/completions", json=ASKED, headers={"x-loop-capture": "meta"})
    (_, meta) = lines(path, "outbound_request", 2)
    assert (meta["payload"], meta["metadata"]["withheld"]) == (None, True)
    assert [span.name for span in proxy.collected.wait(2)] == ["session", "chat gpt-4o-mini"]


# --------------------------------------------------------------------------- what must not be in it


def written(path: Path, exchange: Any, policy: Policy = EVERYTHING, **more: Any) -> list[dict[str, Any]]:
    wire = capture(path, **more)
    wire.record(exchange, "s", policy)
    wire.close()
    assert wire.document()["failed"] == 0
    return [*read_records(path)]


def streamed(text: str, pieces: list[int]) -> Any:
    whole = b"".join(chat_stream(STREAMED, text=text))
    return read_exchange(tape("/v1/chat/completions", STREAMED, cut(whole, pieces)))


@pytest.mark.parametrize("form", ["jsonl", "cbor", "text"])
def test_a_secret_is_found_wherever_the_bytes_were_cut(file: Path, form: str) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": f"my key is {SECRET}"}]}
    whole = b"".join(chat_stream(STREAMED, text=f"use {SECRET} then"))
    noted = tape("/v1/chat/completions", asked, cut(whole, [*range(0, len(whole), 7)]))
    wire = capture(file, capture_format=form)
    wire.record(read_exchange(noted), "s", EVERYTHING)
    wire.close()
    content = file.read_bytes()
    assert SECRET.encode() not in content
    assert b"a1B2a1B2" not in content
    if form != "text":
        records = [*read_records(file)]
        assert all(
            record["metadata"]["redacted"]
            for record in records
            if record["payload"] or "chunk" in record["direction"]
        )
        assert any("[redacted api key]" in str(record["payload"]) for record in records)


def test_a_character_that_is_cut_in_two_stays_one(file: Path) -> None:
    exchange = streamed("žluťoučký 東京 🙂", [*range(0, 4000)])
    chunks = [record for record in written(file, exchange) if record["direction"] == "stream_chunk"]
    assert "\ufffd" not in "".join(record["payload"] for record in chunks)
    assert all(record["metadata"]["chunk_bytes"] == 1 for record in chunks)


def test_what_a_project_does_not_want_kept_is_not_in_it(file: Path) -> None:
    rules = RedactionSettings(mask=["email"], capture_output=False)
    asked = {"model": "m", "messages": [{"role": "user", "content": "write to jo@example.com"}]}
    noted = tape("/v1/chat/completions", asked, [*chat_stream(STREAMED)])
    wire = capture(file, rules)
    wire.record(read_exchange(noted), "s", EVERYTHING)
    wire.close()
    content = file.read_text()
    assert "[email]" in content
    assert "jo@" not in content
    assert TEXT.split()[0] not in content
    assert [record["payload"] for record in lines(file, "inbound_response")] == [None]


def test_bytes_are_exact_in_cbor_and_readable_in_json(file: Path) -> None:
    body = b'{"choices": [],  "x": 1.50}'
    packed = gzip.compress(body)
    noted = tape(
        "/v1/chat/completions",
        b'{"model":"m"} ',
        cut(packed, [9, 30]),
        media_type="application/json",
        coding="gzip",
    )
    exchange = read_exchange(noted)
    records = {record["direction"]: record for record in written(file, exchange, capture_format="cbor")}
    assert records["outbound_request"]["payload"] == b'{"model":"m"} '
    assert records["inbound_response"]["payload"] == packed
    readable = {record["direction"]: record for record in written(file.with_name("b.jsonl"), exchange)}
    assert readable["inbound_response"]["payload"] == {"choices": [], "x": 1.5}
    assert readable["inbound_response"]["content_length"] == len(packed)


def test_what_is_no_json_object_is_put_into_one(file: Path) -> None:
    def payload(name: str, body: bytes) -> Any:
        noted = tape("/v1/x", {}, [body], media_type="application/octet-stream")
        found = written(file.with_name(name), read_exchange(noted))
        return next(record["payload"] for record in found if record["direction"] == "inbound_response")

    assert payload("a", b"[1, 2]") == {"encoding": "json", "data": [1, 2]}
    assert payload("b", b"plain") == {"encoding": "text", "data": "plain"}
    assert payload("c", b"\xff\xfe") == {"encoding": "base64", "data": "//4="}
    assert payload("d", b"") is None


def test_a_client_that_hangs_up_leaves_an_end(file: Path) -> None:
    noted = tape("/v1/chat/completions", STREAMED, [*chat_stream(STREAMED)][:2], ending=Ending.CLIENT)
    end = next(
        record for record in written(file, read_exchange(noted)) if record["direction"] == "stream_end"
    )
    assert (end["metadata"]["outcome"], end["metadata"]["error"]) == ("client_abort", "client_disconnect")


# --------------------------------------------------------------------------- the file


def sizes(path: Path) -> list[int]:
    found = []
    for one in path.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was rotated away meanwhile
            found.append(one.stat().st_size)
    return found


def test_the_file_rotates_and_keeps_within_its_total(file: Path) -> None:
    total = 64 << 10
    wire = WireFile(
        settings(file, capture_max_bytes=16 << 10, capture_total_max_bytes=total, capture_max_files=50)
    )
    for number in range(400):
        wire.write([json.dumps({"n": number, "x": os.urandom(700).hex()}).encode() + b"\n"])
        assert sum(sizes(file)) <= total
    wire.close()
    names = sorted(found.name for found in file.parent.iterdir())
    assert file.name in names
    assert f"{file.name}.1.zst" in names
    assert wire.written == 400
    assert not wire.error


def test_no_more_rotated_files_are_kept_than_asked_for(file: Path) -> None:
    wire = WireFile(settings(file, capture_max_bytes=1 << 10, capture_max_files=2))
    for number in range(20):
        wire.write([b'{"direction": "stream_chunk", "payload": %d}%s\n' % (number, b" " * 600)])
    wire.close()
    assert len(sizes(file)) == 3
    kept = [
        record["payload"]
        for part in (".2.zst", ".1.zst", "")
        for record in read_records(Path(f"{file}{part}"))
    ]
    assert kept == [17, 18, 19]
    none = WireFile(settings(file.with_name("none"), capture_max_bytes=1 << 10, capture_max_files=0))
    none.write([b"x" * 700 + b"\n"] * 3)
    none.close()
    assert [found.name for found in file.parent.glob("none*")] == ["none"]


def test_files_are_their_owners_alone(file: Path) -> None:
    file.parent.mkdir()
    file.touch(0o644)
    wire = WireFile(settings(file, capture_max_bytes=1 << 10))
    wire.write([b"x" * 1000 + b"\n"] * 2)
    wire.close()
    assert {stat.S_IMODE(found.stat().st_mode) for found in file.parent.iterdir()} == {0o600}
    deep = WireFile(settings(file.parent / "made" / "wire.log"))
    deep.close()
    assert stat.S_IMODE(deep.path.parent.stat().st_mode) == 0o700


def test_a_record_that_a_crash_cut_short_spoils_no_other(file: Path) -> None:
    first = WireFile(settings(file))
    first.write([b'{"direction": "stream_end", "payload": 1}\n{"direction": "str'])
    first.close()
    again = WireFile(settings(file))
    again.write([b'{"direction": "stream_end", "payload": 2}\n'])
    again.close()
    assert [record["payload"] for record in read_records(Path(f"{file}.1.zst"))] == [1]
    assert [record["payload"] for record in read_records(file)] == [2]


def test_the_file_may_be_taken_away(file: Path) -> None:
    wire = WireFile(settings(file))
    wire.write([b"a\n"])
    wire.flush()
    file.unlink()
    wire.write([b"b\n"])
    wire.close()
    assert file.read_bytes() == b"b\n"


def test_a_full_disk_ends_the_capture_and_nothing_else(file: Path, provider: Provider) -> None:
    file.parent.mkdir()
    file.symlink_to("/dev/full")
    with RunningProxy(wire=capture(file), upstreams={"openai": {"url": provider.url}}) as running:
        for _ in range(2):
            assert httpx.post(f"{running.url}/openai/v1/chat/completions", json=ASKED).status_code == 200
        running.collected.wait(2, "chat")

        def told() -> Any:
            return running.door.document()["recorder"]["wire"]  # type: ignore[index]  # a document

        until(lambda: told()["dropped"] >= 8, told)
        assert "space" in told()["error"]
        assert told()["written"] == 0


# --------------------------------------------------------------------------- settings and looking into it


def test_the_file_is_named_by_flag_variable_and_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    config = "yaml:logging: {capture_file: from-file, capture_max_files: 10, capture_buffer_size: 128KiB}"
    assert load([config]).logging.capture_file == "from-file"
    assert load([config]).logging.capture_buffer_size == 128 << 10
    monkeypatch.setenv("WIRE_CAPTURE_FILE", "from-variable")
    assert load([config]).logging.capture_file == "from-variable"
    monkeypatch.setenv("EDDYLINE_LOGGING__CAPTURE_FILE", "from-ours")
    assert load([config]).logging.capture_file == "from-ours"
    assert load([config], flags={"capture_file": "from-flag"}).logging.capture_file == "from-flag"


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["wire", "inspect", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_capture_can_be_looked_into(file: Path) -> None:
    good = tape("/v1/chat/completions", STREAMED, [*chat_stream(STREAMED)], span_id="a" * 16)
    slow = tape(
        "/v1/chat/completions",
        STREAMED,
        [*chat_stream(STREAMED)][:3],
        ending=Ending.UPSTREAM,
        span_id="b" * 16,
        step_ns=20_000 * MS,
    )
    whole = tape(
        "/v1/chat/completions", {"model": "m"}, [json.dumps(chat({})).encode()], media_type="application/json"
    )
    for form in ("jsonl", "cbor"):
        wire = capture(file.with_suffix(f".{form}"), capture_format=form)
        for noted in (good, slow, whole):
            wire.record(read_exchange(noted), "s", EVERYTHING)
        wire.close()
        path = str(file.with_suffix(f".{form}"))
        text = shown(path, "--request", "a" * 16, "--direction", "inbound_response")
        assert TEXT in text
        assert "request_id=aaaaaaaaaaaaaaaa" in text
        asked = [
            json.loads(line)
            for line in shown(path, "--show", "json", "--direction", "outbound_request").splitlines()
        ]
        assert [record["payload"] for record in asked] == [STREAMED, STREAMED, {"model": "m"}]
        summary = shown(path, "--show", "summary")
        assert "of 3 calls" in summary
        assert "58 tokens in the 2 calls that say" in summary
        assert "1 failed" in summary
        timeline = shown(path, "--show", "timeline").splitlines()
        assert [line.split("request ")[1][:1] for line in timeline] == ["a", "b", "1"]
        issues = shown(path, "--show", "issues")
        assert "upstream_abort" in issues
        assert "silent for 20.0 s" in issues
        assert "a" * 16 not in issues


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "x.log"
    wrong.write_text('{"a": 1}\n')
    result = CliRunner().invoke(main, ["wire", "inspect", str(wrong)])
    assert result.exit_code == 65
    assert "line 1 is no record" in result.output
    wrong.write_bytes(cbor2.dumps([1]))
    assert CliRunner().invoke(main, ["wire", "inspect", str(wrong)]).exit_code == 65


def test_a_collector_captures_what_it_is_told_to(data_dir: Path, tmp_path: Path, provider: Provider) -> None:
    file = tmp_path / "wire.log"
    server = Server(data_dir, "--capture-file", str(file)).start()
    base = f"{server.endpoints['proxy']}/openai/http/127.0.0.1:{provider.port}"
    httpx.post(f"{base}/v1/chat/completions", json=ASKED)
    assert lines(file, "inbound_response")[0]["backend"] == "local"
    assert server.get("/status")["proxy"]["recorder"]["wire"]["error"] is None
    assert server.stop() == 0
