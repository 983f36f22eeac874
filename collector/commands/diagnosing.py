"""`eddyline doctor` and `eddyline wait-for-trace`: does it arrive, and if not, why."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from collector.commands.client import Client, Query
from collector.commands.config import CONFIG, SETS
from collector.commands.failing import EX_CONFIG, FINDING, NO_CONNECTION, TIMED_OUT, fail
from collector.commands.options import TOKEN, URL, asking, data_dir_option
from collector.commands.output import write_json

HEALTH_S = 5.0
"""What an answer about health may take."""

_DATA_DIR = data_dir_option("Where the collector that runs here keeps its data.")
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("-", "white")}


@click.command()
@CONFIG
@SETS
@click.option("--endpoint", default="", help="Where a program sends. [OTEL_EXPORTER_OTLP_ENDPOINT]")
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
@URL
@TOKEN
@_DATA_DIR
def doctor(
    configs: tuple[str, ...],
    sets: tuple[str, ...],
    endpoint: str,
    as_json: bool,
    url: str,
    token: str,
    data_dir: Path | None,
) -> None:
    """Find out why nothing arrives, and say what to do.

    Looks at the variables that programs started here would get, at the collector, and sends a span by each protocol
    until it can be asked for. Exits 1 if something is wrong.
    """
    from collector.config import ConfigError, load
    from collector.doctor import FAILED, Doors, diagnose
    from collector.process.endpoints import find, kept_token

    try:
        settings = load(configs, sets=sets, flags={"data_dir": data_dir})
    except ConfigError as error:
        fail(str(error), EX_CONFIG)
    directory = settings.data_dir
    here = None if url else find(directory)
    doors = Doors(
        environ=os.environ,
        endpoint=endpoint,
        http=(here and here.http) or "",
        grpc=(here and here.grpc) or "",
        proxy=(here and here.proxy) or "",
        api=url.rstrip("/") or (here and here.api) or "",
        token=token or (kept_token(directory) or "" if not url else ""),
        store=settings.sinks.clickhouse.url or "",
        directory=None if url else directory,
    )
    findings = []
    for finding in diagnose(doors):
        findings.append(finding)
        if not as_json:
            mark, colour = _MARKS[finding.state]
            click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {finding.detail}")
            if finding.fix:
                click.echo(f"    {finding.fix}")
    if as_json:
        write_json([asdict(finding) for finding in findings])
    sys.exit(FINDING if any(finding.state == FAILED for finding in findings) else 0)


@click.command()
@click.option("--alive", is_flag=True, help="Ask only whether the process answers.")
@_DATA_DIR
def healthcheck(data_dir: Path | None, *, alive: bool) -> None:
    """Ask the collector that runs here whether it is ready, for containers.

    Exits 1 if it is not, 5 if none answers.
    """
    import http.client
    from urllib.parse import urlsplit

    from collector.process.endpoints import find

    if data_dir is None:  # containers name it, and are spared the import of all settings every few seconds
        from collector.config import default_data_dir

        data_dir = default_data_dir()
    endpoints = find(data_dir)
    where = endpoints and (endpoints.admin or endpoints.api)
    if not where:
        fail("no collector runs here that can be asked", NO_CONNECTION)
    connection = http.client.HTTPConnection(urlsplit(where).netloc, timeout=HEALTH_S)
    try:
        connection.request("GET", "/healthz" if alive else "/readyz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        said = answer.read().decode().strip()
    except (OSError, http.client.HTTPException) as error:
        fail(f"{where} does not answer: {error}", NO_CONNECTION)
    if answer.status != 200:
        fail(said, FINDING)
    click.echo(said)


@click.command("wait-for-trace")
@click.argument("query", nargs=-1)
@click.option("--service", default="", help="A run of this service.")
@click.option("--project", default="", help="A run of this project.")
@click.option(
    "--since", default="", help="Also one that began since then: an RFC 3339 time, or like -5m. [now]"
)
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, help="Seconds. [60]")
@click.option("--ended", is_flag=True, help="Wait until the run is no longer running.")
@asking
def wait_for_trace(
    query: tuple[str, ...],
    service: str,
    project: str,
    since: str,
    timeout: float,
    ended: bool,
    client: Client,
) -> None:
    """Wait until a run arrives, and print it as JSON.

    QUERY narrows it as in `eddyline runs ls`. Exits 6 if none came in time; for CI and for agents that write code.
    """
    known = set() if since else {run["run_id"] for run in client.get("/runs", {"limit": 1000})["data"]}
    asked: Query = {
        "q": " ".join(query),
        "service": service,
        "project": project,
        "since": since,
        "limit": 1000 if known else 1,
    }
    deadline = time.monotonic() + timeout
    while True:
        for run in client.get("/runs", asked)["data"]:
            if run["run_id"] not in known and not (ended and run["status"] == "running"):
                write_json(run)
                return
        if time.monotonic() >= deadline:
            fail(f"no run came within {timeout:g} seconds; `eddyline doctor` finds out why", TIMED_OUT)
        time.sleep(0.2)
