"""`eddyline demo`: a run captured from a real agent (LangGraph, instrumented by OpenInference) that asks for
the same weather six times, sent to a collector as if it happened now, and shown as the API tells it, with the
warning that it loops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from collector.commands.run_view import print_run
from collector.config import default_data_dir
from collector.process.endpoints import Endpoints, find

START_S = 30.0
VISIBLE_S = 10.0
WARNED_S = 3.0
"""Longest wait for the warning: who switched the detectors off waits in vain."""

# Collectors that run here are not behind a proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demo can not go on."""


def demo(data_dir: Path | None) -> None:
    """Sends the run, waits until the API has it, prints it.

    Raises:
        DemoError: no collector can be reached or started, or the run does not show.
    """
    directory = data_dir or default_data_dir()
    with _collector(directory) as (endpoints, stays):
        if not (endpoints.http and endpoints.http.startswith("http") and endpoints.api):
            raise DemoError("the collector that runs here has no HTTP receiver on a port, or no API")
        trace_id, payload = captured()
        path = f"/api/v1/runs/{trace_id}"
        try:
            token = (directory / "token").read_text(encoding="utf-8").strip()
            _request(f"{endpoints.http}/v1/traces", token, payload)
            run_url = endpoints.api + path
            _wait_for(run_url, token)
            warnings = _wait_for_warnings(run_url, token)
            run = _get(run_url, token)
            events = _get(f"{run_url}/events?fields=io", token)["data"]
        except urllib.error.HTTPError as error:
            raise DemoError(f"{error.url} answers {error.code}") from None
        except OSError as error:
            raise DemoError(f"the collector that runs here can not be asked: {error}") from None
        page = f"eddyline runs open {trace_id}"
        where = (
            f"{endpoints.api}/runs/{trace_id}\nsigned in on the page: {page}"
            if stays
            else f"kept in {directory}; on the page: eddyline serve, {page}"
        )
        print_run(Console(), run, events, warnings, where)


@contextmanager
def _collector(directory: Path) -> Iterator[tuple[Endpoints, bool]]:
    """The collector of the data directory, and whether it stays; started for the time of the demo if none runs."""
    running = find(directory)
    if running is not None:
        yield running, True
        return
    off = ["--admin", "off", "--proxy", "off"]
    ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    command = [sys.executable, "-m", "collector.cli", "serve", "--data-dir", str(directory), *ports, *off]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while (started := find(directory)) is None:
            if process.poll() is not None:
                raise DemoError("the collector did not start")
            if time.monotonic() > deadline:
                raise DemoError(f"the collector was not ready after {START_S:.0f} s")
            time.sleep(0.05)
        yield started, False
    finally:
        process.terminate()
        process.wait()


def captured() -> tuple[str, bytes]:
    """The captured request with a new trace id, new span ids and times that end now."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    captured = resources.files(__name__).joinpath("weather_agent.pb").read_bytes()
    request = ExportTraceServiceRequest.FromString(captured)
    spans = [
        span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]
    shift = time.time_ns() - max(span.end_time_unix_nano for span in spans)
    trace_id = os.urandom(16)
    ids = {span.span_id: os.urandom(8) for span in spans}
    for span in spans:
        span.trace_id = trace_id
        span.span_id = ids[span.span_id]
        span.parent_span_id = ids.get(span.parent_span_id, b"")
        span.start_time_unix_nano += shift
        span.end_time_unix_nano += shift
        for event in span.events:
            event.time_unix_nano += shift
    return trace_id.hex(), request.SerializeToString()


def _wait_for(run_url: str, token: str) -> None:
    """Raises: DemoError, HTTPError."""
    deadline = time.monotonic() + VISIBLE_S
    while time.monotonic() < deadline:
        try:
            _get(run_url, token)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        else:
            return
        time.sleep(0.05)
    raise DemoError(f"the run did not show within {VISIBLE_S:.0f} s")


def _wait_for_warnings(run_url: str, token: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + WARNED_S
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = _get(f"{run_url}/warnings", token)["data"]
    return found


def _get(url: str, token: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_request(url, token))
    return document


def _request(url: str, token: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {token}"}
    if body is not None:
        headers["Content-Type"] = "application/x-protobuf"
    request = urllib.request.Request(url, body, headers)  # noqa: S310  # always http, from endpoints.json
    with _OPENER.open(request, timeout=10) as response:
        answer: bytes = response.read()
    return answer
