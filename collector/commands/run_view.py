"""A run as it is shown on a terminal: what it cost, step by step what happened, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from collector.commands.output import counted, duration
from mappers.dollars import dollars

_STEPS = ("LLM", "TOOL", "HANDOFF")
_SUMS = (("input", "tokens in"), ("cache_read", "from cache"), ("output", "tokens out"))


def print_run(
    console: Console,
    run: dict[str, Any],
    events: Sequence[dict[str, Any]],
    warnings: Sequence[dict[str, Any]],
    where: str,
) -> None:
    """Documents of the API; `where` is the run's address."""
    console.print()
    lasted = "" if run["duration_ms"] is None else f"  {duration(run['duration_ms'])}"
    console.print(f"[bold]{escape(run['name'])}[/]  {run['status']}{lasted}  {run['run_id']}")
    console.print(Text(summary(run)))
    if run["error"]:
        console.print(Text(": ".join(filter(None, run["error"].values())), "red"))
    console.print(_steps(console, events))
    for warning in warnings:
        style = "bold red" if warning["category"] == "loop" else "bold yellow"
        console.print()
        console.print(Text(f"{warning['category']}: {warning['type']}, {warning['severity']}", style))
        console.print(Text(f"  {warning['message']}"))
        if warning["suggestion"]:
            console.print(Text(f"  {warning['suggestion']}"))
    console.print()
    console.print(Text(where), soft_wrap=True)
    console.print()


def summary(run: dict[str, Any]) -> str:
    """Counts, tokens, cost and models in one line; what is not known is left out."""
    counts, usage = run["counts"], run["usage"]
    parts = [
        counted(counts["llm_calls"], "LLM call"),
        counted(counts["tool_calls"], "tool call"),
        counted(counts["spans"], "span"),
    ]
    parts += [f"{usage[name]:,} {called}" for name, called in _SUMS if usage[name] is not None]
    if run["cost_usd"] is not None:
        parts.append(dollars(run["cost_usd"]))
    parts += run["models"]
    return ", ".join(parts)


def _steps(console: Console, events: Sequence[dict[str, Any]]) -> Table:
    what = 13 if console.width < 110 else 24
    side = max(10, min(40, (console.width - 45 - what) // 2))  # for what was read, and for what was written
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("ms", "event", "what", "input", "output", "tokens"):
        table.add_column(
            heading, overflow="ellipsis", no_wrap=True, justify="right" if heading == "ms" else "left"
        )
    start = _nanoseconds(events[0]["time"]) if events else 0
    for event in events:
        if event["kind"] not in _STEPS or event["type"].endswith("_started"):
            continue
        used = event["usage"]
        table.add_row(
            f"{(_nanoseconds(event['time']) - start) / 1e6:.0f}",
            event["type"],
            one_line(event["tool"] or event["model"] or event["name"], what),
            one_line(event.get("input"), side),
            one_line(event.get("output"), side),
            f"{used['input']} + {used['output']}" if used and used["input"] is not None else "",
        )
    return table


def one_line(text: str | None, width: int) -> Text:
    """A text in one line; what stands in brackets is no markup."""
    line = " ".join((text or "").split())
    return Text(line if len(line) <= width else line[: width - 1] + "…")


def _nanoseconds(time_text: str) -> int:
    seconds, _, fraction = time_text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(seconds).replace(tzinfo=UTC).timestamp()) * 10**9 + int(fraction)
