"""WebSockets are relayed where providers have them; elsewhere clients are told to use HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.utils import accept_key

from collector.proxy.frames import ResponseFrames
from collector.proxy.live import LiveFrames
from collector.proxy.tape import Ending, Tape
from tests.collector.proxy.collected import Collected, said
from tests.collector.proxy.running import RunningProxy
from tests.collector.proxy.tapes import tape
from tests.provider import responses_stream
from tests.waiting import PATIENCE_S, until


async def _echo(connection: ServerConnection) -> None:
    assert connection.request is not None
    await connection.send(f"{connection.request.path} {connection.request.headers['Authorization']}")
    async for message in connection:
        if message == "close":
            await connection.close(4001, "as asked")
            return
        await connection.send(message)


def through(
    path: str, *messages: str | bytes, protocols: list[str] | None = None
) -> tuple[list[str | bytes], int | None, str | None]:
    """What a client gets for its messages, the close code, and the subprotocol."""

    async def run() -> tuple[list[str | bytes], int | None, str | None]:
        async with serve(_echo, "127.0.0.1", 0, subprotocols=["realtime"]) as provider:  # type: ignore[list-item]  # a NewType of str
            port = provider.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            proxy = RunningProxy(upstreams={"openai": {"url": f"http://127.0.0.1:{port}"}})
            await loop.run_in_executor(None, proxy.__enter__)
            try:
                uri = proxy.url.replace("http", "ws", 1) + path
                async with websockets.connect(
                    uri,
                    additional_headers={"Authorization": "Bearer k", "X-Loop-Project": "p"},
                    subprotocols=protocols,  # type: ignore[arg-type]  # a NewType of str
                ) as client:
                    received = [await client.recv()]
                    for message in messages:
                        await client.send(message)
                        if message != "close":
                            received.append(await client.recv())
                    if messages[-1:] == ("close",):
                        await client.wait_closed()
                    return received, client.close_code, client.subprotocol
            finally:
                await loop.run_in_executor(None, proxy.__exit__)

    return asyncio.run(run())


def test_messages_pass_both_ways_and_so_does_the_close() -> None:
    received, code, protocol = through(
        "/openai/v1/realtime?model=m", "hi", b"\x00\xff", "x" * 300_000, "close", protocols=["realtime"]
    )
    assert received == ["/v1/realtime?model=m Bearer k", "hi", b"\x00\xff", "x" * 300_000]
    assert (code, protocol) == (4001, "realtime")


# ------------------------------------------------------------------- who breaks it off, and how


class Hostile:
    """A provider on a raw socket: it opens a WebSocket for each client and then does as the path says."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, bytes]] = []
        """Close frames from the client: code and reason."""
        self.ended = 0
        """Connections that came to an end."""
        self.pongs: list[bytes] = []
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            await self._play(head, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()

    async def _play(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        what = head.split(b" ")[1].partition(b"?")[2]
        if what == b"refused":
            body = b'{"error": {"message": "no such model"}}'
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nx-request-id: req_1\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
        if what == b"redirected":
            host = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"host:"))[5:].strip()
            writer.write(
                b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://%s/elsewhere?reason\r\n"
                b"connection: close\r\ncontent-length: 2\r\n\r\nno" % host
            )
            return
        if what == b"silent":
            await reader.read()
            return
        key = next(
            line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = b"wrong" if what == b"liar" else accept_key(key.decode().strip()).encode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %s\r\n\r\n" % accept
        )
        match what:
            case b"reset":
                return
            case b"fragments":
                writer.write(_frame(1, "é".encode()[:1], last=False) + _frame(9, b"are you there"))
                writer.write(_frame(0, "é".encode()[1:] + b"x" * 70_000, last=False) + _frame(0, b"!"))
            case b"garbage":
                writer.write(b"\xff\xff\xff\xff nonsense")
            case b"no-status":
                writer.write(_frame(8, b""))
            case b"reason":
                writer.write(_frame(8, (4008).to_bytes(2, "big") + b"too slow"))
        while True:
            kind, payload = await _read_frame(reader)
            if kind == 10:
                self.pongs.append(payload)
            if kind == 8:
                self.closed.append((int.from_bytes(payload[:2], "big"), payload[2:]))
                return


def _frame(kind: int, payload: bytes, *, last: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    return bytes([kind | (0x80 if last else 0)]) + length + payload


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


@pytest.fixture(scope="module")
def hostile() -> Iterator[tuple[Hostile, RunningProxy]]:
    provider = Hostile()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(provider.serve, "127.0.0.1", 0), loop
    ).result(PATIENCE_S)
    port = server.sockets[0].getsockname()[1]
    with RunningProxy(upstreams={"openai": {"url": f"http://127.0.0.1:{port}"}}) as proxy:
        yield provider, proxy
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)


def _uri(proxy: RunningProxy, what: str) -> str:
    return proxy.url.replace("http", "ws", 1) + f"/openai/v1/realtime?{what}"


def test_a_refused_handshake_is_passed_on_whole(hostile: tuple[Hostile, RunningProxy]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(_uri(hostile[1], "refused")):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["x-request-id"]) == (403, "req_1")
    assert json.loads(response.body or b"") == {"error": {"message": "no such model"}}


def test_a_redirected_handshake_is_passed_on_and_not_followed(hostile: tuple[Hostile, RunningProxy]) -> None:
    """Where it leads no gate has judged, and the keys in its headers are not for whoever is there."""
    provider, proxy = hostile
    asked = provider.asked
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(
            b"GET /openai/v1/realtime?redirected HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
            b"connection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
            b"x-api-key: mine\r\n\r\n"
        )
        answer = b""
        while not answer.endswith(b"no"):
            piece = client.recv(4096)
            assert piece, answer
            answer += piece
    assert answer.startswith(b"HTTP/1.1 307 ")
    assert b"/elsewhere?reason" in answer
    assert provider.asked == asked + 1


def test_what_is_no_websocket_is_a_502_of_ours(hostile: tuple[Hostile, RunningProxy]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(_uri(hostile[1], "liar")):
        pass
    assert refused.value.response.status_code == 502


def test_messages_in_fragments_arrive_whole_and_pings_are_answered(
    hostile: tuple[Hostile, RunningProxy],
) -> None:
    provider, proxy = hostile
    with connect(_uri(proxy, "fragments")) as client:
        assert client.recv(PATIENCE_S) == "é" + "x" * 70_000 + "!"
        until(lambda: provider.pongs == [b"are you there"])
        assert client.ping().wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("what", "code", "reason"),
    [("reset", 1011, ""), ("garbage", 1002, ""), ("no-status", 1000, ""), ("reason", 4008, "too slow")],
)
def test_how_the_provider_ends_it_is_told(
    hostile: tuple[Hostile, RunningProxy], what: str, code: int, reason: str
) -> None:
    with connect(_uri(hostile[1], what)) as client:
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_S)
        assert (client.close_code, client.close_reason) == (code, reason)


def test_how_the_client_ends_it_is_told(hostile: tuple[Hostile, RunningProxy]) -> None:
    provider, proxy = hostile
    provider.closed.clear()
    with connect(_uri(proxy, "open")) as client:
        client.send("x" * 200_000)
        client.close(4002, "had enough")
    until(lambda: provider.closed == [(4002, b"had enough")])


def test_a_client_that_vanishes_is_going_away(hostile: tuple[Hostile, RunningProxy]) -> None:
    provider, proxy = hostile
    provider.closed.clear()
    with connect(_uri(proxy, "open")) as client:
        client.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: provider.closed == [(1001, b"")])


def test_a_client_that_vanishes_before_the_provider_answers_ends_the_handshake(
    hostile: tuple[Hostile, RunningProxy],
) -> None:
    provider, proxy = hostile
    asked, ended = provider.asked, provider.ended
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"GET /openai/v1/realtime?silent HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
            b"connection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        until(lambda: provider.asked == asked + 1)
    until(lambda: provider.ended == ended + 1)


def test_a_half_open_handshake_takes_nothing_from_others(hostile: tuple[Hostile, RunningProxy]) -> None:
    _, proxy = hostile
    host, port = proxy.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"GET /openai/v1/realtime?open HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n")
        with connect(_uri(proxy, "open")) as client:
            assert client.ping().wait(PATIENCE_S)


# ------------------------------------------------------------------- what was said


async def _responses(connection: ServerConnection) -> None:
    async for message in connection:
        asked = json.loads(message)
        if asked["type"] != "response.create":
            continue
        for one in responses_stream(asked):
            line = one.decode().partition("data: ")[2].strip()
            await connection.send(line)
            if asked.get("model") == "cut" and "delta" in line:
                await connection.close(1011)
                return


def test_each_response_over_a_websocket_is_a_call() -> None:
    async def run() -> Collected:
        async with serve(_responses, "127.0.0.1", 0) as provider:
            port = provider.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            proxy = RunningProxy(upstreams={"openai": {"url": f"http://127.0.0.1:{port}"}})
            await loop.run_in_executor(None, proxy.__enter__)
            try:
                uri = proxy.url.replace("http", "ws", 1) + "/openai/v1/responses"
                async with websockets.connect(uri, additional_headers={"X-Loop-Session": "ws"}) as client:
                    for asked in ("first", "second", "cut"):
                        text = {"role": "user", "content": [{"type": "input_text", "text": asked}]}
                        model = "cut" if asked == "cut" else "gpt"
                        await client.send(
                            json.dumps({"type": "response.create", "model": model, "input": [text]})
                        )
                        with contextlib.suppress(websockets.ConnectionClosedError):
                            while '"type": "response.completed"' not in str(await client.recv()):
                                pass
                await loop.run_in_executor(None, proxy.collected.wait, 3, "chat")
                return proxy.collected
            finally:
                await loop.run_in_executor(None, proxy.__exit__)

    collected = asyncio.run(run())
    spans = collected.named("chat")
    outcomes = [span.attributes.get("eddyline.proxy.outcome") for span in spans]
    assert outcomes == ["complete", "complete", "upstream_abort"]
    assert said(spans[1], "gen_ai.input.messages")[0]["parts"][0]["content"] == "second"
    (run_,) = collected.runs().values()
    assert (run_.run.counts.llm_calls, run_.run.usage.input, run_.run.usage.output) == (3, 42, 24)


def test_a_realtime_session_is_told_call_by_call() -> None:
    """What was added before, what the provider began by itself, and a model that only the address names."""

    def response(id_: str, text: str) -> list[str]:
        content = [{"type": "output_text", "text": text}]
        output = [{"type": "message", "role": "assistant", "content": content}]
        usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
        done = {"id": id_, "status": "completed", "output": output, "usage": usage}
        return [
            json.dumps({"type": "response.created", "response": {"id": id_, "status": "in_progress"}}),
            json.dumps({"type": "response.done", "response": done}),
        ]

    async def realtime(connection: ServerConnection) -> None:
        await connection.send('{"type": "session.created"}')
        async for message in connection:
            kind = json.loads(message)["type"]
            if kind == "response.create":
                for event in response("resp_1", "It is sunny."):
                    await connection.send(event)
            if kind == "input_audio_buffer.append":
                for event in response("resp_2", "You are welcome."):
                    await connection.send(event)

    async def run() -> Collected:
        async with serve(realtime, "127.0.0.1", 0) as provider:
            port = provider.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            proxy = RunningProxy(upstreams={"openai": {"url": f"http://127.0.0.1:{port}"}})
            await loop.run_in_executor(None, proxy.__enter__)
            try:
                uri = proxy.url.replace("http", "ws", 1) + "/openai/v1/realtime?model=gpt-realtime"
                async with websockets.connect(uri) as client:
                    content = [{"type": "input_text", "text": "How is the weather?"}]
                    item = {"type": "message", "role": "user", "content": content}
                    await client.send(json.dumps({"type": "conversation.item.create", "item": item}))
                    for asking in (
                        {"type": "response.create"},
                        {"type": "input_audio_buffer.append", "audio": ""},
                    ):
                        await client.send(json.dumps(asking))
                        while "response.done" not in str(await client.recv()):
                            pass
                await loop.run_in_executor(None, proxy.collected.wait, 2, "chat")
                return proxy.collected
            finally:
                await loop.run_in_executor(None, proxy.__exit__)

    asked, spoken = asyncio.run(run()).named("chat")
    assert said(asked, "gen_ai.input.messages")[0]["parts"][0]["content"] == "How is the weather?"
    assert said(spoken, "gen_ai.output.messages")[0]["parts"][0]["content"] == "You are welcome."
    for span in (asked, spoken):
        assert span.attributes["gen_ai.request.model"] == "gpt-realtime"
        assert span.attributes["gen_ai.usage.input_tokens"] == 5
        assert span.attributes["eddyline.proxy.outcome"] == "complete"


@pytest.mark.parametrize(
    "added", ['[{"type": "conversation.item.create"}]', '{"type": "conversation.item.create"}']
)
@pytest.mark.parametrize("asked", ['[{"type": "response.create"}]', '{"type": "response.create"'])
def test_frames_that_are_no_requests_are_noted_as_they_are(asked: str, added: str) -> None:
    noted: list[Tape] = []
    frames = ResponseFrames(lambda: tape("/v1/realtime", {}, []), noted.append, "m")
    frames.sent(added)
    frames.sent(asked)
    frames.closed(Ending.CLIENT)
    assert [one.request[-1] for one in noted] == [asked.encode()]


@pytest.fixture(scope="module")
def lonely() -> Iterator[RunningProxy]:
    with RunningProxy(upstreams={"openai": {"url": "http://127.0.0.1:9"}}) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("path", "status"),
    [("/openai/v1/chat/completions", 426), ("/nobody/v1/realtime", 404), ("/openai/v1/responses", 502)],
)
def test_a_handshake_that_leads_nowhere_is_an_http_answer(
    lonely: RunningProxy, path: str, status: int
) -> None:
    async def run() -> int:
        try:
            async with websockets.connect(lonely.url.replace("http", "ws", 1) + path):
                return 101
        except websockets.InvalidStatus as refused:
            return refused.response.status_code

    assert asyncio.run(run()) == status


LIVE: dict[str, tuple[str, str]] = {
    "gemini": (
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        "models/gemini-live",
    ),
    "vertex": (
        "/us-central1/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
        "projects/p/locations/us-central1/publishers/google/models/gemini-live",
    ),
}
"""Path of the connection and name of the model, by provider."""
USAGE = {"promptTokenCount": 5, "responseTokenCount": 3, "totalTokenCount": 8}
LIVE_TURNS: list[list[dict[str, Any]]] = [
    [{"toolCall": {"functionCalls": [{"id": "f1", "name": "weather", "args": {}}]}, "usageMetadata": USAGE}],
    [
        {"serverContent": {"modelTurn": {"parts": [{"text": "It is "}]}}},
        {"serverContent": {"modelTurn": {"parts": [{"text": "sunny."}]}}},
        {"serverContent": {"generationComplete": True}},
        {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE},
    ],
    [
        {"serverContent": {"inputTranscription": {"text": "Thank you."}}},
        {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}]}}},
        {"serverContent": {"outputTranscription": {"text": "You are welcome."}}},
        {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE},
    ],
]  # fmt: skip
"""What the provider says after a question, after the result of a tool, and after a voice."""


@pytest.mark.parametrize("name", LIVE)
def test_a_live_session_is_one_run_that_is_told_turn_by_turn(name: str) -> None:
    path, model = LIVE[name]
    turns = LIVE_TURNS
    if name == "vertex":  # which has the same count under another name
        turns = json.loads(json.dumps(turns).replace("responseTokenCount", "candidatesTokenCount"))
    asking = [
        {"client_content": {"turns": [{"role": "user", "parts": [{"text": "Weather?"}]}], "turn_complete": True}},
        {"tool_response": {"function_responses": [{"id": "f1", "name": "weather", "response": {"sky": "clear"}}]}},
        {"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "AAAA"}}},
    ]  # fmt: skip

    async def live(connection: ServerConnection) -> None:
        assert "setup" in json.loads(await connection.recv())
        await connection.send(b'{"setupComplete": {}}')
        for turn in turns:
            await connection.recv()
            for message in turn:
                await connection.send(json.dumps(message).encode())

    async def run() -> Collected:
        async with serve(live, "127.0.0.1", 0) as provider:
            port = provider.sockets[0].getsockname()[1]
            loop = asyncio.get_running_loop()
            proxy = RunningProxy(upstreams={name: {"url": f"http://127.0.0.1:{port}", "format": "gemini"}})
            await loop.run_in_executor(None, proxy.__enter__)
            try:
                async with websockets.connect(
                    proxy.url.replace("http", "ws", 1) + f"/{name}{path}"
                ) as client:
                    setup = {
                        "model": model,
                        "systemInstruction": {"parts": [{"text": "Be brief."}]},
                    }
                    await client.send(json.dumps({"setup": setup}))
                    assert await client.recv() == b'{"setupComplete": {}}'
                    for message, turn in zip(asking, turns, strict=True):
                        await client.send(json.dumps(message))
                        assert [json.loads(await client.recv()) for _ in turn] == turn
                await loop.run_in_executor(None, proxy.collected.wait, 3, "generate_content")
                return proxy.collected
            finally:
                await loop.run_in_executor(None, proxy.__exit__)

    collected = asyncio.run(run())
    calls = sorted(collected.named("generate_content"), key=lambda span: span.start_ns)
    for span in calls:
        assert span.attributes["gen_ai.request.model"] == "gemini-live"
        assert span.attributes["gen_ai.usage.output_tokens"] == 3
        assert span.attributes["eddyline.proxy.outcome"] == "complete"
    assert said(calls[0], "gen_ai.output.messages")[0]["parts"][0]["name"] == "weather"
    assert said(calls[1], "gen_ai.output.messages")[0]["parts"][0]["content"] == "It is sunny."
    assert said(calls[2], "gen_ai.input.messages")[-1]["parts"][0]["content"] == "Thank you."
    assert said(calls[2], "gen_ai.output.messages")[0]["parts"][0]["content"] == "You are welcome."
    (counted,) = collected.runs().values()
    assert (counted.run.counts.llm_calls, counted.run.counts.tool_calls) == (3, 1)
    assert (counted.run.usage.input, counted.run.usage.output) == (15, 9)


def test_a_live_turn_that_the_client_cuts_off_ends_there_and_its_end_is_not_the_next_ones() -> None:
    noted: list[Tape] = []
    frames = LiveFrames(lambda: tape("/ws/BidiGenerateContent", {}, []), noted.append)
    for text in ("one", "two"):
        turn = {"role": "user", "parts": [{"text": text}]}
        frames.sent(json.dumps({"clientContent": {"turns": [turn], "turnComplete": True}}))
        if text == "one":
            frames.received('{"serverContent": {"modelTurn": {"parts": [{"text": "Once upon"}]}}}')
    frames.received('{"serverContent": {"interrupted": true}}')
    frames.received('{"serverContent": {"turnComplete": true}}')
    assert [noted_tape.ending for noted_tape in noted] == [Ending.CLIENT]
    frames.received('{"serverContent": {"modelTurn": {"parts": [{"text": "Two."}]}, "turnComplete": true}}')
    frames.received("no JSON")
    frames.closed(Ending.CLIENT)
    assert [noted_tape.ending for noted_tape in noted] == [Ending.CLIENT, Ending.WHOLE]
    assert b"Two." in noted[1].response[0]
    assert b"Once upon" in noted[1].request[-1]
