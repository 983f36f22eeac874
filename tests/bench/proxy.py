"""What the proxy costs: the same calls directly, through bare relays, through it without recording, and recorded.

    python -m tests.bench.proxy [--calls 2000] [--streams 48]

All in one run on one machine, in turns, so that the ratios mean something where absolute times do not. A stream has
200 events 5 ms apart, eight streams at a time; each event carries the time it was sent. CPU is that of the process
between client and provider; `pipe` and `bare` are those of tests.bench.bare_relay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

EVENTS = 200
PACE_S = 0.005
TOGETHER = 8
ROUNDS = 4
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "model": "gpt-4o-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x" * 1700}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 300, "completion_tokens": 400, "total_tokens": 700},
    }
).encode()


async def _provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            body = await reader.readexactly(length)
            if b'"stream"' not in body:
                content = b"" if b"/v1/traces" in head[:200] else ANSWER
                kind = b"application/x-protobuf" if not content else b"application/json"
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s"
                    % (kind, len(content), content)
                )
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            begun = time.monotonic()
            for number in range(EVENTS):
                await asyncio.sleep(max(0.0, begun + number * PACE_S - time.monotonic()))
                delta = {"content": f"token {number} "}
                data = {
                    "id": "c",
                    "model": "m",
                    "at": time.monotonic_ns(),
                    "choices": [{"index": 0, "delta": delta}],
                }
                event = b"data: " + json.dumps(data).encode() + b"\n\n"
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            end = b"data: [DONE]\n\n"
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end), end))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _serve(port: multiprocessing.Queue) -> None:  # type: ignore[type-arg]  # not generic at run time
    async def run() -> None:
        server = await asyncio.start_server(_provider, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _request(path: str, body: bytes, extra: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{extra}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _calls(port: int, path: str, extra: str, count: int) -> list[float]:
    """Milliseconds of each of so many calls, one after the other."""
    message = {"role": "user", "content": "y" * 1500}
    request = _request(path, json.dumps({"model": "gpt-4o-mini", "messages": [message]}).encode(), extra)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        await reader.readexactly(length)
        took.append((time.perf_counter() - begun) * 1000)
    writer.close()
    return took


async def _stream(port: int, path: str, extra: str) -> list[float]:
    """Milliseconds that each event was on its way."""
    request = _request(path, b'{"model": "m", "stream": true, "messages": []}', extra)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    delays = []
    buffered = b""
    while b"0\r\n\r\n" not in buffered[-8:]:
        piece = await reader.read(65536)
        now = time.monotonic_ns()
        buffered += piece
        for part in piece.split(b'"at": ')[1:]:
            delays.append((now - int(part.partition(b",")[0])) / 1e6)
    writer.close()
    return delays


async def _streams(port: int, path: str, extra: str, count: int) -> list[float]:
    delays: list[float] = []
    for _ in range(count // TOGETHER):
        for found in await asyncio.gather(*(_stream(port, path, extra) for _ in range(TOGETHER))):
            delays += found
    return delays


def _bare(kind: str, provider: int) -> tuple[subprocess.Popen[str], int]:
    """A relay of `tests.bench.bare_relay`, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_relay", kind, str(provider)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.streams < TOGETHER * ROUNDS:
        parser.error(f"--streams: at least {TOGETHER * ROUNDS}")
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    provider = multiprocessing.Process(target=_serve, args=(ports,), daemon=True)
    provider.start()
    port = ports.get()
    with tempfile.TemporaryDirectory() as directory:
        proxy = subprocess.Popen(
            [sys.executable, "-m", "collector.cli", "proxy", "--data-dir", directory, "--listen", "127.0.0.1:0",
             "--collector", f"http://127.0.0.1:{port}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert proxy.stdout is not None
        listening = int(proxy.stdout.readline().rpartition(":")[2])
        through = f"/openai/http/127.0.0.1:{port}/v1/chat/completions"
        bare = {name: _bare(name, port) for name in ("pipe", "relay")}
        ways = {
            "direct": (provider.pid or 0, port, "/v1/chat/completions", ""),
            "pipe": (bare["pipe"][0].pid, bare["pipe"][1], "/v1/chat/completions", ""),
            "bare": (bare["relay"][0].pid, bare["relay"][1], "/v1/chat/completions", ""),
            "relayed": (proxy.pid, listening, through, "x-loop-capture: off\r\n"),
            "recorded": (proxy.pid, listening, through, ""),
        }
        for _, *way in ways.values():
            asyncio.run(_calls(*way, 200))
        calls: dict[str, list[float]] = {name: [] for name in ways}
        delays: dict[str, list[float]] = {name: [] for name in ways}
        call_s: Counter[str] = Counter()
        stream_s: Counter[str] = Counter()
        for _ in range(ROUNDS):
            for name, (pid, *way) in ways.items():
                before = _cpu_s(pid)
                calls[name] += asyncio.run(_calls(*way, arguments.calls // ROUNDS))
                time.sleep(0.5)
                between = _cpu_s(pid)
                delays[name] += asyncio.run(_streams(*way, arguments.streams // ROUNDS))
                time.sleep(0.5)
                call_s[name] += between - before
                stream_s[name] += _cpu_s(pid) - between
        print("            call p50    p99 ms   CPU ms   event p50    p99 ms  CPU ms/stream")
        for name in ways:
            per_call = call_s[name] * 1000 / arguments.calls
            per_stream = stream_s[name] * 1000 / arguments.streams
            print(
                f"{name:10} {_percentile(calls[name], 50):9.3f} {_percentile(calls[name], 99):9.3f} {per_call:8.3f}"
                f"   {_percentile(delays[name], 50):9.3f} {_percentile(delays[name], 99):9.3f} {per_stream:14.2f}"
            )
        resident = int(Path(f"/proc/{proxy.pid}/statm").read_text().split()[1]) * 4096 / 2**20
        print(f"resident {resident:.0f} MiB")
        for process in (proxy, *(process for process, _ in bare.values())):
            process.terminate()
            process.wait()
    provider.terminate()


if __name__ == "__main__":
    main()
