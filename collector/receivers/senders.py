"""Who sends, as headers and the client's certificate say it: the same over every transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from collector.doors.gate import KEY_HEADERS, Caller
from collector.intake.clients import client_name
from collector.intake.intake import Intake

PROJECT_HEADERS = ("x-eddyline-project", "x-loop-project", "langsmith-project", "projectname")
"""Ours, Lens Loop's, and those of exporters for LangSmith and Opik."""
TENANT_HEADER = "x-eddyline-tenant"

Name = TypeVar("Name")
Value = TypeVar("Value")


class Senders(Generic[Name, Value]):
    """Who sends over one transport.

    Args:
        name: how the transport has a header's name, of the name in small letters.
        text: what a header's value says.
        client_projects: by the names in clients' certificates.
    """

    def __init__(
        self,
        intake: Intake,
        name: Callable[[str], Name],
        text: Callable[[Value], str],
        client_projects: Mapping[str, str] | None = None,
    ) -> None:
        self._intake = intake
        self._text = text
        self._client_projects = client_projects or {}
        self._agent, self._authorization, self._tenant = map(
            name, ("user-agent", "authorization", TENANT_HEADER)
        )
        self._keys = [name(header) for header in KEY_HEADERS]
        self._projects = [name(header) for header in PROJECT_HEADERS]

    def admit(self, headers: Mapping[Name, Value], peer: str) -> Caller:
        """Whom a request comes from, or in whose name; its client is counted.

        Raises:
            UnauthenticatedError, ForbiddenError: they may not send, or not so.
        """
        self._intake.stats.saw_client(client_name(self._said(headers, [self._agent])))
        tenant = headers.get(self._tenant)
        return self._intake.authenticate(
            self._said(headers, [self._authorization]),
            self._said(headers, self._keys),
            peer,
            None if tenant is None else self._text(tenant),
        )

    def project(
        self, caller: Caller, headers: Mapping[Name, Value], names: Callable[[], Iterable[str]]
    ) -> str:
        """The project that a request belongs to: its key's, else its client's by the `names` in the certificate, else
        the one that its headers name; "" if none does."""
        if caller.project:
            return caller.project
        if self._client_projects:
            for name in names():
                if project := self._client_projects.get(name):
                    return project
        return self._said(headers, self._projects)

    def _said(self, headers: Mapping[Name, Value], names: Iterable[Name]) -> str:
        """What the first of these headers says that says anything; "" if none does."""
        for name in names:
            if value := headers.get(name):
                return self._text(value)
        return ""
