"""A provider on loopback: records exactly what it gets, answers as OpenAI, Anthropic, Gemini, Ollama, Cohere and
Bedrock do.

It speaks HTTP from raw sockets, so that what it saw and what it sent are known byte for byte.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.waiting import PATIENCE_S

CUT = object()
"""A piece of an answer: the connection is reset here."""
Piece = bytes | float | object
"""Bytes to send at once, seconds to wait, or `CUT`."""


@dataclass
class Seen:
    """A request as it came off the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    raw_head: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for given, value in self.headers if given.lower() == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """A response. Without `length` it goes in chunks, one for each piece."""

    pieces: list[Piece]
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    length: bool = False
    close: bool = False

    @classmethod
    def json(cls, document: Any, status: int = 200, **headers: str) -> Answer:
        given = [
            ("content-type", "application/json"),
            *((k.replace("_", "-"), v) for k, v in headers.items()),
        ]
        return cls([json.dumps(document).encode()], status, given, length=True)

    @classmethod
    def sse(cls, pieces: list[Piece], **headers: str) -> Answer:
        given = [
            ("content-type", "text/event-stream"),
            *((k.replace("_", "-"), v) for k, v in headers.items()),
        ]
        return cls(pieces, 200, given)


HANG_UP = Answer([], status=0)
"""No answer at all: the connection is closed."""


class Provider:
    """Runs in a thread of its own. `script` holds answers for the next requests, before those by path."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.script: list[Answer | Callable[[Seen], Answer]] = []
        self.resets = 0
        """Connections that the other side dropped in the middle of an answer."""
        self.port = 0
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Provider:
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                seen = await _read(reader, writer)
                self.seen.append(seen)
                planned = self.script.pop(0) if self.script else answer_by_path
                answer = planned if isinstance(planned, Answer) else planned(seen)
                if not await self._answer(seen, answer, reader, writer) or answer.close:
                    break
        writer.close()

    async def _answer(
        self, seen: Seen, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if answer is HANG_UP:
            return False
        headers = list(answer.headers)
        if answer.length:
            size = sum(len(piece) for piece in answer.pieces if isinstance(piece, bytes))
            headers.append(("content-length", str(size)))
        elif answer.status not in (204, 304):
            headers.append(("transfer-encoding", "chunked"))
        head = f"HTTP/1.1 {answer.status} Said\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
        writer.write(head.encode("utf-8"))
        if seen.method == "HEAD":
            return True
        try:
            for piece in answer.pieces:
                if piece is CUT:
                    writer.transport.abort()
                    return False
                if isinstance(piece, (int, float)):
                    await asyncio.sleep(piece)
                    if writer.transport.is_closing() or reader.at_eof():
                        raise ConnectionResetError
                    continue
                assert isinstance(piece, bytes)
                writer.write(piece if answer.length else b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
        except ConnectionError:
            self.resets += 1
            return False
        if not answer.length and answer.status not in (204, 304):
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.decode("latin-1").split(" ", 2)
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.decode("latin-1"), value.strip().decode("utf-8", "surrogateescape")))
    lower = {name.lower(): value for name, value in headers}
    if "100-continue" in lower.get("expect", ""):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = b""
    if "chunked" in lower.get("transfer-encoding", ""):
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    elif "content-length" in lower:
        body = await reader.readexactly(int(lower["content-length"]))
    return Seen(method, target, headers, body, head)


# --------------------------------------------------------------------------- what providers say


def event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def answer_by_path(seen: Seen) -> Answer:
    """What a well-meaning provider answers to any request that its API has."""
    path = seen.target.partition("?")[0]
    body = json.loads(seen.body) if seen.body[:1] == b"{" else {}
    stream = body.get("stream") is True
    if "/model/" in path:
        return bedrock(seen)
    if body.get("model") in MOODS:
        return _in_a_mood(body["model"], seen, body)
    if path.endswith("/chat/completions"):
        return Answer.sse(list(chat_stream(body))) if stream else Answer.json(chat(body))
    if path.endswith("/responses"):
        return Answer.sse(list(responses_stream(body))) if stream else Answer.json(response(body))
    if path.endswith("/messages/count_tokens"):
        return Answer.json({"input_tokens": 14})
    if path.endswith("/messages"):
        return Answer.sse(list(messages_stream(body))) if stream else Answer.json(message(body))
    if path.endswith("/fim/completions"):
        return Answer.json(chat(body))
    if path.endswith("/interactions"):
        return Answer.sse(list(interaction_stream())) if stream else Answer.json(interaction())
    if path.endswith("/conversations"):
        return Answer.sse(list(conversation_stream())) if stream else Answer.json(conversation())
    if path.endswith("/completions"):
        return Answer.json(completion(body))
    if path.endswith("/embeddings"):
        return Answer.json(embeddings(body))
    if path.endswith(":generateContent"):
        return Answer.json(gemini())
    if path.endswith(":streamGenerateContent"):
        return Answer.sse(list(gemini_stream()))
    if path.endswith("/api/chat"):
        lines: list[Piece] = list(ollama_stream(body))
        if body.get("stream") is False:
            return Answer.json(ollama(body, "Hello there", done=True))
        return Answer(lines, 200, [("content-type", "application/x-ndjson")])
    if path.endswith("/models"):
        return Answer.json({"object": "list", "data": []})
    return Answer.json({"path": path})


MOODS = frozenset({"no-such-model", "busy-at-first", "breaks-off", "fails-within", "own-ids"})
"""Models with which things go wrong; each answer of the last one has an id of its own."""


def _in_a_mood(model: str, seen: Seen, body: dict[str, Any]) -> Answer:
    is_messages = seen.target.partition("?")[0].endswith("/messages")
    refused = {"type": "not_found_error", "message": "no such model"}
    overloaded = {"type": "overloaded_error", "message": "later"}
    whole = list(messages_stream(body) if is_messages else chat_stream(body))
    match model:
        case "no-such-model":
            return Answer.json({"type": "error", "error": refused}, 404, request_id="req_404")
        case "busy-at-first" if seen.header("x-stainless-retry-count") == "0":
            return Answer.json({"type": "error", "error": overloaded}, 429, retry_after_ms="5")
        case "breaks-off":
            return Answer.sse([*whole[:4], 0.05, CUT])
        case "fails-within":
            return Answer.sse([*whole[:4], event({"type": "error", "error": overloaded}, "error")])
    id_ = f"chatcmpl-{secrets.token_hex(4)}" if model == "own-ids" else "chatcmpl-1"
    if body.get("stream") is True:
        return Answer.sse([piece.replace(b"chatcmpl-1", id_.encode()) for piece in whole])
    return Answer.json(message(body) if is_messages else chat(body, id_=id_))


TEXT = "Bonjour 👋🏽 là-bas — 你好"
USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def chat(
    body: dict[str, Any], text: str = TEXT, calls: list[dict[str, Any]] | None = None, id_: str = "chatcmpl-1"
) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": None if calls else text, "refusal": None}
    if calls:
        said["tool_calls"] = calls
    return {
        "id": id_,
        "object": "chat.completion",
        "created": 1,
        "model": f"{body.get('model', 'gpt-4o-mini')}-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": said,
                "finish_reason": "tool_calls" if calls else "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }


def call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_stream(
    body: dict[str, Any], text: str = TEXT, calls: list[dict[str, Any]] | None = None, id_: str = "chatcmpl-1"
) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        return event(
            {
                "id": id_,
                "object": "chat.completion.chunk",
                "created": 1,
                "model": f"{body.get('model', 'gpt-4o-mini')}-2024-07-18",
                "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}],
                **more,
            }
        )

    yield chunk({"role": "assistant", "content": "" if not calls else None})
    if calls:
        for index, made in enumerate(calls):
            function = made["function"]
            yield chunk({"tool_calls": [{**made, "index": index, "function": {**function, "arguments": ""}}]})
            for start in range(0, len(function["arguments"]), 5):
                piece = function["arguments"][start : start + 5]
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    else:
        for start in range(0, len(text), 3):
            yield chunk({"content": text[start : start + 3]})
    yield chunk({}, "tool_calls" if calls else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield event(
            {
                "id": id_,
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "gpt-4o-mini-2024-07-18",
                "choices": [],
                "usage": USAGE,
            }
        )
    yield event("[DONE]")


def completion(body: dict[str, Any]) -> dict[str, Any]:
    choice = {"text": TEXT, "index": 0, "finish_reason": "stop", "logprobs": None}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [choice],
        "usage": USAGE,
    }


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "list",
        "model": body.get("model"),
        "data": [
            {
                "object": "embedding",
                "index": 0,
                "embedding": "AAAAAAAAgD8AAABA"
                if body.get("encoding_format") == "base64"
                else [0.0, 1.0, 2.0],
            }
        ],
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }


RESPONSES_USAGE = {
    "input_tokens": 21,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 33,
}


def response(
    body: dict[str, Any],
    status: str = "completed",
    output: list[dict[str, Any]] | None = None,
    id_: str = "resp_1",
) -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    said = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
    return {
        "id": id_,
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": f"{body.get('model', 'gpt-4o-mini')}-2024-07-18",
        "output": [said] if output is None else output,
        "usage": RESPONSES_USAGE,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }


def responses_stream(body: dict[str, Any], end: str = "completed") -> Iterator[bytes]:
    whole = response(body, end)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    item = whole["output"][0]
    number = 0

    def said(kind: str, **more: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number - 1, **more}, kind)

    yield said("response.created", response=begun)
    yield said("response.in_progress", response=begun)
    yield said(
        "response.output_item.added", output_index=0, item={**item, "content": [], "status": "in_progress"}
    )
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield said(
        "response.content_part.added", **place, part={"type": "output_text", "text": "", "annotations": []}
    )
    for start in range(0, len(TEXT), 4):
        yield said("response.output_text.delta", **place, delta=TEXT[start : start + 4], logprobs=[])
    yield said("response.output_text.done", **place, text=TEXT, logprobs=[])
    yield said("response.content_part.done", **place, part=item["content"][0])
    yield said("response.output_item.done", output_index=0, item=item)
    yield said(f"response.{end}", response=whole)


MESSAGES_USAGE = {
    "input_tokens": 9,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 7,
    "output_tokens": 11,
    "service_tier": "standard",
}


def message(
    body: dict[str, Any], content: list[dict[str, Any]] | None = None, id_: str = "msg_1"
) -> dict[str, Any]:
    content = [{"type": "text", "text": TEXT}] if content is None else content
    called = any(block["type"] == "tool_use" for block in content)
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "claude-sonnet-4-6"),
        "content": content,
        "stop_reason": "tool_use" if called else "end_turn",
        "stop_sequence": None,
        "usage": MESSAGES_USAGE,
    }


def messages_stream(
    body: dict[str, Any], content: list[dict[str, Any]] | None = None, id_: str = "msg_1"
) -> Iterator[bytes]:
    whole = message(body, content, id_)

    def said(kind: str, **more: Any) -> bytes:
        return event({"type": kind, **more}, kind)

    yield said(
        "message_start",
        message={
            **whole,
            "content": [],
            "stop_reason": None,
            "usage": {**MESSAGES_USAGE, "output_tokens": 1},
        },
    )
    yield said("ping")
    for index, block in enumerate(whole["content"]):
        if block["type"] == "tool_use":
            yield said("content_block_start", index=index, content_block={**block, "input": {}})
            written = json.dumps(block["input"])
            for start in range(0, len(written), 6):
                delta = {"type": "input_json_delta", "partial_json": written[start : start + 6]}
                yield said("content_block_delta", index=index, delta=delta)
        else:
            yield said("content_block_start", index=index, content_block={"type": "text", "text": ""})
            for start in range(0, len(block["text"]), 3):
                delta = {"type": "text_delta", "text": block["text"][start : start + 3]}
                yield said("content_block_delta", index=index, delta=delta)
        yield said("content_block_stop", index=index)
    yield said(
        "message_delta",
        delta={"stop_reason": whole["stop_reason"], "stop_sequence": None},
        usage={"output_tokens": 11},
    )
    yield said("message_stop")


def interaction() -> dict[str, Any]:
    """Of Gemini's Interactions API."""
    usage = {
        "total_input_tokens": 8,
        "total_output_tokens": 20,
        "total_thought_tokens": 50,
        "total_tokens": 78,
    }
    said = {"type": "model_output", "content": [{"type": "text", "text": TEXT}]}
    times = {"created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:01Z"}
    return {
        "id": "v1_1",
        "model": "gemini-2.5-flash",
        "status": "completed",
        "steps": [said],
        "usage": usage,
        **times,
    }


def interaction_stream() -> Iterator[bytes]:
    whole = interaction()
    begun = {name: whole[name] for name in ("id", "model", "created", "updated")} | {"status": "in_progress"}
    for one in (
        {"event_type": "interaction.created", "interaction": begun},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        *({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": text}} for text in TEXT),
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": {**whole, "steps": []}},
    ):
        yield event(one, str(one["event_type"]))


def conversation() -> dict[str, Any]:
    """Of Mistral's Conversations API."""
    said = {"type": "message.output", "id": "msg_1", "model": "mistral-medium", "content": TEXT}
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    return {"object": "conversation.response", "conversation_id": "conv_1", "outputs": [said], "usage": usage}


def conversation_stream() -> Iterator[bytes]:
    at = {"created_at": "2026-01-01T00:00:00Z"}
    said = {
        "output_index": 0,
        "id": "msg_1",
        "content_index": 0,
        "model": "mistral-medium",
        "role": "assistant",
    }
    for one in (
        {"type": "conversation.response.started", "conversation_id": "conv_1"},
        *({"type": "message.output.delta", "content": text, **said} for text in TEXT),
        {"type": "conversation.response.done", "usage": conversation()["usage"]},
    ):
        yield event({**one, **at}, str(one["type"]))


def gemini(text: str = TEXT, last: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if last:
        found["finishReason"] = "STOP"
    usage = {
        "promptTokenCount": 8,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 50,
        "totalTokenCount": 78,
    }
    return {
        "candidates": [found],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "gem-1",
    }


def gemini_stream() -> Iterator[bytes]:
    half = len(TEXT) // 2
    yield b"data: " + json.dumps(gemini(TEXT[:half], last=False)).encode() + b"\r\n\r\n"
    yield b"data: " + json.dumps(gemini(TEXT[half:])).encode() + b"\r\n\r\n"


def ollama(body: dict[str, Any], text: str, *, done: bool) -> dict[str, Any]:
    line: dict[str, Any] = {
        "model": body.get("model", "llama3.2"),
        "created_at": "2026-11-21T00:00:00Z",
        "message": {"role": "assistant", "content": text},
        "done": done,
    }
    if done:
        line |= {
            "done_reason": "stop",
            "total_duration": 5,
            "load_duration": 2_000_000,
            "prompt_eval_count": 26,
            "prompt_eval_duration": 3,
            "eval_count": 7,
            "eval_duration": 4,
        }
    return line


def ollama_stream(body: dict[str, Any]) -> Iterator[bytes]:
    for start in range(0, len(TEXT), 4):
        yield json.dumps(ollama(body, TEXT[start : start + 4], done=False)).encode() + b"\n"
    yield json.dumps(ollama(body, "", done=True)).encode() + b"\n"


# --------------------------------------------------------------------------- Bedrock

BEDROCK_USAGE = {"inputTokens": 20, "outputTokens": 6, "totalTokens": 30, "cacheReadInputTokens": 4}


def amazon_message(payload: Any, **headers: str) -> bytes:
    """One message of Amazon's event stream encoding; `event_type="x"` is the header `:event-type`."""
    written = b"".join(
        bytes([len(name) + 1])
        + f":{name.replace('_', '-')}".encode()
        + b"\x07"
        + len(value).to_bytes(2)
        + value.encode()
        for name, value in {"message_type": "event", **headers}.items()
    )
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    prelude = (16 + len(written) + len(body)).to_bytes(4) + len(written).to_bytes(4)
    message = prelude + zlib.crc32(prelude).to_bytes(4) + written + body
    return message + zlib.crc32(message).to_bytes(4)


def bedrock(seen: Seen) -> Answer:
    """Bedrock's runtime: Converse for every model, and Anthropic's own requests."""
    path = seen.target.partition("?")[0]
    if path.endswith("/converse"):
        return Answer.json(converse(), x_amzn_requestid="req-1")
    if path.endswith("/converse-stream"):
        return _amazon_stream(list(converse_stream()))
    if path.endswith("/invoke"):
        return Answer.json(message(seen.json))
    return _amazon_stream(list(invoked_stream(seen.json)))


def _amazon_stream(pieces: list[Piece]) -> Answer:
    return Answer(pieces, 200, [("content-type", "application/vnd.amazon.eventstream")])


def converse(*calls: dict[str, Any], text: str = TEXT) -> dict[str, Any]:
    content = [{"text": text}, *({"toolUse": made} for made in calls)]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if calls else "end_turn",
        "usage": BEDROCK_USAGE,
        "metrics": {"latencyMs": 12},
    }


def converse_stream(*calls: dict[str, Any], text: str = TEXT) -> Iterator[bytes]:
    def said(event_type: str, **payload: Any) -> bytes:
        return amazon_message(payload, event_type=event_type, content_type="application/json")

    yield said("messageStart", role="assistant")
    for index in range(0, len(text), 4):
        yield said("contentBlockDelta", contentBlockIndex=0, delta={"text": text[index : index + 4]})
    yield said("contentBlockStop", contentBlockIndex=0)
    for index, made in enumerate(calls, 1):
        start = {"toolUse": {key: made[key] for key in ("toolUseId", "name")}}
        yield said("contentBlockStart", contentBlockIndex=index, start=start)
        written = json.dumps(made["input"])
        for piece in (written[:5], written[5:]):
            yield said("contentBlockDelta", contentBlockIndex=index, delta={"toolUse": {"input": piece}})
        yield said("contentBlockStop", contentBlockIndex=index)
    yield said("messageStop", stopReason="tool_use" if calls else "end_turn")
    yield said("metadata", usage=BEDROCK_USAGE, metrics={"latencyMs": 12})


def invoked(payload: Any) -> bytes:
    """A vendor's event within InvokeModel's."""
    wrapped = {"bytes": base64.b64encode(json.dumps(payload).encode()).decode(), "p": "abc"}
    return amazon_message(wrapped, event_type="chunk", content_type="application/json")


def invoked_stream(body: dict[str, Any]) -> Iterator[bytes]:
    """Anthropic's stream, of which the last event counts the tokens."""
    events = [
        json.loads(written.partition(b"data: ")[2])
        for written in messages_stream(body)
        if b"data: " in written
    ]
    metrics = {"inputTokenCount": 9, "outputTokenCount": 5, "invocationLatency": 12, "firstByteLatency": 3}
    events[-1]["amazon-bedrock-invocationMetrics"] = metrics
    yield from map(invoked, events)
