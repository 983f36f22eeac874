"""The proxy alone: what it sees reaches a collector elsewhere, also one that was away for a while."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from collector.otlp import decode_traces
from tests.provider import Answer, Provider, Seen
from tests.server import COMMAND, dumped_bytes
from tests.waiting import until

ASKED = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def sidecar(data_dir: Path, collector: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [
        *COMMAND,
        "proxy",
        "--data-dir",
        str(data_dir),
        "--listen",
        "127.0.0.1:0",
        "--collector",
        collector,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().rpartition(" ")[2].strip()
        assert dumped_bytes(process.pid) == 0
        yield url, process
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors


def received(provider: Provider, count: int) -> list[Seen]:
    def traces() -> list[Seen]:
        return [seen for seen in provider.seen if seen.target == "/v1/traces"]

    until(lambda: len(traces()) >= count, lambda: [seen.target for seen in provider.seen])
    return traces()


def test_spans_go_to_the_collector_and_are_tried_again(data_dir: Path, provider: Provider) -> None:
    with sidecar(data_dir, provider.url) as (url, process):
        resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
        assert resident < 80 << 20
        provider.script += [lambda seen: Answer.json({"id": "x"}), Answer.json({}, 503), Answer.json({}, 200)]
        target = f"{url}/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
        assert httpx.post(target, json=ASKED, headers={"X-Loop-Project": "p"}).json() == {"id": "x"}
        first, second = received(provider, 2)
        assert first.body == second.body
        assert first.header("x-loop-project") == "p"
        assert [span.name for span in decode_traces(second.body)] == ["session", "chat gpt-4o-mini"]


def test_otlp_passes_on_to_the_collector(data_dir: Path, provider: Provider) -> None:
    with sidecar(data_dir, provider.url) as (url, _):
        provider.script.append(Answer([b""], 200, [("content-type", "application/x-protobuf")], length=True))
        headers = {"content-type": "application/x-protobuf", "x-loop-project": "p"}
        assert httpx.post(f"{url}/otel/v1/traces", content=b"spans", headers=headers).status_code == 200
        (seen,) = received(provider, 1)
        assert (seen.body, seen.header("x-loop-project")) == (b"spans", "p")


def test_a_collector_that_is_away_costs_the_traffic_nothing(data_dir: Path, provider: Provider) -> None:
    with sidecar(data_dir, "http://127.0.0.1:9") as (url, _):
        target = f"{url}/openai/http/127.0.0.1:{provider.port}/v1/chat/completions"
        assert httpx.post(target, json=ASKED).status_code == 200
        assert httpx.post(f"{url}/otel/v1/traces", content=b"spans").status_code == 503
