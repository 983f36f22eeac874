"""Each message of a WebSocket in the wire capture: also those of no call, bounded, and masked as bodies are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve

from collector.config import LoggingSettings, RedactionSettings
from collector.pipeline.redaction import ProjectRules
from collector.proxy import framelog
from collector.proxy.capture import Policy
from collector.proxy.context import Context
from collector.proxy.framelog import FrameLog, FrameTape
from collector.proxy.routes import Upstream
from collector.proxy.tape import Budget, Ending
from collector.proxy.wire import WireCapture
from collector.proxy.wire.encoding import read_records
from collector.proxy.wire.inspect import issue_lines, timeline_lines
from tests.collector.proxy.running import RunningProxy

EVERYTHING = Policy(True, True, True, True, b"salt")
SECRET = "sk-proj-" + "a1B2" * 12
KEY = "sk-the-client-s-own-key-0123456789"


def capture(path: Path, form: str = "jsonl", redaction: RedactionSettings | None = None) -> WireCapture:
    settings = LoggingSettings(capture_file=str(path), capture_flush_interval=0.05, capture_format=form)  # type: ignore[arg-type]  # as from YAML
    return WireCapture(settings, ProjectRules(redaction or RedactionSettings()))


def response(text: str) -> list[dict[str, Any]]:
    """A response in pieces of seven characters."""
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
    return [
        {"type": "response.created", "response": {"id": "resp_1"}},
        *({"type": "response.output_text.delta", "output_index": 0, "delta": piece} for piece in pieces),
        {"type": "response.done", "response": {"id": "resp_1", "status": "completed", "output": output}},
    ]


async def _realtime(connection: ServerConnection) -> None:
    await connection.send('{"type": "session.created"}')
    async for message in connection:
        asked = json.loads(message) if isinstance(message, str) else {}
        if asked.get("type") == "response.create":
            for event in response(asked["say"]):
                await connection.send(json.dumps(event))
        elif isinstance(message, bytes):
            await connection.send(message)


def talk(proxy: RunningProxy, *messages: dict[str, Any] | bytes, **headers: str) -> None:
    """Sends each message and waits for its answer; the provider's first one comes by itself."""

    async def run() -> None:
        uri = proxy.url.replace("http", "ws", 1) + "/openai/v1/realtime?model=gpt-realtime"
        given = {"Authorization": f"Bearer {KEY}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        async with websockets.connect(uri, additional_headers=given) as client:
            await client.recv()
            for message in messages:
                await client.send(message if isinstance(message, bytes) else json.dumps(message))
                if isinstance(message, bytes):
                    await client.recv()
                elif message["type"] == "response.create":
                    while "response.done" not in str(await client.recv()):
                        pass

    asyncio.run(run())


def with_proxy(
    file: Path, what: Callable[[RunningProxy], None], form: str = "jsonl", **settings: Any
) -> None:
    """Does it with a proxy whose traffic is captured into that file."""

    async def run() -> None:
        async with serve(_realtime, "127.0.0.1", 0) as provider:
            port = provider.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            proxy = RunningProxy(
                wire=capture(file, form),
                upstreams={"openai": {"url": f"http://127.0.0.1:{port}"}},
                **settings,
            )
            await loop.run_in_executor(None, proxy.__enter__)
            try:
                await loop.run_in_executor(None, what, proxy)
            finally:
                await loop.run_in_executor(None, proxy.__exit__)

    asyncio.run(run())


def messages_in(records: list[Any]) -> list[Any]:
    found = [record for record in records if record["direction"] == "ws_frame"]
    return sorted(found, key=lambda record: record["metadata"]["frame_number"])


ASK = {"type": "response.create", "say": "It is sunny."}


def test_every_message_is_a_record_both_ways(tmp_path: Path) -> None:
    file = tmp_path / "wire.jsonl"
    with_proxy(file, lambda proxy: talk(proxy, {"type": "session.update"}, ASK, b"\x00\xff"))
    records = list(read_records(file))
    found = messages_in(records)
    kinds = [record["payload"].get("type") for record in found[:-2]]
    assert kinds == [
        "session.created", "session.update", "response.create", "response.created",
        "response.output_text.delta", "response.output_text.delta", "response.done",
    ]  # fmt: skip
    assert [record["metadata"]["frame_number"] for record in found] == list(range(1, 10))
    assert found[-1]["payload"] == {"encoding": "base64", "data": "AP8="}
    ways = ["openai" if record["source"] == "openai" else "client" for record in found]
    assert ways == ["openai", "client", "client", *["openai"] * 4, "client", "openai"]
    assert len({record["metadata"]["connection_id"] for record in found}) == 1
    assert {record["metadata"]["opcode"] for record in found[-2:]} == {"binary"}
    times = [record["mono_ns"] for record in found]
    assert times == sorted(times)
    (answer,) = [record for record in records if record["direction"] == "inbound_response"]
    of_call = [
        record for record in found if record["metadata"]["request_id"] == answer["metadata"]["request_id"]
    ]
    assert of_call == found[2:7]
    assert "stream_chunk" not in {record["direction"] for record in records}
    assert KEY not in file.read_text()
    assert len({record["key_name"] for record in records}) == 1
    (call, connection) = sorted(timeline_lines(records), key=lambda line: "messages" in line)
    assert "5 chunks" in call
    assert "4 messages" in connection
    assert list(issue_lines(records)) == []


@pytest.mark.parametrize("form", ["jsonl", "cbor", "text"])
def test_a_secret_is_in_no_message_whole_or_in_pieces(tmp_path: Path, form: str) -> None:
    file = tmp_path / "wire"
    asked = {"type": "response.create", "say": f"yours is {SECRET}.", "instructions": f"mine is {SECRET}"}

    def what(proxy: RunningProxy) -> None:
        talk(proxy, asked, {"type": "session.update", "note": SECRET})

    with_proxy(file, what, form)
    if form != "text":  # which is for people alone
        found = messages_in(list(read_records(file)))
        assert len(found) >= 10
        deltas = found[2:-2]
        assert all(record["payload"] is None and record["metadata"]["redacted"] for record in deltas)
        assert all(record["metadata"]["redacted"] for record in (found[1], found[-1]))
        assert found[1]["payload"] is not None
    told = file.read_bytes().decode("latin-1")
    assert not [piece for piece in (SECRET, SECRET[8:20], "a1B2a1B") if piece in told]


def test_content_that_is_not_kept_is_in_no_message(tmp_path: Path) -> None:
    def what(proxy: RunningProxy) -> None:
        talk(proxy, ASK, x_loop_capture="meta")
        talk(proxy, ASK, x_loop_project="secret")

    file = tmp_path / "wire"
    with_proxy(file, what, capture={"projects": {"secret": "off"}})
    found = messages_in(list(read_records(file)))
    assert len(found) == 6
    assert all(record["payload"] is None and record["metadata"]["withheld"] for record in found)
    assert all(record["content_length"] > 0 for record in found)


# ------------------------------------------------------------------- within bounds


class Calls:
    """Notes of calls, by what the test says."""

    open_call = ""

    def sent(self, data: str | bytes) -> None:
        self.open_call = "call" if data == "ask" else self.open_call

    def received(self, data: str | bytes) -> None:
        self.open_call = "" if data == "end" else self.open_call

    def closed(self, ending: Ending) -> None: ...


class Log:
    """A connection and the stretches that it gave."""

    def __init__(self, limit: int = 1 << 20, budget: int = 1 << 20) -> None:
        self.budget = Budget(budget)
        self.tapes: list[FrameTape] = []
        upstream = Upstream("openai", "https://api.openai.com", "openai")
        self.log = FrameLog(
            Calls(),
            lambda: FrameTape(upstream, "GET", "/v1/realtime", Context(), "1" * 16, self.budget, limit),
            self.tapes.append,
        )

    def stretches(self) -> list[list[int]]:
        return [[frame.number for frame in tape.frames] for tape in self.tapes]


def test_an_answer_is_one_stretch_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framelog, "STRETCH_NS", 0)
    one = Log()
    one.log.received("hello")
    one.log.sent("ask")
    for _ in range(3):
        one.log.received("piece")
    one.log.received("end")
    one.log.received('{"type": "conversation.item.input_audio_transcription.delta"}')
    one.log.received('{"serverContent": {"inputTranscription": {"text": "x"}}}')
    one.log.received("bye")
    one.log.sent("left")
    one.log.closed(Ending.CLIENT)
    assert one.stretches() == [[1], [2, 3, 4, 5, 6], [7, 8, 9], [10]]
    assert [frame.call for frame in one.tapes[1].frames] == ["call"] * 5


def test_what_has_no_room_is_known_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (Log(limit=10), Log(budget=10)):
        one.log.sent("ask")
        one.log.received("x" * 20)
        one.log.received("y" * 4)
        one.log.closed(Ending.UPSTREAM)
        (tape,) = one.tapes
        assert [(frame.size, frame.data is None) for frame in tape.frames] == [
            (3, False),
            (20, True),
            (4, False),
        ]
        tape.forget()
        assert one.budget.used == 0
        assert all(frame.data is None for frame in tape.frames)
    monkeypatch.setattr(framelog, "MAX_FRAMES", 3)
    many = Log()
    many.log.sent("ask")
    for _ in range(9):
        many.log.received("piece")
    many.log.received("end")
    assert (many.stretches(), many.tapes[0].left_out) == ([[1, 2, 3]], 8)


def test_a_stretch_that_is_not_whole_says_so(tmp_path: Path) -> None:
    one = Log(limit=5)
    one.log.sent("ask")
    one.log.received("x" * 20)
    one.log.received("end")
    (tape,) = one.tapes
    tape.left_out = 7
    file = tmp_path / "wire"
    wire = capture(file)
    wire.record_frames(tape, EVERYTHING)
    wire.close()
    asked, cut, last = messages_in(list(read_records(file)))
    assert asked["payload"] == {"encoding": "text", "data": "ask"}
    assert (cut["payload"], cut["content_length"], cut["metadata"]["truncated"]) == (None, 20, True)
    assert (last["metadata"]["frames_left_out"], last["metadata"]["truncated"]) == (7, True)
