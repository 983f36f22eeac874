"""Configuration documents: where they are read from, how several become one, and how references are replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from collector.config.otelcol import is_otelcol, translated


class ConfigError(Exception):
    """The configuration can not be used; the message names every place that is wrong."""


def read_all(sources: Sequence[str | Path]) -> dict[str, Any]:
    """The documents as one: maps are joined, and of anything else the last one holds.

    A source is `file:PATH` or a path, `env:NAME` (a variable that holds YAML), or `yaml:TEXT`. It may have the shape of
    the OpenTelemetry Collector's configuration (`otelcol`).

    Raises: ConfigError.
    """
    merged: dict[str, Any] = {}
    wrong: list[str] = []
    for source in sources:
        name, text = _text_of(source)
        try:
            document = _resolved(parse(text, name), "", wrong)
            merged = merge(merged, translated(document) if is_otelcol(document) else document)
        except RecursionError:
            raise ConfigError(f"{name}: it holds itself") from None
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    return merged


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both maps as one; where both have a value that is no map, the one above holds."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def read_assignment(text: str) -> dict[str, Any]:
    """`a.b.c=value` as a document; the value is YAML.

    Raises: ConfigError.
    """
    path, equals, value = text.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: write PATH=VALUE, such as journal.ack=write")
    try:
        document: Any = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        document = value
    except ConfigError as error:
        raise ConfigError(f"--set {path.strip()}: {error}") from None
    for part in reversed(parts):
        document = {part: document}
    return dict(document)


def parse(text: str, name: str) -> dict[str, Any]:
    """A YAML document that is a map, or empty.

    Raises: ConfigError.
    """
    try:
        document = yaml.load(text, Loader=_Loader)
    except (
        yaml.MarkedYAMLError
    ) as error:  # its own words take many lines, with what stands there, secrets too
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{name}{where}: {said}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{name}: it is not YAML: it has characters that may not be in it") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name}: it is nested too deeply") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{name}: the top level must be a mapping")
    return {str(key): value for key, value in document.items()}


def files_among(sources: Sequence[str | Path]) -> list[Path]:
    """Those of the sources that are files."""
    return [Path(rest) for scheme, rest in map(_parts_of, sources) if scheme == "file"]


def _parts_of(source: str | Path) -> tuple[str, str]:
    """Whether a source is a `file`, a variable (`env`) or the text itself (`yaml`), and where or what it is."""
    scheme, colon, rest = str(source).partition(":")
    if isinstance(source, str) and colon and scheme in ("file", "env", "yaml"):
        return scheme, rest
    return "file", str(source)


def _text_of(source: str | Path) -> tuple[str, str]:
    """The source's name in messages, and its text.

    Raises: ConfigError.
    """
    scheme, rest = _parts_of(source)
    if scheme == "yaml":
        return "yaml", rest
    if scheme == "env":
        if rest not in os.environ:
            raise ConfigError(f"--config {source}: environment variable {rest} is not set")
        return str(source), os.environ[rest]
    file = Path(rest)
    try:
        return str(file), file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not UTF-8") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML that takes a key given twice for the mistake it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise ConfigError(f"a key at line {key_node.start_mark.line + 1} is no text")
            if key in seen:
                raise ConfigError(f"duplicate key {key!r} at line {key_node.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError) as error:  # 2026-02-31 looks like a date and is none
            raise ConfigError(
                f"a value at line {node.start_mark.line + 1} can not be read: {error}"
            ) from None


# --------------------------------------------------------------------------- references

_REFERENCE = re.compile(r"\$\$|\$\{(?P<inner>[^}]*)\}?")
_ENV = re.compile(r"(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def _resolved(value: Any, where: str, wrong: list[str]) -> Any:
    """The document with `${env:NAME}` and `${env:NAME:-default}` replaced in its texts; `$$` is a dollar sign. What
    was replaced stays text, so that the setting's type decides what it becomes."""
    if isinstance(value, dict):
        return {
            key: _resolved(item, f"{where}.{key}" if where else str(key), wrong)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_resolved(item, f"{where}.{index}", wrong) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        reference = _ENV.fullmatch(match["inner"]) if match[0].endswith("}") else None
        if reference is None:
            wrong.append(
                f"{where}: a reference is written ${{env:NAME}} or ${{env:NAME:-default}}; $$ is a dollar sign"
            )
            return ""
        found: str | None = os.environ.get(reference["name"], reference["default"])
        if found is None:
            wrong.append(f"{where}: environment variable {reference['name']} is not set")
        return found or ""

    return _REFERENCE.sub(replace, value)
