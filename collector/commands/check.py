"""The command around the check: options, output, exit code."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collector.commands.failing import fail
from collector.commands.options import asking

if TYPE_CHECKING:
    from collector.commands.client import Client

SEVERITIES = click.Choice(["info", "warning", "critical", "never"])
EX_NOTHING = 2
"""Nothing could be checked."""


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN]...")
@click.option("--since", default="", help="Runs that began since then: an RFC 3339 time, or like -1h.")
@click.option("--project", default="", help="Runs of this project.")
@click.option("--session", default="", help="Runs of this session.")
@click.option("-q", "--query", default="", help="Runs that this search text finds.")
@click.option(
    "--fail-on", type=SEVERITIES, default="warning", help="Least severe loop warning that fails. [warning]"
)
@click.option(
    "--fail-on-waste", type=SEVERITIES, default="never", help="The same for waste warnings. [never]"
)
@click.option("--fail-on-failed", is_flag=True, help="A run that failed fails the check.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="US dollars a run.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Tokens a run, read and written.")
@click.option("--max-duration", type=click.FloatRange(min=0), help="Seconds a run.")
@click.option("--max-steps", type=click.IntRange(min=0), help="Model calls, tool calls and handoffs a run.")
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML."
)
@click.option(
    "--sarif", "sarif_file", type=click.Path(path_type=Path, dir_okay=False), help="Write SARIF 2.1.0."
)
@asking
def check(
    run_ids: tuple[str, ...],
    since: str,
    project: str,
    session: str,
    query: str,
    fail_on: str,
    fail_on_waste: str,
    fail_on_failed: bool,
    max_cost: float | None,
    max_tokens: int | None,
    max_duration: float | None,
    max_steps: int | None,
    junit_file: Path | None,
    sarif_file: Path | None,
    client: Client,
) -> None:
    """Check runs for loops, cost, duration and steps, for CI.

    Checks the runs named, else those that the options select, else all. Exits 0 if all keep within what is
    allowed, 1 if one does not, 2 if nothing could be checked, 5 if no collector runs here.
    """
    from collector.check import Budgets, CheckError, Selection, junit, sarif
    from collector.check import check as judge
    from collector.commands.output import counted
    from collector.commands.run_ids import whole_id

    budgets = Budgets(
        loops=fail_on,
        waste=fail_on_waste,
        cost_usd=max_cost,
        tokens=max_tokens,
        duration_s=max_duration,
        steps=max_steps,
        failed_runs=not fail_on_failed,
    )
    ids = [whole_id(client, run_id) for run_id in run_ids]
    try:
        outcomes = judge(
            client.address, client.token, Selection(ids, since, project, session, query), budgets
        )
    except CheckError as error:
        fail(str(error), EX_NOTHING)
    try:
        if junit_file is not None:
            junit_file.write_bytes(junit(outcomes))
        if sarif_file is not None:
            sarif_file.write_text(
                json.dumps(sarif(outcomes, version("eddyline")), indent=2) + "\n", encoding="utf-8"
            )
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EX_NOTHING)
    broken = 0
    for outcome in outcomes:
        broken += bool(outcome.violations)
        name = f"{outcome.run['name']} {outcome.run['run_id']}"
        for violation in outcome.violations:
            click.echo(f"FAILED {name}: {violation.rule}: {violation.message}")
            if violation.suggestion:
                click.echo(f"       {violation.suggestion}")
        if outcome.unknown:
            click.echo(f"UNKNOWN {name}: nothing is known of its {', '.join(outcome.unknown)}")
    click.echo(f"{counted(len(outcomes), 'run')} checked, {broken} failed")
    sys.exit(1 if broken else 0)
