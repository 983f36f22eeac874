"""`eddyline runs`, `eddyline warnings` and `eddyline open`: what is stored, from a terminal."""

from __future__ import annotations

import json
import sys
import webbrowser
from typing import Any

import click

from collector.commands.client import Client, Query, segment
from collector.commands.comparing import diff
from collector.commands.deleting import rm
from collector.commands.options import asking
from collector.commands.output import duration, listing, shown_as, write_json, write_rows
from collector.commands.run_ids import whole_id
from mappers.dollars import dollars

RUN_COLUMNS = (
    *("run_id", "started_at", "name", "status", "duration_ms", "usage.total", "cost_usd"),
    *("counts.warnings", "counts.llm_calls", "counts.tool_calls"),
)
SESSION_COLUMNS = (
    *("session_id", "project", "last_run_at", "counts.runs", "counts.llm_calls"),
    *("usage.input", "usage.output", "cost_usd", "counts.warnings"),
)
WARNING_COLUMNS = ("run_id", "last_at", "severity", "message", "wasted_cost_usd", "type", "count")


@click.group()
def runs() -> None:
    """Runs: list them, look at one, compare two, open a page, say what you think of one, delete some.

    A RUN is an id, as much of its beginning as says which run is meant, or `latest`.
    """


runs.add_command(rm)
runs.add_command(diff)


@runs.command("ls")
@click.argument("query", nargs=-1)
@listing(50)
@click.option(
    "--sort",
    type=click.Choice(["started_at", "cost", "tokens", "duration", "warnings", "last_activity"]),
    default="started_at",
    help="Largest first. [started_at]",
)
@shown_as(RUN_COLUMNS)
@asking
def list_runs(
    query: tuple[str, ...],
    since: str,
    until: str,
    limit: int,
    everything: bool,
    sort: str,
    form: str | None,
    columns: str,
    client: Client,
) -> None:
    """List runs that a search text finds, the newest first.

    QUERY is what the page's search box takes: `model:gpt-4o* status:failed cost>0.05 warn:exact_repeat`.
    """
    asked: Query = {"q": " ".join(query), "since": since, "until": until, "sort": f"-{sort}"}
    found = client.rows("/runs", asked, None if everything else limit)
    hint = "" if query or since or until else "; if some should be here, `eddyline doctor` finds out why not"
    write_rows(found, form, columns, empty=f"no runs{hint}")


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="The run, its warnings and its events as one document.")
@asking
def show(run_id: str, as_json: bool, client: Client) -> None:
    """Show a run: what it cost, what is wrong with it, and step by step what happened."""
    path = "/runs" + segment(whole_id(client, run_id))
    run = client.get(path)
    warnings = client.get(path + "/warnings")["data"]
    events = client.get(path + "/events", {"fields": "io"})["data"]
    if as_json or not sys.stdout.isatty():
        write_json({"run": run, "warnings": warnings, "events": events})
        return
    from rich.console import Console

    from collector.commands.run_view import print_run

    print_run(Console(), run, events, warnings, client.address + path)


@runs.command("open")
@click.argument("run_id", metavar="RUN")
@asking
def open_run(run_id: str, client: Client) -> None:
    """Open a run's page in the browser."""
    path = "/runs" + segment(whole_id(client, run_id))
    client.get(path)
    _open(client, path)


@click.command("open")
@asking
def open_page(client: Client) -> None:
    """Open the collector's page in the browser, signed in."""
    client.get("")
    _open(client, "/")


def _open(client: Client, path: str) -> None:
    """The token goes in the fragment, which is never sent; the page takes it from there and removes it."""
    click.echo(client.address + path)
    webbrowser.open(client.address + path + (f"#token={client.token}" if client.token else ""))


@runs.command()
@click.argument("run_id", metavar="RUN")
@click.option("--tag", "tags", multiple=True, help="Give it this tag; several times for several.")
@click.option("--untag", "untags", multiple=True, help="Take this tag from it.")
@click.option("--note", help="What there is to say of it; an empty one takes the note back.")
@click.option("--pin/--unpin", "pinned", default=None, help="Keep it for ever, or no longer.")
@asking
def annotate(
    run_id: str,
    tags: tuple[str, ...],
    untags: tuple[str, ...],
    note: str | None,
    pinned: bool | None,
    client: Client,
) -> None:
    """Give a run tags or a note, or pin it so that retention leaves it."""
    path = "/runs" + segment(whole_id(client, run_id))
    body: dict[str, object] = {}
    if tags or untags:
        given = client.get(path + "/annotation")["tags"]
        body["tags"] = [tag for tag in dict.fromkeys([*given, *tags]) if tag not in untags]
    if note is not None:
        body["note"] = note
    if pinned is not None:
        body["pinned"] = pinned
    if not body:
        raise click.UsageError("say what: --tag, --untag, --note, --pin or --unpin")
    run = client.patch(path, body)
    click.echo(f"{run['name']}: {', '.join(run['tags']) or 'no tags'}{', pinned' if run['pinned'] else ''}")
    if run["note"]:
        click.echo(run["note"])


@click.group()
def warnings() -> None:
    """Loop and waste warnings of all runs."""


@warnings.command("ls")
@listing(50)
@click.option("--type", "kinds", default="", help="Of these types: exact_repeat,cycle.")
@click.option("--severity", default="", help="info, warning, critical.")
@click.option("--category", default="", help="loop or waste.")
@click.option("--project", default="", help="Of these projects.")
@shown_as(WARNING_COLUMNS)
@asking
def list_warnings(
    since: str,
    until: str,
    limit: int,
    everything: bool,
    kinds: str,
    severity: str,
    category: str,
    project: str,
    form: str | None,
    columns: str,
    client: Client,
) -> None:
    """List warnings, the latest first."""
    asked: Query = {
        "since": since,
        "until": until,
        "type": kinds,
        "severity": severity,
        "category": category,
        "project": project,
    }
    found = client.rows("/warnings", asked, None if everything else limit)
    write_rows(found, form, columns, empty="no warnings")


@click.group()
def sessions() -> None:
    """Conversations over runs."""


@sessions.command("ls")
@click.argument("query", nargs=-1)
@listing(50)
@shown_as(SESSION_COLUMNS)
@asking
def list_sessions(
    query: tuple[str, ...],
    since: str,
    until: str,
    limit: int,
    everything: bool,
    form: str | None,
    columns: str,
    client: Client,
) -> None:
    """List sessions of the runs that a search text finds, those with the latest runs first."""
    asked: Query = {"q": " ".join(query), "since": since, "until": until}
    found = client.rows("/sessions", asked, None if everything else limit)
    write_rows(found, form, columns, empty="no sessions")


@sessions.command("show")
@click.argument("session_id")
@click.option("--project", default="", help="The session's project, where several have a session of that id.")
@shown_as(RUN_COLUMNS)
@asking
def show_session(
    session_id: str,
    project: str,
    form: str | None,
    columns: str,
    client: Client,
) -> None:
    """List the runs of a session, the latest first."""
    path = "/sessions" + segment(session_id)
    found = client.rows(path, {"project": project}, None)
    write_rows(found, form, columns, empty="no runs")


@click.command()
@click.argument("query", nargs=-1)
@click.option("--types", default="", help="run, event, warning; several by commas. [all]")
@click.option("--content", is_flag=True, help="With inputs and outputs.")
@click.option("--run", "run_id", default="", help="Of this run alone.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@click.option(
    "--format", "form", type=click.Choice(["line", "json"]), help="[default: line on a terminal, else json]"
)
@asking
def tail(
    query: tuple[str, ...],
    types: str,
    content: bool,
    run_id: str,
    count: int | None,
    form: str | None,
    client: Client,
) -> None:
    """Show runs, events and warnings as they are stored.

    QUERY narrows it as in `eddyline runs ls`.
    """
    as_json = (form or ("line" if sys.stdout.isatty() else "json")) == "json"
    asked: Query = {"types": types, "fields": "io" if content else ""}
    if not run_id:
        asked = {**asked, "q": " ".join(query)}
    path = f"/runs{segment(whole_id(client, run_id))}/stream" if run_id else "/stream"
    seen = 0
    try:
        for told in client.lines(path, asked):
            click.echo(json.dumps(told, ensure_ascii=False) if as_json else told_line(told))
            seen += 1
            if seen == count:
                return
    except KeyboardInterrupt:
        return


def told_line(told: dict[str, Any]) -> str:
    """What a stream tells, in one line."""
    data = told["data"]
    if "missed" in data:
        return f"… {data['missed']} more"
    parts = [
        data.get("time") or data.get("started_at") or data.get("last_at"),
        told["event"],
        data.get("run_id", "")[:8],
        data.get("message") or data.get("tool") or data.get("model") or data.get("name"),
        data.get("status") or data.get("severity"),
        duration(data["latency_ms"]) if data.get("latency_ms") is not None else None,
        dollars(data["cost_usd"]) if data.get("cost_usd") else None,
    ]
    return "  ".join(" ".join(str(part).split()) for part in parts if part)
