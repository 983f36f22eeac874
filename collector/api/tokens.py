"""Keys over the API: what a new one may be, and whose are whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collector.api.problems import Problem
from collector.gate import Caller
from collector.keys import Key, Scope

MAX_NAME = 200
KNOWN = ("name", "scopes", "project", "tenant")


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
        texts[field] = body.get(field) or ""
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
