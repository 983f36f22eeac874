"""Where a request goes: from the path that a client was given as its base URL to the provider's own address.

What follows the prefix is forwarded as it stands: nothing is decoded, joined or cleaned on the way.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from yarl import URL

from collector.config import ProxySettings, ProxyTimeouts
from collector.proxy.errors import Error, RelayError
from collector.proxy.gate import Gate, Target
from collector.proxy.injected import Injected


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider: where it is, what the GenAI conventions call it, and whose API it speaks."""

    name: str
    url: str
    """Scheme and authority, perhaps with a path; no slash at the end."""
    provider: str
    family: str = "openai"
    """openai | anthropic | gemini | ollama | cohere | bedrock: shape of its errors, and of bodies where paths do not
    tell."""
    timeouts: ProxyTimeouts | None = None
    tls: ssl.SSLContext | None = None
    keep_prefix: bool = False
    propagate: bool = True
    """Whether `traceparent`, `tracestate` and `baggage` are passed on."""
    injects: bool = False
    """Whether our span is the parent that the provider is told."""
    injected: Injected | None = None
    """The key that is put in for clients that have one of ours; None: they send the provider's themselves."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one request is forwarded to."""

    upstream: Upstream
    url: URL
    path: str
    """The provider's path, still encoded, without the query."""
    gated: bool = False
    """The client chose the host: addresses are checked as they are resolved."""


PROVIDERS: tuple[Upstream, ...] = (
    Upstream("openai", "https://api.openai.com", "openai"),
    Upstream("anthropic", "https://api.anthropic.com", "anthropic", "anthropic"),
    Upstream("gemini", "https://generativelanguage.googleapis.com", "gcp.gemini", "gemini"),
    Upstream("openrouter", "https://openrouter.ai", "openrouter"),
    Upstream("ollama", "http://127.0.0.1:11434", "ollama", "ollama"),
    Upstream("mistral", "https://api.mistral.ai", "mistral_ai"),
    Upstream("groq", "https://api.groq.com", "groq"),
    Upstream("together", "https://api.together.xyz", "together"),
    Upstream("deepseek", "https://api.deepseek.com", "deepseek"),
    Upstream("xai", "https://api.x.ai", "x_ai"),
    Upstream("fireworks", "https://api.fireworks.ai", "fireworks"),
    Upstream("cerebras", "https://api.cerebras.ai", "cerebras"),
    Upstream("perplexity", "https://api.perplexity.ai", "perplexity"),
    Upstream("moonshot", "https://api.moonshot.ai", "moonshot_ai"),
    Upstream("zai", "https://api.z.ai", "zai"),
    Upstream("cohere", "https://api.cohere.com", "cohere", "cohere"),
    Upstream("nvidia", "https://integrate.api.nvidia.com", "nvidia"),
    Upstream("hf", "https://router.huggingface.co", "huggingface"),
)
"""Providers by the first segment of the path."""

_CLOUDS = tuple(
    (re.compile(pattern), Upstream(name, "", provider, family))
    for pattern, name, provider, family in (
        (r"[a-z0-9-]+\.openai\.azure\.com", "azure", "azure.ai.openai", "openai"),
        (r"(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com", "vertex", "gcp.vertex_ai", "gemini"),
        (r"bedrock-runtime\.[a-z0-9-]+\.amazonaws\.com", "bedrock", "aws.bedrock", "bedrock"),
    )
)
"""Providers with an address for each customer or region."""

MAX_KNOWN = 1024
"""Routes that are remembered, by method and path."""

_LOCAL = Upstream("local", "", "local")
_AZURE_RESOURCE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
AZURE_ROOT = "/openai/v1"
"""Where Azure serves what other OpenAI bases have right below them."""
_AZURE_INFERENCE = tuple(
    f"/models/{end}" for end in ("chat/completions", "embeddings", "images/embeddings", "info")
)
"""Of Azure's own SDK for the models of others; what else is below `/models` is OpenAI's list."""

_OLLAMA_S_OWN = frozenset(
    f"/api/{name}" for name in ("chat", "generate", "embed", "embeddings", "tags", "show", "ps", "version")
)
"""Paths of Ollama alone: its older clients keep the host of a base URL and nothing else."""


@dataclass(slots=True)
class Routes:
    """The route table.

    Raises:
        ValueError: an upstream of the configuration can not be one; the message says which and why.
    """

    settings: ProxySettings
    gate: Gate
    _upstreams: dict[str, Upstream] = field(init=False)
    _single: Upstream | None = field(init=False, default=None)
    _found: dict[tuple[str, str], Route] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._upstreams = {upstream.name: upstream for upstream in PROVIDERS}
        for name, given in self.settings.upstreams.items():
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or name in ("otel", "-", "azure"):
                raise ValueError(f"proxy.upstreams.{name}: a name is one path segment, and none of ours")
            base = _base(given.url, f"proxy.upstreams.{name}.url")
            known = self._upstreams.get(name) or _known_at(base)
            provider = given.provider or (known.provider if known else name)
            family = _family(given.format, known)
            self._upstreams[name] = Upstream(
                name,
                base,
                provider,
                family,
                given.timeouts,
                _tls(given.ca, name) if given.ca else None,
                not given.strip_prefix,
                given.propagation != "strip",
                given.propagation == "inject",
                _injected(given.inject_key, family, provider),
            )
        if self.settings.upstream:
            base = _base(self.settings.upstream, "proxy.upstream")
            known = _known_at(base)
            host = urlsplit(base).hostname or "upstream"
            self._single = Upstream(
                "upstream", base, known.provider if known else host, known.family if known else "openai"
            )

    def names(self) -> list[str]:
        """Prefixes that lead somewhere, for people."""
        if self._single:
            return ["/"]
        own = ["/azure/{resource}", "/vertex/{location}", "/bedrock/{region}"]
        local = ["/openai/http/{host}:{port}", "/openai/https/{host}:{port}"]
        return sorted(f"/{name}" for name in self._upstreams) + own + local * self.settings.local.enabled

    def find(self, method: str, path: str, query: str) -> Route:
        """The route of a request.

        Args:
            path: as the client sent it, percent-encoding and all.
            query: likewise, without the question mark.

        Raises:
            RelayError: nothing is there, or the client may not go there.
        """
        if query:
            return self._find(method, path, query)
        # Clients ask for few paths, each of them often.
        route = self._found.get((method, path))
        if route is None:
            route = self._find(method, path, "")
            if len(self._found) >= MAX_KNOWN:
                self._found.clear()
            self._found[method, path] = route
        return route

    def _find(self, method: str, path: str, query: str) -> Route:
        if self._single:
            return _route(self._single, path, query)
        name, slash, rest = path[1:].partition("/")
        rest = slash + rest
        if name == "openai" and rest.startswith(("/http/", "/https/")):
            return self._local(method, rest, query)
        if name == "azure":
            return self._azure(rest, query)
        if name in ("vertex", "bedrock") and name not in self._upstreams:
            return _regional(name, rest, query)
        upstream = self._upstreams.get(name)
        if upstream is None and path in _OLLAMA_S_OWN:
            return _route(self._upstreams["ollama"], path, query)
        if upstream is None:
            raise RelayError(Error.ROUTE, f"no provider is served below /{name[:64]}; GET / lists them")
        return _route(upstream, path if upstream.keep_prefix else rest, query)

    def _local(self, method: str, rest: str, query: str) -> Route:
        """`/openai/http(s)/{host}:{port}/…`: the client names the server."""
        scheme, _, below = rest[1:].partition("/")
        authority, slash, path = below.partition("/")
        path = slash + path
        target = Target.parse(scheme, authority)
        self.gate.admit(target, method, path)
        url = f"{scheme}://{target.authority}"
        known = _known_at(url) or _LOCAL
        return _route(Upstream("local", url, known.provider, known.family), path, query, gated=True)

    def _azure(self, rest: str, query: str) -> Route:
        resource, slash, path = rest[1:].partition("/")
        name, dot, suffix = resource.partition(".")
        suffixes = self.settings.azure_suffixes
        if not _AZURE_RESOURCE.fullmatch(name) or (dot and suffix not in suffixes):
            raise RelayError(Error.ROUTE, "after /azure/ comes the name of a resource")
        path = slash + path
        url = f"https://{name}.{suffix or suffixes[0]}"
        if path.startswith("/anthropic/"):
            return _route(Upstream("azure", url, "azure.ai.inference", "anthropic"), path, query)
        if path.startswith(_AZURE_INFERENCE):
            return _route(Upstream("azure", url, "azure.ai.inference"), path, query)
        if not path.startswith("/openai/"):
            path = AZURE_ROOT + path
        return _route(Upstream("azure", url, "azure.ai.openai"), path, query)


def _regional(name: str, rest: str, query: str) -> Route:
    region, slash, path = rest[1:].partition("/")
    if not _REGION.fullmatch(region):
        raise RelayError(Error.ROUTE, f"after /{name}/ comes a region")
    if name == "vertex":
        host = "aiplatform.googleapis.com" if region == "global" else f"{region}-aiplatform.googleapis.com"
        upstream = Upstream("vertex", f"https://{host}", "gcp.vertex_ai", "gemini")
    else:
        upstream = Upstream(
            "bedrock", f"https://bedrock-runtime.{region}.amazonaws.com", "aws.bedrock", "bedrock"
        )
    return _route(upstream, slash + path, query)


def _route(upstream: Upstream, path: str, query: str, *, gated: bool = False) -> Route:
    whole = f"{upstream.url}{path}?{query}" if query else upstream.url + path
    return Route(upstream, URL(whole, encoded=True), path, gated)


def _base(url: str, where: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{where}: an upstream is http(s)://host[:port][/path]")
    if parts.username or parts.password:
        raise ValueError(f"{where}: credentials belong to the client's requests, not into an URL")
    return url.rstrip("/")


def _known_at(url: str) -> Upstream | None:
    """The provider whose own address this is, by whatever name it is reached."""
    host = urlsplit(url).hostname or ""
    for provider in PROVIDERS:
        if provider.url == f"https://{host}":
            return provider
    for pattern, known in _CLOUDS:
        if pattern.fullmatch(host):
            return known
    return None


def _family(given: str, known: Upstream | None) -> str:
    if given != "auto":
        return given
    return known.family if known else "openai"


def _injected(key: str | None, family: str, provider: str) -> Injected | None:
    return Injected(key, family, azure=provider == "azure.ai.openai") if key else None


def _tls(ca: str, name: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"proxy.upstreams.{name}.ca: {error}") from None
