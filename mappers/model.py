"""The data model: what comes off the wire (`Span`, `LogRecord`) and what it means (`Event`, `Run`, `Warning`).

Plain records without behaviour. Times are integers in nanoseconds since the Unix epoch (`_ns`), money is
`Decimal` US dollars (`_usd`), token counts are integers, and `None` always means "not known", never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

AttributeValue = Any
"""None, bool, int, float, str, bytes, a list of these, or a dict from str to these (an OTLP AnyValue)."""

Attributes = Mapping[str, AttributeValue]
"""Attributes by key. Decoders may hand out lazy mappings: look keys up, do not copy the whole."""

DEFAULT_PROJECT = "default"
DEFAULT_TENANT = ""

PROXY_SCOPE = "eddyline.proxy"
"""Instrumentation scope of spans that our proxy makes of traffic."""

SESSION_END = "session_end"
"""Operation of the log record that ends a coding agent's session."""


class Kind(StrEnum):
    """What a span is about, in one word."""

    LLM = "LLM"
    EMBEDDING = "EMBEDDING"
    TOOL = "TOOL"
    AGENT = "AGENT"
    WORKFLOW = "WORKFLOW"
    RETRIEVER = "RETRIEVER"
    RERANKER = "RERANKER"
    GUARDRAIL = "GUARDRAIL"
    EVALUATOR = "EVALUATOR"
    HANDOFF = "HANDOFF"
    OTHER = "OTHER"


class Status(StrEnum):
    """How an event ended. `RUNNING`: its span has no end yet."""

    OK = "ok"
    ERROR = "error"
    RUNNING = "running"


LLM, EMBEDDING, RETRIEVER = Kind.LLM, Kind.EMBEDDING, Kind.RETRIEVER
TOOL, AGENT, HANDOFF, OTHER = Kind.TOOL, Kind.AGENT, Kind.HANDOFF, Kind.OTHER
OK, ERROR = Status.OK, Status.ERROR
"""For what is asked of every event: on Python 3.11 to look a member up on its class takes five times as long."""


class RunStatus(StrEnum):
    """How a run stands. `INCOMPLETE`: no root, and nothing has been heard of it for a while."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


class StatusCode:
    """OTLP `Status.code`."""

    UNSET = 0
    OK = 1
    ERROR = 2


# --------------------------------------------------------------------------- as received


@dataclass(slots=True)
class Resource:
    attributes: Attributes = field(default_factory=dict)
    schema_url: str = ""


@dataclass(slots=True)
class Scope:
    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)
    schema_url: str = ""


@dataclass(slots=True)
class SpanEvent:
    time_ns: int
    name: str
    attributes: Attributes


@dataclass(slots=True)
class SpanLink:
    trace_id: str
    span_id: str
    trace_state: str
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """One OTLP span. Ids are lower-case hex (32 and 16 digits); `parent_span_id` is "" for a root.

    `end_ns` is 0 while the span is open. `project` is the label its run is grouped by, already resolved.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    status_code: int
    status_message: str
    events: Sequence[SpanEvent]
    links: Sequence[SpanLink]
    resource: Resource
    scope: Scope
    trace_state: str = ""
    project: str = DEFAULT_PROJECT
    tenant: str = DEFAULT_TENANT
    source: str = "otlp"


@dataclass(slots=True)
class LogRecord:
    """One OTLP log record. Ids as in `Span`, "" when the record carries none. `body` is any AnyValue."""

    time_ns: int
    observed_ns: int
    trace_id: str
    span_id: str
    flags: int
    severity_number: int
    severity_text: str
    event_name: str
    body: AttributeValue
    attributes: Attributes
    resource: Resource
    scope: Scope
    project: str = DEFAULT_PROJECT
    tenant: str = DEFAULT_TENANT
    run_id: str = ""
    """The run that it belongs to; "" if none is known."""


# --------------------------------------------------------------------------- what it means


class ToolRequest(NamedTuple):
    """A tool that a model's answer asks for. Whether it was executed is another event's story."""

    id: str
    """The provider's id of the call; "" if it gave none."""
    name: str
    args_hash: int
    """As `Event.args_hash` of the tool's execution with these arguments; 0: none were captured."""


class OfferedTools(NamedTuple):
    """Tools that a model may ask for."""

    names: tuple[str, ...]
    hash: int
    """Of their definitions; equal for equal ones."""


class Document(NamedTuple):
    """A document that a retriever or reranker gave back."""

    id: str
    score: float | None


@dataclass(slots=True, kw_only=True)
class Event:
    """One thing that happened, one stored row: an LLM call, a tool call, a handoff, an agent's turn, …

    `normalize` fills it from one span alone; the fields under "of the run" are settled by `assemble`, which
    sees all events of the run. Identity is (tenant, run_id, span_id, seq).
    """

    # identity and place
    run_id: str
    span_id: str
    parent_span_id: str = ""
    trace_id: str = ""
    seq: int = 0
    """Ordinal when one span gives several events."""
    tenant: str = DEFAULT_TENANT
    project: str = DEFAULT_PROJECT
    kind: str = Kind.OTHER
    name: str = ""
    start_ns: int = 0
    end_ns: int = 0
    """0 while open."""
    status: str = Status.OK
    error_type: str = ""
    error_message: str = ""
    is_root: bool = False
    """The span has no parent."""
    is_setup: bool = False
    """Creates or configures something and does no work of a run (`create_agent`)."""

    # where it came from
    service: str = ""
    instance: str = ""
    """The process it happened in: `service.instance.id`, else host and process id; "" if unknown."""
    environment: str = ""
    scope: str = ""
    """Name of the instrumentation scope."""
    source: str = "otlp"
    """otlp | proxy | log"""
    convention: str = ""
    """The first convention that recognised the span; "" if none did."""
    mapper_version: int = 0

    # who and what
    agent: str = ""
    session_id: str = ""
    session_is_weak: bool = False
    """A library gave the id by itself, perhaps a new one for each run; one that a program chose says more."""
    user_id: str = ""
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[str] = ()
    """Trace ids that the span links to."""

    # a model call
    provider: str = ""
    operation: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    service_tier: str = ""
    """Processing tier of the provider that the price depends on (`flex`, `priority`, `batch`)."""
    finish_reasons: Sequence[str] = ()
    tool_requests: Sequence[ToolRequest] = ()
    """Tools that the answer asks for, in its order."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of the request, by their usual names: `temperature`, `max_tokens`, …"""
    offered_tools: Sequence[str] = ()
    """Names of the tools that the model may ask for."""
    offered_tools_hash: int = 0
    """Of their definitions; 0: not captured."""
    prompt_name: str = ""
    prompt_version: str = ""
    """Of the template that the input was made from."""
    documents: Sequence[Document] = ()
    """What a retriever or reranker gave back, best first."""
    embedding_dimensions: int | None = None
    http_status: int | None = None
    """Of the provider's answer."""
    streaming: bool | None = None
    ttft_ms: float | None = None
    """Time to the first token or chunk, in milliseconds."""
    input_tokens: int | None = None
    """Everything the model read, cache reads and writes included."""
    own_input_tokens: int | None = None
    """What its own span says instead, where a twin shows that it leaves the cache out, or that it guessed; None:
    nothing else."""
    output_tokens: int | None = None
    """Everything the model wrote, reasoning included."""
    own_output_tokens: int | None = None
    """What its own span guessed instead, where a twin knows; None: nothing else."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """Part of the cache writes: what is kept for an hour, which costs more."""
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    """Part of the input."""
    audio_output_tokens: int | None = None
    """Part of the output."""
    web_searches: int | None = None
    """That the provider made within the call and charges for."""
    usage_source: str = ""
    """reported | estimated | "" (none)"""
    cost_usd: Decimal | None = None
    cost_source: str = ""
    """reported | override | computed | "" (unknown)"""
    price_version: str = ""
    """Which prices it was computed by; "" if it was reported."""
    attempts: int = 1
    """Attempts that happened inside this one span (`http.request.resend_count` + 1); of the proxy's spans, which are
    one attempt each, the how manieth it is."""

    # a tool call
    tool: str = ""
    tool_call_id: str = ""
    args_hash: int = 0
    """64-bit hash of the canonical arguments (a tool's) or of the input (a model's); 0: not captured."""
    result_hash: int = 0
    """64-bit hash of the result; 0: not captured."""
    signs: int = 0
    """What a tool's answer looks like at first sight: bits of `mappers.loops.signs.Sign`."""
    history: str = ""
    """Of a model call that is a trace of its own: loops among the tools in the history that it was given, as
    `mappers.loops.history` writes them; "" if there are none."""

    # content: previews only, the whole stays in the stored span
    input: str = ""
    output: str = ""
    input_bytes: int | None = None
    """Size of the whole input in bytes; None: not captured."""
    output_bytes: int | None = None

    part: str = ""
    """input | output | details: not a thing of its own but content of the span above it, from a log record."""

    # of the run: settled by assemble
    duplicate_of: str = ""
    """Span id of the twin that is counted instead of this one; "": this one counts."""
    handoff_from: str = ""
    handoff_to: str = ""
    handoff_source: str = ""
    """tool_span | handoff_span | llm_tool_request | graph_edge | agent_sequence | "" (no handoff)"""
    handoff_told: str = ""
    """The source of a handoff whose target is a guess (`agent_sequence`): what it is again without the guess."""
    filled: Sequence[str] = ()
    """Names of the fields that its own span left open, and that were taken from its twins and log records."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """Token sums. Input includes cache reads and writes, output includes reasoning; None: nobody reported."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    embedding: int | None = None

    @property
    def total(self) -> int | None:
        """Input + output of LLM calls; None when neither is known."""
        if self.input is None and self.output is None:
            return None
        return (self.input or 0) + (self.output or 0)


@dataclass(slots=True, kw_only=True)
class Counts:
    """How often what happened in a run, twins counted once."""

    spans: int = 0
    events: int = 0
    llm_calls: int = 0
    llm_errors: int = 0
    embeddings: int = 0
    tool_calls: int = 0
    tool_errors: int = 0
    handoffs: int = 0
    retries: int = 0
    errors: int = 0
    warnings: int = 0
    unpriced_calls: int = 0
    """Model calls whose cost is not known: the run cost at least what `cost_usd` says."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One trace as a whole. `run_id` is its trace id."""

    run_id: str
    tenant: str = DEFAULT_TENANT
    project: str = DEFAULT_PROJECT
    name: str = ""
    status: str = RunStatus.RUNNING
    """running (root missing or open) | completed | failed. `incomplete` depends on the clock: see `settle`."""
    has_root: bool = False
    start_ns: int = 0
    end_ns: int = 0
    """The newest end seen; the run itself has ended only if `status` is completed or failed."""
    error_type: str = ""
    error_message: str = ""
    session_id: str = ""
    user_id: str = ""
    environment: str = ""
    services: Sequence[str] = ()
    agents: Sequence[str] = ()
    models: Sequence[str] = ()
    tools: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    conventions: Sequence[str] = ()
    usage: Usage = field(default_factory=Usage)
    usage_method: str = "leaf_sum"
    cost_usd: Decimal | None = None
    cost_source: str = ""
    counts: Counts = field(default_factory=Counts)
    setup_only: bool = False
    duplicate_of: str = ""
    """Run id of the run whose calls this trace repeats; "": a run of its own."""
    input: str = ""
    output: str = ""
    health_score: int | None = None
    """0 to 100; see `mappers.loops.health`. None: not judged yet."""
    health_label: str = ""
    health_reasons: Sequence[str] = ()
    top_warning: str = ""
    """Type of its worst loop warning that stands; "" if there is none."""
    top_severity: str = ""


@dataclass(slots=True, kw_only=True)
class Warning:
    """A loop or a waste found in a run, with its evidence."""

    warning_id: str
    run_id: str
    tenant: str = DEFAULT_TENANT
    project: str = DEFAULT_PROJECT
    type: str
    category: str
    """loop | waste"""
    severity: str
    state: str
    """active | resolved | retracted"""
    count: int
    message: str
    suggestion: str = ""
    first_event_id: str = ""
    onset_event_id: str = ""
    last_event_id: str = ""
    evidence: Sequence[str] = ()
    wasted_tokens: int | None = None
    wasted_cost_usd: Decimal | None = None
    primary: bool = False
    """Leads its incident: of the findings on the same events the one to look at."""
    incident_id: str = ""
    """The `warning_id` that leads its incident."""
    tool: str = ""
    agent: str = ""
    thread: str = ""
    """What was looked at: the run (its id), its session, or the conversation that its call is part of."""
    session_id: str = ""
    engine_version: str = ""
    """Of the engine and of the detector: `1/1`."""
    first_ns: int = 0
    last_ns: int = 0
