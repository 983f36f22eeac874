"""What is to be done with calls on their way: which are not recorded, and, on request, what is changed in them.

Nothing is changed unless somebody asks for it. What was changed is recorded as it passed then, and the call says so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter, ValidationError

from collector.config import ProxyPlugin

log = logging.getLogger(__name__)

SETTING = "proxy.plugins"
"""Name of the setting that keeps what was changed at run time."""

TYPES: Mapping[str, str] = {
    "path-filter": "Calls to these `paths`, at the provider, are relayed and counted only.",
    "text-replace": "Puts `replace` in the place of `find` in what is said: `where` is request, response or both.",
    "text-append": "Adds `text` to the end of the last user message, or of the system prompt (`to`: user, system).",
}
"""Kinds of plugins, and what each does."""

_PLUGINS = TypeAdapter(list[ProxyPlugin])


class PluginError(ValueError):
    """The plugins can not be used so; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed in one call."""

    request: Sequence[ProxyPlugin] = ()
    response: Sequence[ProxyPlugin] = ()


class Plugins:
    """The plugins of one proxy. Asked from the event loop, changed from any thread.

    Args:
        configured: those of the configuration, which hold unless others were set at run time.
    """

    def __init__(self, configured: Sequence[ProxyPlugin]) -> None:
        checked(configured)
        self._configured = configured
        self._lock = threading.Lock()
        self._take(configured)
        self.source = "configuration"
        """configuration or runtime: where those that hold come from."""
        self.changed = 0
        """Calls in which something was changed."""
        self.failed = 0
        """Calls that passed unchanged because a change failed."""

    def _take(self, plugins: Sequence[ProxyPlugin]) -> None:
        self.all = tuple(plugins)
        enabled = [plugin for plugin in plugins if plugin.enabled]
        self._filters = [plugin for plugin in enabled if plugin.type == "path-filter"]
        self._changing = [plugin for plugin in enabled if plugin.type != "path-filter"]

    def set(self, plugins: Sequence[ProxyPlugin] | None) -> None:
        """Puts others in their place; None: those of the configuration again."""
        with self._lock:
            self._take(self._configured if plugins is None else plugins)
            self.source = "configuration" if plugins is None else "runtime"

    def skips(self, path: str, project: str) -> bool:
        """Whether calls to a provider's path are not recorded."""
        return any(_concerns(plugin, path, project) for plugin in self._filters)

    def changes(self, path: str, project: str) -> Changes | None:
        """What is to be changed in a call; None if nothing is."""
        if not self._changing:
            return None
        concerned = [plugin for plugin in self._changing if _concerns(plugin, path, project)]
        if not concerned:
            return None
        return Changes(
            [plugin for plugin in concerned if plugin.where != "response"],
            [plugin for plugin in concerned if plugin.where != "request"],
        )

    def document(self) -> list[dict[str, Any]]:
        return [document_of(plugin) for plugin in self.all]


def _concerns(plugin: ProxyPlugin, path: str, project: str) -> bool:
    return (not plugin.paths or any(fnmatchcase(path, pattern) for pattern in plugin.paths)) and (
        not plugin.projects or any(fnmatchcase(project, pattern) for pattern in plugin.projects)
    )


def document_of(plugin: ProxyPlugin) -> dict[str, Any]:
    """The plugin as it was given, and as it can be given again."""
    return plugin.model_dump(exclude_defaults=True) | {
        "id": plugin.id,
        "type": plugin.type,
        "enabled": plugin.enabled,
    }


def read_plugins(given: Any) -> list[ProxyPlugin]:
    """Plugins of a JSON document.

    Raises:
        PluginError.
    """
    try:
        plugins = _PLUGINS.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PluginError(f"{where or 'plugins'}: {first['msg'].removeprefix('Value error, ')}") from None
    checked(plugins)
    return plugins


def checked(plugins: Sequence[ProxyPlugin]) -> None:
    """Raises: PluginError, if two have one id."""
    ids = [plugin.id for plugin in plugins]
    if twice := next((id_ for id_ in ids if ids.count(id_) > 1), None):
        raise PluginError(f"two plugins have the id {twice!r}")


class PluginControl:
    """The plugins of the proxy that runs, changed at run time and kept over restarts.

    Args:
        read, write: the setting in the store; None is none.
    """

    def __init__(self, plugins: Plugins, read: Callable[[], Any], write: Callable[[Any, str], None]) -> None:
        self.plugins = plugins
        self._read, self._write = read, write
        self._kept: Any = None
        self.learn()

    def learn(self) -> None:
        """Takes over what the store has, which another collector may have changed.

        Raises: RetryableError.
        """
        kept = self._read()
        if kept == self._kept:
            return
        self._kept = kept
        try:
            self.plugins.set(None if kept is None else read_plugins(kept))
        except PluginError as error:  # kept by a version that knew more
            log.error("the plugins that were set at run time can not be used: %s", error)

    def set(self, plugins: Sequence[ProxyPlugin] | None, by: str) -> None:
        """Keeps them, then puts them to use.

        Raises:
            RetryableError: the store does not take them; then nothing has changed.
        """
        self._write(None if plugins is None else [document_of(plugin) for plugin in plugins], by)
        self.plugins.set(plugins)
