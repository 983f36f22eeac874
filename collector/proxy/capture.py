"""What is kept of a call: by configuration, by project, by what the client allows; and how keys are named.

Secrets within what is kept are masked where everything else's are, before it is stored.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson

from collector.config import ProxyCapture
from collector.proxy.context import Context

_KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")
_LEVELS = ("off", "meta", "full")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]{2,8192})\.[A-Za-z0-9_-]*")
MAX_KNOWN = 1024
"""Paths of which it is remembered whether they are skipped: clients ask for few, each of them often."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept of one call."""

    input: bool
    output: bool
    tokens: bool
    cost: bool
    salt: bytes
    names: Mapping[str, str] = field(default_factory=dict)
    """Names that keys were given, by their hash."""

    def key_name(self, headers: Mapping[bytes, str], query_key: str = "") -> str:
        """The name that the API key of a request was given; "" if it has none."""
        return self.names.get(self.key_hash(headers, query_key), "") if self.names else ""

    def key_hash(self, headers: Mapping[bytes, str], query_key: str = "") -> str:
        """A name for the API key of a request that is the same for each way of sending it, and that nobody can
        make of a list of keys without our salt; "" if there is none. Tokens that are signed anew every hour have the
        name of whom they are for."""
        key = next((value for name in _KEY_HEADERS if (value := headers.get(name))), query_key)
        if not key:
            scheme, _, value = headers.get(b"authorization", "").partition(" ")
            key = value.strip() or scheme
        if key.startswith("eyJ"):
            key = _subject(key) or key
        return hmac.digest(self.salt, key.encode(errors="replace"), "sha256").hex()[:16] if key else ""


def _subject(token: str) -> str:
    """Whom a JSON Web Token is for, and who says so; "" if it does not tell."""
    if not (match := _JWT.fullmatch(token)):
        return ""
    try:
        claims: Any = orjson.loads(urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)))
    except ValueError:
        return ""
    if not isinstance(claims, dict) or not isinstance(claims.get("sub"), str):
        return ""
    return f"{claims.get('iss')}\0{claims['sub']}"


class Capture:
    """Decides what is kept.

    Args:
        salt: of this installation, for the names of keys.
    """

    def __init__(self, settings: ProxyCapture, salt: bytes) -> None:
        self._settings = settings
        self._salt = salt
        self._skipped: dict[str, bool] = {}
        unnamed = Policy(False, False, False, False, salt)
        self._names = {unnamed.key_hash({}, key): name for name, key in settings.named_keys.items() if key}

    def wants(self, method: str, path: str, context: Context) -> bool:
        """Whether the call becomes a span."""
        return method == "POST" and self.allows(path, context)

    def allows(self, path: str, context: Context) -> bool:
        """Whether anything is kept of a call to this path."""
        return self.level(context) != "off" and not self._skips(path)

    def _skips(self, path: str) -> bool:
        skipped = self._skipped.get(path)
        if skipped is None:
            skipped = any(fnmatchcase(path, pattern) for pattern in self._settings.skip)
            if len(self._skipped) >= MAX_KNOWN:
                self._skipped.clear()
            self._skipped[path] = skipped
        return skipped

    def level(self, context: Context) -> str:
        """off | meta | full: the least of what is configured and what the client allows."""
        configured = self._settings.projects.get(context.project, self._settings.content)
        return min(configured, context.capture, key=_LEVELS.index)

    def policy(self, context: Context) -> Policy:
        full = self.level(context) == "full"
        settings = self._settings
        return Policy(
            full and settings.input,
            full and settings.output,
            settings.tokens,
            settings.cost,
            self._salt,
            self._names,
        )


def installation_salt(directory: Path) -> bytes:
    """The salt of this installation, made on first use; only its owner can read it (0600)."""
    file = directory / "proxy-salt"
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_bytes()
    salt = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(salt)
    return salt
