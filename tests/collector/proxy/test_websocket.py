"""WebSockets are relayed where providers have them; elsewhere clients are told to use HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve

from tests.collector.proxy.collected import Collected, said
from tests.collector.proxy.running import RunningProxy
from tests.provider import responses_stream


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
                    subprotocols=protocols,
                ) as client:  # type: ignore[arg-type]  # a NewType of str
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
