"""Keys over the API: what a new one may be, and whose are whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Answer, Route
from collector.api.problems import Problem
from collector.api.queries import read_json
from collector.documents.models import described
from collector.doors.gate import Caller
from collector.doors.keys import Key, Keys, Scope

MAX_NAME = 200
KNOWN = ("name", "scopes", "project", "tenant")


class Token(TypedDict):
    """An API key, without its secret."""

    id: str
    prefix: str
    name: str
    scopes: list[str]
    project: str | None
    tenant: str | None
    created_at: str
    last_used_at: str | None


@described
class NewToken(Token):
    """An API key as it is made."""

    token: str
    """Shown this once."""


class TokenList(TypedDict):
    data: list[Token]


class WantedToken(TypedDict):
    """A key that is to be made."""

    name: str
    scopes: NotRequired[list[Literal["ingest", "read", "content", "delete", "admin"]]]
    project: NotRequired[str | None]
    tenant: NotRequired[str | None]


class TokenRoutes(Routes):
    def table(self) -> RouteTable:
        return [
            Route("GET", "/api/v1/tokens", self.tokens, TokenList, scope=Scope.ADMIN),
            Route(
                "POST",
                "/api/v1/tokens",
                self.create_token,
                Answer(NewToken, 201),
                scope=Scope.ADMIN,
                body=WantedToken,
            ),
            Route(
                "DELETE",
                "/api/v1/tokens/{token_id}",
                self.revoke_token,
                Answer(status=204, media=""),
                scope=Scope.ADMIN,
            ),
        ]

    async def tokens(self, request: Request) -> Response:
        """API keys, without their secrets."""
        await self.renewed()
        keys = await self.read(self._keys.all)
        return json_response({"data": [key.document() for key in keys if is_theirs(caller_of(request), key)]})

    async def create_token(self, request: Request) -> Response:
        """A new API key: `{"name": …, "scopes": […], "project": …, "tenant": …}`; its `token` is shown this once."""
        wanted = read_wanted(await read_json(request), caller_of(request))
        key, secret = await self.read(
            lambda: self._keys.create(
                wanted.name, wanted.scopes, project=wanted.project, tenant=wanted.tenant
            )
        )
        return json_response(key.document() | {"token": secret}, 201)

    async def revoke_token(self, request: Request) -> Response:
        """Revokes an API key; it is refused within a second."""
        token_id = request.path_params["token_id"]
        keys = await self.read(self._keys.all)
        theirs = any(key.id == token_id and is_theirs(caller_of(request), key) for key in keys)
        if not theirs or not await self.read(self._keys.revoke, token_id):
            raise Problem(404, f"There is no token {token_id!r}; ids are listed at /api/v1/tokens.")
        return Response(status_code=204)

    @property
    def _keys(self) -> Keys:
        if self.api.keys is None:
            raise Problem(404, "No keys are kept here.")
        return self.api.keys


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key that is to be made."""

    name: str
    scopes: list[Scope]
    project: str
    tenant: str


def is_theirs(caller: Caller, key: Key) -> bool:
    """Whether the caller may see and revoke the key: those of their own tenant and project."""
    if not caller.key_id:
        return True
    return key.tenant == caller.tenant and caller.project in ("", key.project)


def read_wanted(body: Any, caller: Caller) -> Wanted:
    """What the body asks for, within what the caller has.

    Raises: Problem.
    """
    if not isinstance(body, dict):
        raise Problem(400, "The body must be an object.")
    if unknown := sorted(set(body) - set(KNOWN)):
        raise Problem(400, f"{unknown[0]!r} is not known; there are {', '.join(KNOWN)}.")
    texts = {}
    for field in ("name", "project", "tenant"):
        texts[field] = "" if body.get(field) is None else body[field]
        if not isinstance(texts[field], str):
            raise Problem(400, f"{field} must be text.")
        if len(texts[field]) > MAX_NAME or not texts[field].isprintable():
            raise Problem(400, f"{field} must be one line of at most {MAX_NAME} characters.")
    if not texts["name"]:
        raise Problem(400, "A token needs a name, to know it by.")
    given = body.get("scopes", [Scope.INGEST])
    try:
        scopes = [Scope(scope) for scope in given]
    except (ValueError, TypeError):
        raise Problem(400, f"scopes is a list of {', '.join(Scope)}.") from None
    if not scopes:
        raise Problem(400, f"A token needs a scope: {', '.join(Scope)}.")
    if caller.key_id:  # an administrator of one tenant or project makes keys for that one
        if texts["tenant"] not in ("", caller.tenant) or (
            caller.project and texts["project"] not in ("", caller.project)
        ):
            raise Problem(403, "This key may make keys of its own tenant and project only.")
        texts |= {"tenant": caller.tenant, "project": caller.project or texts["project"]}
    return Wanted(texts["name"], scopes, texts["project"], texts["tenant"])
