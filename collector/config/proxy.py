"""Settings of the proxy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, model_validator

from collector.config.values import Endpoint, Seconds, Section, bare_off


class ProxyTimeouts(Section):
    connect: Seconds = 10.0
    """Longest wait for a connection to the provider."""
    first_byte: Seconds = 600.0
    """Longest wait for the provider's answer to begin; there is no limit to how long it takes in all."""
    idle: Seconds = 600.0
    """Longest silence within an answer."""


class ProxyUpstream(Section):
    """One entry of `proxy.upstreams`."""

    url: str
    """`http(s)://host[:port][/path]`, before what the client asks for."""
    provider: str = ""
    """`gen_ai.provider.name` of its spans; the provider whose address it is, else the entry's name."""
    format: Literal["auto", "openai", "anthropic", "gemini", "ollama", "cohere"] = "auto"
    """Whose API it speaks, where the path does not tell."""
    strip_prefix: bool = True
    """Whether the entry's name is taken off the path."""
    ca: str = ""
    """File with the certificates that its own must be signed by, instead of the system's."""
    propagation: Literal["passthrough", "inject", "strip"] = "passthrough"
    """Whether `traceparent`, `tracestate` and `baggage` are passed on as they came, with our span as parent, or not."""
    timeouts: ProxyTimeouts | None = None
    inject_key: Annotated[str | None, Field(pattern="^[!-~]{16,4096}$", repr=False)] = None
    """The provider's API key, put in for clients that have one of our keys, whatever they send themselves."""


class ProxyLocal(Section):
    enabled: bool = True
    """Whether clients may name a server as `/openai/http/{host}:{port}`."""
    allow: list[str] = []
    """Servers beside this machine's: names, addresses and networks, each with or without `:port`."""
    paths: list[str] = ["/v1", "/v1beta", "/api", "/openai", "/health", "/props", "/tokenize"]
    """Beginnings of the paths that are open on such a server."""


class ProxyCapture(Section):
    content: Annotated[Literal["full", "meta", "off"], BeforeValidator(bare_off)] = "full"
    """What is kept of calls: everything, everything but what was said, or nothing."""
    projects: Annotated[dict[str, Literal["full", "meta", "off"]], BeforeValidator(bare_off)] = {}
    """The same for single projects."""
    input: bool = True
    """Whether prompts and tool results are kept."""
    output: bool = True
    """Whether answers, tool arguments and reasoning are kept."""
    tokens: bool = True
    """Whether token counts are kept."""
    cost: bool = True
    """Whether costs that the provider reports are kept."""
    named_keys: Annotated[dict[str, str], Field(repr=False)] = {}
    """Names of API keys, by which calls are told apart; nothing of the keys themselves is kept."""
    skip: list[str] = [
        "*/files*", "*/batches*", "*/uploads*", "*/fine_tuning/*", "*/vector_stores*", "*/assistants*",
        "*/threads*", "*/api/show", "*/api/pull", "*/api/push", "*/api/create", "*/api/copy",
        "*/api/v1/models/*",
    ]  # fmt: skip
    """Paths, at the provider, of calls that are relayed and counted only; `*` stands for anything."""
    max_body_bytes: ByteSize = ByteSize(8 << 20)
    """How much is kept of a body, each way; longer ones pass, and their copy is marked."""
    max_queue_bytes: ByteSize = ByteSize(256 << 20)
    """How much of all calls may wait to be read; beyond that the copies lose their content, never the traffic."""
    max_queue_calls: Annotated[int, Field(ge=1)] = 1000
    """How many calls may wait to be read."""


class ProxyUsage(Section):
    inject: Annotated[Literal["off", "auto"], BeforeValidator(bare_off)] = "off"
    """Whether OpenAI and Azure are asked for the token counts of streams whose clients did not ask."""


class ProxyRun(Section):
    split: Annotated[Literal["off", "user_turn"], BeforeValidator(bare_off)] = "off"
    """Whether each message of a user begins a run of its own, of the same session: some last for days."""


class ProxyTool(Section):
    pending_ttl: Seconds = 3600.0
    """How long a tool call may wait for its result before its run says that it is unanswered."""


class ProxyExport(Section):
    endpoint: str = "http://127.0.0.1:4318"
    """Collector that gets the spans of `eddyline proxy`, by OTLP/HTTP."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    """Headers for it, such as its API key."""


class ProxyPlugin(Section):
    """One entry of `proxy.plugins`."""

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]
    """Its name, which calls that it changed carry."""
    type: Literal["path-filter", "text-replace", "text-append"]
    enabled: bool = True
    paths: Annotated[list[str], Field(max_length=200)] = []
    """Provider's paths that it concerns, `*` stands for anything; all if empty."""
    projects: Annotated[list[str], Field(max_length=200)] = []
    """Projects that it concerns; all if empty."""
    where: Literal["request", "response", "both"] = "request"
    """What a text is replaced in."""
    find: Annotated[str, Field(max_length=10_000)] = ""
    """The text that is replaced, letter by letter."""
    replace: Annotated[str, Field(max_length=10_000)] = ""
    text: Annotated[str, Field(max_length=10_000)] = ""
    """The text that is added."""
    to: Literal["user", "system"] = "user"
    """What it is added to: the last user message, or the system prompt."""

    @model_validator(mode="after")
    def _is_whole(self) -> ProxyPlugin:
        needed = {"path-filter": "paths", "text-replace": "find", "text-append": "text"}[self.type]
        if not getattr(self, needed):
            raise ValueError(f"{self.type} needs {needed}")
        if self.type == "text-append" and self.where != "request":
            raise ValueError("text-append adds to requests only")
        return self


class ProxySettings(Section):
    endpoint: Endpoint = "127.0.0.1:31300"
    """Where LLM traffic is relayed to its provider."""
    project: str = ""
    """Project of calls that name none."""
    upstream: str = ""
    """One URL to which every path goes, instead of the route table."""
    upstreams: dict[str, ProxyUpstream] = {}
    """Providers by the first segment of their path, beside or instead of those that are built in."""
    azure_suffixes: list[str] = ["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"]
    """Domains of Azure resources; the first one unless the path says more than the resource's name."""
    hosts: list[str] = []
    """Names beside localhost under which the proxy may be addressed."""
    origins: list[str] = []
    """Web origins whose pages may use the proxy."""
    response_headers: bool = True
    """Whether answers carry `X-Loop-Span-Id` and, where it is known by then, `X-Loop-Trace-Id`."""
    sse_hints: bool = False
    """Whether streams carry `X-Accel-Buffering: no`, for clients behind nginx, which would hold them back."""
    sse_keepalive: Seconds = 0.0
    """After so much silence a stream of events gets a comment for its client, between two events; 0: never."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    local: ProxyLocal = ProxyLocal()
    capture: ProxyCapture = ProxyCapture()
    usage: ProxyUsage = ProxyUsage()
    run: ProxyRun = ProxyRun()
    tool: ProxyTool = ProxyTool()
    plugins: list[ProxyPlugin] = []
    """Calls that are not recorded and, on request, what is changed in calls; see `proxy/README.md`."""
    export: ProxyExport = ProxyExport()
