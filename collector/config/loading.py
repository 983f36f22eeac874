"""Fills the settings from flags, `--set`, environment, documents and defaults, in that order.

Every leaf can be set by the environment as `EDDYLINE_` + its path in capitals joined by two underscores
(`EDDYLINE_RECEIVERS__OTLP__PROTOCOLS__HTTP__ENDPOINT`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from collector.config.documents import ConfigError, merge, read_all, read_assignment
from collector.config.settings import DOORS, Settings

_FLAGS: Mapping[str, tuple[str, ...]] = {
    "data_dir": ("data_dir",),
    "upstream": ("proxy", "upstream"),
    "collector": ("proxy", "export", "endpoint"),
    "capture_file": ("logging", "capture_file"),
}
CAPTURE_VARIABLE = "WIRE_CAPTURE_FILE"
"""Sets `logging.capture_file`, as its own variable does, which is above it."""


def load(
    configs: Sequence[str | Path] = (), *, sets: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> Settings:
    """Reads and checks the configuration.

    Args:
        configs: documents, see `documents.read_all`; later ones are above earlier ones.
        sets: `a.b.c=value`, above the environment.
        flags: names of `DOORS` and `_FLAGS` with values given on the command line; None is "not given". The
            environment has the same short names (`EDDYLINE_GRPC`).

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    short: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, path in {**DOORS, **_FLAGS}.items():
        if name in DOORS and (value := os.environ.get(f"EDDYLINE_{name.upper()}")) is not None:
            _put(short, path, value)
        if (value := (flags or {}).get(name)) is not None:
            _put(given, path, value)
    if (file := os.environ.get(CAPTURE_VARIABLE)) and "EDDYLINE_LOGGING__CAPTURE_FILE" not in os.environ:
        _put(short, _FLAGS["capture_file"], file)
    for text in sets:
        short = merge(short, read_assignment(text))
    settings, wrong = _read(read_all(configs), merge(short, given))
    wrong += _unknown_variables() if settings is not None else []
    if settings is None or wrong:
        raise ConfigError("\n".join(wrong))
    return settings


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def problems_in(document: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """The configuration that a document alone makes, and what is wrong with it, a line for each thing."""
    return _read(document, None)


def _read(document: Mapping[str, Any], above: Mapping[str, Any] | None) -> tuple[Settings | None, list[str]]:
    """The settings, and what is wrong: of the document, with the environment above it and `above` over both; None:
    of the document alone."""

    class Read(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            lowest = InitSettingsSource(settings_cls, init_kwargs=dict(document))
            if above is None:
                return (lowest,)
            if isinstance(env_settings, EnvSettingsSource):  # EDDYLINE_API is a door, not the section `api`
                env_settings.env_vars = {
                    name: value
                    for name, value in env_settings.env_vars.items()
                    if name.lower().removeprefix("eddyline_") not in DOORS
                }
            return init_settings, env_settings, lowest

    try:
        return Read(**(above or {})), []
    except (ValidationError, SettingsError) as error:
        return None, _lines(error) if isinstance(error, ValidationError) else [str(error)]


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key{_advice(item['loc'])}")
        elif item["type"].startswith("byte_size"):
            lines.append(
                f"{where}: a size is a number of bytes, or a number and a unit: 512KiB, 64MiB, 10GiB"
            )
        else:
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}")
    return lines


_ELSEWHERE = {
    "exporters": "sinks",
    "extensions": "auth, api and admin",
    "processors": "memory, deriver and redaction",
    "sending_queue": "journal",
    "memory_limiter": "memory",
    "max_recv_msg_size_mib": "max_recv_msg_size, such as 64MiB",
}
"""What other collectors call things, and what they are called here."""


def _advice(location: tuple[int | str, ...]) -> str:
    """What may have been meant, and what there is."""
    model: Any = Settings
    for part in location[:-1]:
        field = model.model_fields.get(part) if _is_section(model) else None
        model = field.annotation if field is not None else None
    if not _is_section(model):
        return ""
    known = list(model.model_fields)
    wrong = str(location[-1])
    # What others call so is meant, unless it is nearly a name of ours.
    likeness = 0.8 if wrong in _ELSEWHERE else 0.6
    if meant := difflib.get_close_matches(wrong, known, n=1, cutoff=likeness):
        advice = f"; did you mean {meant[0]!r}?"
    else:
        advice = f"; here it is {_ELSEWHERE[wrong]}." if wrong in _ELSEWHERE else ";"
    return f"{advice} There are {', '.join(known)}"


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _unknown_variables() -> list[str]:
    """Variables that look like settings and are none: with a mistake in their first part, nobody would notice."""
    return [
        f"{name}: there is no setting {name.removeprefix('EDDYLINE_').partition('__')[0].lower()!r}"
        for name in sorted(os.environ)
        if name.startswith("EDDYLINE_")
        and "__" in name
        and name.removeprefix("EDDYLINE_").partition("__")[0].lower() not in Settings.model_fields
    ]
