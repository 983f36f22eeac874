"""Ids of runs as people write them: whole, or as much of one as says which run is meant."""

from __future__ import annotations

import re

from collector.commands.client import Client, Query
from collector.commands.failing import NOT_FOUND, fail
from collector.commands.output import local_time

LATEST = "latest"
"""Stands for the run that began last."""
SHORTEST = 4
"""Digits that a part of an id has at least."""
SHOWN = 5
"""Runs that are named where several are meant."""


def whole_id(client: Client, written: str) -> str:
    """The id of the run that is meant, without asking where it is whole. What begins no run's id comes back as it is,
    for the collector to say so. Ends the program if it begins those of several."""
    if written == LATEST:
        newest = client.get("/runs", {"limit": 1, "fields": "core"})["data"]
        return str(newest[0]["run_id"]) if newest else fail("there is no run yet", NOT_FOUND)
    begins = written.strip().lower().replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST},31}}", begins):
        return written
    asked: Query = {"id": f"{begins}*", "include": "all", "limit": SHOWN + 1, "fields": "core"}
    runs = client.get("/runs", asked)["data"]
    if not runs:
        return written
    if len(runs) > 1:
        lines = [
            f"the ids of {'more than ' if len(runs) > SHOWN else ''}{min(len(runs), SHOWN)} runs begin so:"
        ]
        lines += [
            f"  {run['run_id']}  {local_time(run['started_at'])}  {run['name']}" for run in runs[:SHOWN]
        ]
        fail("\n".join(lines), NOT_FOUND)
    return str(runs[0]["run_id"])
