"""The configuration as it holds, without its secrets."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ByteSize

from collector.config.settings import DOORS, Settings, Webhook

REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(r"(?:^|_)(?:token|password|secret|key|named_keys|headers|authorization)$")


_URL_SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=\?)\S+")
"""User and password, and what is asked for, which may be a key."""


def redacted(settings: Settings) -> dict[str, Any]:
    """The configuration as a document that can be shown, and loaded again but for its secrets."""
    shown: dict[str, Any] = _shown("", settings)
    for path in DOORS.values():
        door = shown
        for part in path[:-1]:
            door = door[part]
        door[path[-1]] = door[path[-1]] or "off"
    return shown


def printed(settings: Settings) -> str:
    """The same as YAML."""
    import yaml

    return str(yaml.safe_dump(redacted(settings), sort_keys=False))


def _shown(name: str, value: Any) -> Any:
    if value and isinstance(value, (str, dict)) and _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, Webhook):
        shown = {key: _shown(key, getattr(value, key)) for key in Webhook.model_fields if key != "url"}
        return {"url": f"{value.server}/{REDACTED}"} | shown
    if isinstance(value, BaseModel):
        return {key: _shown(key, getattr(value, key)) for key in type(value).model_fields}
    if isinstance(value, dict):
        return {key: _shown(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(name, item) for item in value]
    if isinstance(value, ByteSize):
        return next(
            (f"{value >> bits}{unit}" for bits, unit in _UNITS if value and value % (1 << bits) == 0),
            int(value),
        )
    if isinstance(value, str):
        return _URL_SECRETS.sub(REDACTED, value) if "://" in value else value
    return value if isinstance(value, (bool, int, float, type(None))) else str(value)


_UNITS = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
