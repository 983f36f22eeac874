"""`eddyline tap` and `eddyline top`: a collector that runs, looked at from a terminal."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import click

from collector.commandline import EX_UNAVAILABLE, TOKEN, URL, api_of, data_dir_option, fail

TIMEOUT_S = 30.0
"""Longer than the pause between two signs of life of a tap."""
SPEND_EVERY_S = 10.0
"""What was spent is a sum over an hour's events: not asked for each second."""

_DATA_DIR = data_dir_option("Where the collector that runs here keeps its data.")


@click.command()
@click.option("--at", type=click.Choice(["receiver", "mapper", "sink"]), default="mapper", show_default=True)
@click.option("--project", default="*", help="Of these projects; * stands for anything.")
@click.option("--name", default="*", help="What is called so; * stands for anything.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="Samples an interval. [100]")
@click.option("--interval", type=click.IntRange(100, 60_000), default=500, help="Milliseconds. [500]")
@click.option("--count", type=click.IntRange(1), help="End after so many samples.")
@click.option(
    "--format", "form", type=click.Choice(["line", "json"]), help="[default: line on a terminal, else json]"
)
@URL
@TOKEN
@_DATA_DIR
def tap(
    at: str,
    project: str,
    name: str,
    limit: int,
    interval: int,
    count: int | None,
    form: str | None,
    url: str,
    token: str,
    data_dir: Path | None,
) -> None:
    """Show samples of what passes: requests at the receiver, events from the mapper, rows at the sink.

    Secrets are masked and content that projects do not keep is left out, as in the store. The collector never waits
    for this: what is too much is counted and skipped.
    """
    as_json = (form or ("line" if sys.stdout.isatty() else "json")) == "json"
    asked = {"at": at, "project": project, "name": name, "limit": limit, "interval_ms": interval}
    seen = 0
    try:
        for sample in _samples(*api_of(url, token, data_dir), urlencode(asked)):
            click.echo(json.dumps(sample, ensure_ascii=False) if as_json else sample_line(sample))
            seen += "skipped" not in sample
            if seen == count:
                return
    except KeyboardInterrupt:
        return


def _samples(address: str, token: str, query: str) -> Iterator[dict[str, Any]]:
    """Ends the program if the collector does not let us, and quietly once the collector ends."""
    with closing(_connected(address)) as connection:
        try:
            connection.request("GET", f"/api/v1/tap?{query}", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            if response.status != 200:
                fail(_refusal(response), EX_UNAVAILABLE)
            while line := response.readline():
                if line.strip():
                    yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            fail(f"{address}: {error}", EX_UNAVAILABLE)


def sample_line(sample: dict[str, Any]) -> str:
    """A sample in one line."""
    if "skipped" in sample:
        return f"… {sample['skipped']} more"
    parts: list[Any] = [sample["signal"]]
    if sample["at"] == "receiver":
        items = sample.get("spans") or sample.get("records") or []
        names = dict.fromkeys(item.get("name") or item.get("event_name") or "-" for item in items)
        parts += [
            sample["transport"],
            f"{sample['items']} items",
            f"{sample['bytes']} bytes",
            ", ".join(names),
        ]
        return _one_line(parts)
    row = sample.get("event") or sample.get("row") or {}
    usage = row.get("usage", {})
    tokens = f"{usage['input']}+{usage.get('output', 0)} tokens" if "input" in usage else ""
    model = row.get("response_model") or row.get("request_model")
    parts += [
        sample.get("table"),
        row.get("project"),
        row.get("kind") or row.get("type"),
        row.get("convention"),
        row.get("name") or row.get("message"),
        model,
        tokens,
        row.get("status"),
        row.get("run_id") or row.get("trace_id"),
    ]
    return _one_line(parts)


def _one_line(parts: list[Any]) -> str:
    return "  ".join(" ".join(str(part).split()) for part in parts if part not in (None, ""))


# --------------------------------------------------------------------------- top


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, help="Seconds. [1]")
@click.option("--count", type=click.IntRange(1), help="End after so many intervals.")
@URL
@TOKEN
@_DATA_DIR
def top(interval: float, count: int | None, url: str, token: str, data_dir: Path | None) -> None:
    """Show rates, queues, lag, drops and spending, live. Without a terminal: a line for each interval."""
    from collector.gauges import Gauges, as_line, as_table, headings

    address, key = api_of(url, token, data_dir)
    gauges = Gauges()
    live: Any = None
    shown = 0
    spend: dict[str, Any] = {}
    spend_at = -SPEND_EVERY_S
    try:
        if sys.stdout.isatty():
            from rich.live import Live

            live = Live(auto_refresh=False)
            live.start()
        else:
            click.echo(headings())
        while True:
            now = time.monotonic()
            status = _asked(address, key, "/api/v1/status")
            if "pipeline" not in status:
                fail("only with the API token is it told what the whole collector does", EX_UNAVAILABLE)
            if now - spend_at >= SPEND_EVERY_S:
                spend_at, spend = now, _spent(address, key)
            readings = gauges.read(status, spend, now)
            if readings is not None:
                shown += 1
                if live is None:
                    click.echo(as_line(readings))
                else:
                    live.update(as_table(readings, address), refresh=True)
                if shown == count:
                    return
            time.sleep(interval)
    except KeyboardInterrupt:
        return
    finally:
        if live is not None:
            live.stop()


def _spent(address: str, token: str) -> dict[str, Any]:
    """What the last hour cost."""
    query = urlencode({"metrics": "cost_usd,llm_calls,input_tokens,output_tokens", "since": "-1h"})
    rows = _asked(address, token, f"/api/v1/aggregates?{query}")["data"]
    values: dict[str, Any] = rows[0]["values"] if rows else {}
    return values


def _asked(address: str, token: str, path: str) -> Any:
    """Ends the program if there is no answer."""
    try:
        with closing(_connected(address)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            if response.status != 200:
                fail(_refusal(response), EX_UNAVAILABLE)
            return json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        fail(f"{address}: {error}", EX_UNAVAILABLE)


def _connected(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=TIMEOUT_S)


def _refusal(response: http.client.HTTPResponse) -> str:
    """What a problem document says."""
    content = response.read()
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answered {response.status}"
