"""Deletion: runs by id or by what they have in common, with a receipt."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import RUN, Routes, RouteTable, caller_of, json_response, within_project
from collector.api.declaring import Answer, Route
from collector.api.parameters import Parameter, Parameters, Type
from collector.api.problems import Problem, invalid
from collector.api.queries import MAX_IDS, read_json
from collector.documents.models import described
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from collector.upkeep.erasure import Asked, Erasures, State
from sinks.clickhouse import RunFilter, erasing
from sinks.filter import Compare, Condition, Every

CHOOSING = ("user", "session", "project")
BEFORE = Parameter("before", "runs that began before this time", Type.TIME)
FILTER = (*CHOOSING, "before", "run_ids")
KNOWN = ("filter", "dry_run", "reason")
MAX_REASON = 1000
WAIT_S = 10.0
"""How long the deletion of one run is waited for, less than clients wait; it goes on all the same."""
LOOK_S = 0.05


@described
class DeletedRows(TypedDict):
    """How many of each kind."""

    runs: int
    warnings: int
    events: int
    spans: int
    logs: int
    exchanges: int
    """Calls as they passed the proxy."""
    annotations: int
    dead_letters: NotRequired[int]
    quarantined: NotRequired[int]


class RemainingRows(TypedDict):
    """How many of each kind were found when all was done."""

    runs: int
    run_rows: int
    """Of the tables that runs are found by, too."""
    run_values: int
    warnings: int
    events: int
    spans: int
    logs: int
    exchanges: int
    annotations: int
    journal: int
    quarantine: int
    dead_letters: int


@described
class Deletion(TypedDict):
    """The receipt of a deletion."""

    deletion_id: str
    state: Literal["accepted", "hidden", "purged"]
    """Nothing is taken any more; nobody can read them; nothing is left."""
    filter: dict[str, str]
    """Which runs; who was meant only as a hash."""
    reason: str | None
    requested_by: str | None
    """Id of the key."""
    requested_at: str | None
    hidden_at: str | None
    purged_at: str | None
    waits_for: str | None
    """What a deletion that goes on waits for."""
    matched: DeletedRows | None
    verified: RemainingRows | None
    not_covered: list[str]


class ExpectedDeletion(TypedDict):
    """What a deletion would delete."""

    dry_run: Literal[True]
    matched: DeletedRows


class DeletionFilter(TypedDict, total=False):
    """Which runs; all that is given must hold."""

    user: str
    session: str
    project: str
    before: str
    run_ids: list[str]


class WantedDeletion(TypedDict):
    """What is to be deleted."""

    filter: DeletionFilter
    dry_run: NotRequired[bool]
    reason: NotRequired[str]


class DeletionRoutes(Routes):
    def table(self) -> RouteTable:
        deleted = (Answer(Deletion), Answer(Deletion, 202, purpose="It goes on."))
        return [
            Route("DELETE", RUN, self.delete_run, deleted, scope=Scope.DELETE),
            Route(
                "POST",
                "/api/v1/deletions",
                self.delete_runs,
                (Answer(Deletion, 202), Answer(ExpectedDeletion, purpose="With `dry_run`.")),
                scope=Scope.DELETE,
                body=WantedDeletion,
            ),
            Route(
                "GET",
                "/api/v1/deletions/{deletion_id}",
                self.deletion,
                Deletion,
                scope=Scope.DELETE,
            ),
        ]

    async def delete_run(self, request: Request) -> Response:
        """Deletes a run, and runs whose calls are counted in it; answers with the receipt once nothing is left."""
        run = await self.run_of(request)
        wanted = RunFilter(tenant=run.tenant, run_ids=(run.run_id,), include_all=True)
        caller = caller_of(request)
        asked = Asked(wanted, caller.project, {"run_ids": run.run_id}, by=caller.key_id)
        deletion = await self.read(self._erasures.ask, asked)
        give_up_at = time.monotonic() + WAIT_S
        while deletion.state != State.PURGED and time.monotonic() < give_up_at:
            await asyncio.sleep(LOOK_S)
            deletion = await self.read(self._of_tenant, deletion.tenant, deletion.deletion_id)
        return self._receipt(deletion, 200 if deletion.state == State.PURGED else 202)

    async def delete_runs(self, request: Request) -> Response:
        """Deletes the runs of a user, session or project, of before a time, or some by id; `dry_run` only counts."""
        body = await read_json(request)
        caller = caller_of(request)
        if unknown := sorted(set(body) - set(KNOWN)):
            raise invalid(unknown[0], "is not known", KNOWN)
        chosen, wanted = self._chosen(body.get("filter"))
        dry_run, reason = body.get("dry_run", False), body.get("reason", "")
        if not isinstance(dry_run, bool):
            raise invalid("dry_run", "is neither true nor false")
        if not isinstance(reason, str) or len(reason) > MAX_REASON:
            raise invalid("reason", f"is no text of at most {MAX_REASON} characters")
        filtered = RunFilter(
            tenant=caller.tenant,
            until_ns=wanted.until_ns,
            where=within_project(request, wanted.where),
            include_all=True,
            run_ids=wanted.run_ids,
        )
        asked = Asked(filtered, caller.project, chosen, reason, caller.key_id)
        if dry_run:
            return json_response(
                {"dry_run": True, "matched": await self.read(self._erasures.expected, asked)}
            )
        return self._receipt(await self.read(self._erasures.ask, asked), 202)

    async def deletion(self, request: Request) -> Response:
        """The receipt of a deletion: what matched, how far it is, and what is verified to be gone."""
        caller = caller_of(request)
        deletion_id = request.path_params["deletion_id"]
        deletion = await self.read(self._erasures.deletion, caller.tenant, deletion_id)
        if deletion is None or caller.project not in ("", deletion.project):
            raise Problem(404, f"There is no deletion {deletion_id!r}.")
        return self._receipt(deletion)

    def _of_tenant(self, tenant: str, deletion_id: str) -> erasing.Deletion:
        deletion = self._erasures.deletion(tenant, deletion_id)
        assert deletion is not None
        return deletion

    def _receipt(self, deletion: erasing.Deletion, status: int = 200) -> Response:
        return _receipt(deletion, self._erasures.waits_for(deletion), status)

    @property
    def _erasures(self) -> Erasures:
        if self.api.erasures is None:
            raise Problem(404, "Nothing can be deleted here.")
        return self.api.erasures

    def _chosen(self, given: Any) -> tuple[dict[str, str], RunFilter]:
        """The filter as it was written, and what it means.

        Raises: Problem (400).
        """
        if not isinstance(given, dict) or not given:
            raise invalid("filter", "must be an object that says which runs", FILTER)
        if unknown := sorted(set(given) - set(FILTER)):
            raise invalid("filter", f"{unknown[0]!r} is not known", FILTER)
        parts: list[Condition] = []
        for name in CHOOSING:
            if name in given:
                if not isinstance(given[name], str) or not given[name]:
                    raise invalid("filter", f"{name} is no text")
                parts.append(Compare(name, "=", given[name]))
        run_ids = given.get("run_ids")
        if run_ids is not None:
            if not isinstance(run_ids, list) or not all(isinstance(one, str) for one in run_ids):
                raise invalid("filter", "run_ids is no list of ids")
            if not 0 < len(run_ids) <= MAX_IDS:
                raise invalid("filter", f"run_ids must be between 1 and {MAX_IDS}, not {len(run_ids)}")
            run_ids = [one.lower() for one in run_ids]
        before_ns = None
        if "before" in given:
            times = Parameters.of_body({"before": given["before"]}, (BEFORE,), self.api.clock_ns())
            before_ns = times.time_ns("before")
        chosen = {name: given[name] for name in (*CHOOSING, "before") if name in given}
        if run_ids is not None:
            chosen["run_ids"] = ",".join(run_ids)
        return chosen, RunFilter(until_ns=before_ns, where=Every(parts), run_ids=run_ids)


def _receipt(deletion: erasing.Deletion, waits_for: str | None, status: int = 200) -> Response:
    document = deletion.document
    times = {
        f"{what}_at": rfc3339(document[f"{what}_at_ns"]) if f"{what}_at_ns" in document else None
        for what in ("requested", "hidden", "purged")
    }
    response = json_response(
        {
            "deletion_id": deletion.deletion_id,
            "state": deletion.state,
            "filter": document["filter"],
            "reason": document["reason"],
            "requested_by": document["requested_by"],
            **times,
            "waits_for": waits_for,
            "matched": document.get("matched"),
            "verified": document.get("verified"),
            "not_covered": document["not_covered"],
        },
        status,
    )
    response.headers["Location"] = f"/api/v1/deletions/{deletion.deletion_id}"
    return response
