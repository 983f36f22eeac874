"""The plugins of the proxy: which there are, and changing them while it runs."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from collector import config
from collector.api.base import Routes, RouteTable, caller_of, json_response
from collector.api.declaring import Route
from collector.api.problems import Problem
from collector.api.queries import read_json
from collector.documents.models import described
from collector.doors.keys import Scope
from collector.proxy.plugins import TYPES, PluginControl, PluginError, document_of, read_plugins


@described
class ProxyPlugin(TypedDict):
    """A plugin of the proxy. Which members it needs depends on its type."""

    id: str
    type: Literal["path-filter", "text-replace", "text-append"]
    enabled: NotRequired[bool]
    paths: NotRequired[list[str]]
    """Provider's paths that it concerns, `*` stands for anything; all if empty."""
    projects: NotRequired[list[str]]
    where: NotRequired[Literal["request", "response", "both"]]
    find: NotRequired[str]
    replace: NotRequired[str]
    text: NotRequired[str]
    to: NotRequired[Literal["user", "system"]]


class ProxyPluginListMeta(TypedDict):
    """Where they come from: configuration or runtime."""

    source: str


class ProxyPluginList(TypedDict):
    data: list[ProxyPlugin]
    meta: ProxyPluginListMeta


class WantedProxyPlugins(TypedDict):
    """The plugins that are to hold, in order."""

    plugins: list[ProxyPlugin]


class ProxyPluginType(TypedDict):
    """A kind of plugin, and what it does."""

    type: str
    purpose: str


class ProxyPluginTypes(TypedDict):
    data: list[ProxyPluginType]


class PluginRoutes(Routes):
    def table(self) -> RouteTable:
        root = "/api/v1/proxy/plugins"
        one = root + "/{plugin_id}"
        many = ProxyPluginList
        changing: dict[str, Any] = {"scope": Scope.ADMIN}
        return [
            Route("GET", root, self.plugins, many),
            Route("GET", root + "/types", self.plugin_types, ProxyPluginTypes),
            Route("PUT", root, self.set_plugins, many, body=WantedProxyPlugins, **changing),
            Route("DELETE", root, self.reset_plugins, many, **changing),
            Route("PUT", one, self.set_plugin, ProxyPlugin, body=ProxyPlugin, **changing),
            Route("DELETE", one, self.remove_plugin, many, **changing),
        ]

    async def plugins(self, request: Request) -> Response:
        """The plugins of the proxy, in the order in which they are used."""
        return self._answer()

    async def plugin_types(self, request: Request) -> Response:
        """Kinds of plugins."""
        return json_response(
            {"data": [{"type": name, "purpose": purpose} for name, purpose in TYPES.items()]}
        )

    async def set_plugins(self, request: Request) -> Response:
        """Replaces all plugins at once, from the next call on and over restarts: `{"plugins": […]}`."""
        body = await read_json(request)
        if set(body) != {"plugins"}:
            raise Problem(400, "The body has one member, plugins.")
        await self._set(request, _read(body["plugins"]))
        return self._answer()

    async def reset_plugins(self, request: Request) -> Response:
        """Takes back what was set at run time: the plugins of the configuration hold again."""
        await self._set(request, None)
        return self._answer()

    async def set_plugin(self, request: Request) -> Response:
        """Adds a plugin, or replaces the one of this id."""
        plugin_id = request.path_params["plugin_id"]
        body = await read_json(request)
        if body.setdefault("id", plugin_id) != plugin_id:
            raise Problem(400, "The id in the body is another than in the path.")
        (plugin,) = _read([body])
        held = list(self._control.plugins.all)
        places = [number for number, one in enumerate(held) if one.id == plugin_id]
        if places:
            held[places[0]] = plugin
        else:
            held.append(plugin)
        await self._set(request, held)
        return json_response(document_of(plugin))

    async def remove_plugin(self, request: Request) -> Response:
        """Takes one plugin away."""
        plugin_id = request.path_params["plugin_id"]
        held = self._control.plugins.all
        left = [plugin for plugin in held if plugin.id != plugin_id]
        if len(left) == len(held):
            raise Problem(404, f"There is no plugin {plugin_id!r}.")
        await self._set(request, left)
        return self._answer()

    # ------------------------------------------------------------------- shared

    @property
    def _control(self) -> PluginControl:
        if self.api.plugins is None:
            raise Problem(404, "There is no proxy here.")
        return self.api.plugins

    def _answer(self) -> Response:
        plugins = self._control.plugins
        return json_response({"data": plugins.document(), "meta": {"source": plugins.source}})

    async def _set(self, request: Request, plugins: list[config.ProxyPlugin] | None) -> None:
        caller = caller_of(request)
        if caller.project:
            raise Problem(403, "Plugins concern every project; this key has one only.")
        await self.read(self._control.set, plugins, caller.key_id)


def _read(given: Any) -> list[config.ProxyPlugin]:
    """Raises: Problem (400)."""
    try:
        return read_plugins(given)
    except PluginError as error:
        raise Problem(400, f"{error}.", kind="invalid-plugin") from None
