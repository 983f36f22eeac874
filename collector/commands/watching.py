"""`eddyline tap` and `eddyline top`: a collector that runs, looked at from a terminal."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from collector.commands.client import Client, Query
from collector.commands.failing import NOT_ALLOWED, fail
from collector.commands.options import asking

SPEND_EVERY_S = 10.0
"""What was spent is a sum over an hour's events: not asked for each second."""


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
@asking
def tap(
    at: str,
    project: str,
    name: str,
    limit: int,
    interval: int,
    count: int | None,
    form: str | None,
    client: Client,
) -> None:
    """Show samples of what passes, as it comes.

    These are requests at the receiver, events from the mapper, rows at the sink.
    Secrets are masked and content that projects do not keep is left out, as in the store. The collector never waits
    for this: what is too much is counted and skipped.
    """
    as_json = (form or ("line" if sys.stdout.isatty() else "json")) == "json"
    asked: Query = {"at": at, "project": project, "name": name, "limit": limit, "interval_ms": interval}
    seen = 0
    try:
        for sample in client.lines("/tap", asked):
            click.echo(json.dumps(sample, ensure_ascii=False) if as_json else sample_line(sample))
            seen += "skipped" not in sample
            if seen == count:
                return
    except KeyboardInterrupt:
        return


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
@asking
def top(interval: float, count: int | None, client: Client) -> None:
    """Show rates, queues, lag, drops and spending, live.

    Without a terminal, a line for each interval.
    """
    from collector.telemetry.gauges import Gauges, as_line, as_table, headings

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
            status = client.get("/status")
            if "pipeline" not in status:
                fail("only with the API token is it told what the whole collector does", NOT_ALLOWED)
            if now - spend_at >= SPEND_EVERY_S:
                spend_at, spend = now, _spent(client)
            readings = gauges.read(status, spend, now)
            if readings is not None:
                shown += 1
                if live is None:
                    click.echo(as_line(readings))
                else:
                    live.update(as_table(readings, client.address), refresh=True)
                if shown == count:
                    return
            time.sleep(interval)
    except KeyboardInterrupt:
        return
    finally:
        if live is not None:
            live.stop()


def _spent(client: Client) -> dict[str, Any]:
    """What the last hour cost."""
    asked = {"metrics": "cost_usd,llm_calls,input_tokens,output_tokens", "since": "-1h"}
    rows = client.get("/aggregates", asked)["data"]
    values: dict[str, Any] = rows[0]["values"] if rows else {}
    return values
