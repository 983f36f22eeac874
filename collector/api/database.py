"""The database: what it holds and does, how long what is kept, and work that is asked of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from collector.api import database_documents as documents
from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Answer, Route, parameters_of
from collector.api.parameters import Parameter, Parameters, Type
from collector.api.problems import Problem, invalid
from collector.api.queries import read_json
from collector.documents.render import rfc3339
from collector.doors.keys import Scope
from collector.upkeep.jobs import BusyError, Jobs
from collector.upkeep.retention import Policy, PolicyError, Retention

DB = "/api/v1/db"
DRY_RUN = Parameter("dry_run", "only say what would be deleted", Type.FLAG)
SINCE = Parameter("since", "runs that began since then", Type.TIME)


class DatabaseRoutes(Routes):
    def table(self) -> RouteTable:
        admin = Scope.ADMIN
        return [
            Route("GET", DB, self.database, documents.Database, scope=admin),
            Route("GET", DB + "/retention", self.retention, documents.Retention, scope=admin),
            Route(
                "PUT",
                DB + "/retention",
                self.set_retention,
                documents.Retention,
                scope=admin,
                parameters=(DRY_RUN,),
                body=documents.RetentionPolicy,
            ),
            Route("GET", DB + "/redaction", self.redaction, documents.Redaction, scope=admin),
            Route("GET", DB + "/job", self.job, documents.LastJob, scope=admin),
            Route(
                "POST",
                DB + "/compact",
                self.compact,
                Answer(documents.Job, 202),
                scope=admin,
                problems=(409,),
            ),
            Route(
                "POST",
                DB + "/remap",
                self.remap,
                Answer(documents.Job, 202),
                scope=admin,
                body=documents.WantedRemap,
                problems=(409,),
            ),
        ]

    async def database(self, request: Request) -> Response:
        """What each table takes, the schema's version, and the merges and mutations that run."""
        _need_everything(request)
        reader = self.api.reader
        merges, mutations = await self.read(reader.busy)
        tables = await self.read(reader.tables)
        return json_response(
            {
                "schema_version": await self.read(reader.schema_version),
                "bytes": sum(table["bytes"] for table in tables),
                "merges": merges,
                "mutations": mutations,
                "tables": tables,
            }
        )

    async def retention(self, request: Request) -> Response:
        """How long what is kept, what that would delete now, and what it did last."""
        _need_everything(request)
        return json_response(await self.read(self._retention_of, await self.read(self._retention.policy)))

    async def set_retention(self, request: Request) -> Response:
        """Changes how long what is kept: days by kind and bytes in all, null for no bound; what is not given stays."""
        _need_everything(request)
        before = await self.read(self._retention.policy)
        try:
            policy = before.changed(await read_json(request))
        except PolicyError as error:
            raise invalid(error.name, str(error)) from None
        document = await self.read(self._retention_of, policy)
        if not parameters_of(request).flag("dry_run"):
            await self.read(self._retention.set, policy, caller_of(request).key_id)
        return json_response(document)

    async def redaction(self, request: Request) -> Response:
        """What is masked and what is not stored at all, as the configuration says."""
        _need_everything(request)
        return json_response(self.api.redaction("traces").settings.model_dump(mode="json"))

    async def job(self, request: Request) -> Response:
        """The job that runs, else the last one."""
        _need_everything(request)
        return json_response({"job": documents.job_document(self._jobs.last) if self._jobs.last else None})

    async def compact(self, request: Request) -> Response:
        """Begins to merge the parts of every table."""
        _need_everything(request)
        return await self._begun(self._jobs.compact)

    async def remap(self, request: Request) -> Response:
        """Begins to map the stored spans of runs since a time anew, as today's mappers read them."""
        _need_everything(request)
        parameters = Parameters.of_body(await read_json(request), (SINCE,), self.api.clock_ns())
        since_ns = parameters.time_ns("since")
        if since_ns is None:
            raise invalid("since", "is missing")
        return await self._begun(self._jobs.remap, since_ns)

    async def _begun(self, begin: Any, *args: Any) -> Response:
        try:
            return json_response(documents.job_document(await self.read(begin, *args)), 202)
        except BusyError as error:
            raise Problem(409, f"{error}; one at a time.") from None

    def _retention_of(self, policy: Policy) -> dict[str, Any]:
        last = self._retention.last
        return {
            "policy": asdict(policy),
            "bytes": self._retention.size_bytes(),
            "would_delete": self._retention.expected(policy),
            "last": {
                "at": rfc3339(int(last["at_s"] * 10**9)),
                "deleted": last["deleted"],
                "error": last["error"],
            }
            if last
            else None,
        }

    @property
    def _retention(self) -> Retention:
        if self.api.retention is None:
            raise Problem(404, "Nothing is kept here.")
        return self.api.retention

    @property
    def _jobs(self) -> Jobs:
        if self.api.jobs is None:
            raise Problem(404, "No jobs run here.")
        return self.api.jobs


def _need_everything(request: Request) -> None:
    """Raises: Problem (403), for who has only a tenant or a project: the database is everybody's."""
    caller = caller_of(request)
    if caller.tenant or caller.project:
        raise Problem(403, "The database is everybody's: this takes a key without tenant and project.")
