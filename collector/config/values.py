"""Values of settings as people write them — `200ms`, `HOST:PORT`, `off` — and what all sections have in common."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.match(value)
        if not match:
            raise ValueError("a duration is a number and a unit: 200ms, 5s, 10m, 1h")
        return float(match[1]) * _SECONDS[match[2]]
    return value


MAX_SOCKET_PATH = 100
"""Bytes; the system takes no more than 107."""
_ENDPOINT = re.compile(r"^(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]*):)?(?P<port>\d{1,5})$")


def _endpoint(value: object) -> object:
    """`HOST:PORT` or `PORT` as `HOST:PORT`; `off` as None."""
    if value is None or (isinstance(value, str) and value.strip().lower() == "off") or value is False:
        return None  # YAML reads a bare `off` as false
    match = _ENDPOINT.match(str(value).strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError("an endpoint is HOST:PORT, or `off`; port 0 takes a free one")
    return f"{match['host'] or '127.0.0.1'}:{match['port']}"


def _or_unix_socket(value: object) -> object:
    """As `_endpoint`, or `unix:/path/of.sock`."""
    if isinstance(value, str) and value.strip().startswith("unix:"):
        path = value.strip().removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > MAX_SOCKET_PATH:
            raise ValueError(f"a Unix socket is unix:/ABSOLUTE/PATH, of at most {MAX_SOCKET_PATH} bytes")
        return f"unix:{path}"
    return _endpoint(value)


def bare_off(value: object) -> object:
    """YAML reads a bare `off` as false."""
    if isinstance(value, dict):
        return {key: bare_off(item) for key, item in value.items()}
    return "off" if value is False else value


def _mode(value: object) -> object:
    """Permissions as they are written, in octal digits."""
    text = f"{value:o}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError('permissions are three octal digits, in quotes: "0660"')
    return text.rjust(4, "0")


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
Endpoint = Annotated[str | None, BeforeValidator(_endpoint)]
OtlpEndpoint = Annotated[str | None, BeforeValidator(_or_unix_socket)]


Permissions = Annotated[str, BeforeValidator(_mode)]


class Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )
