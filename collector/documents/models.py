"""What several routes answer, as types: runs, events, warnings, spans, pages, problems. What one module alone answers
or takes is declared there, in the same way.

The OpenAPI document is made from them. They cost nothing when a request is answered: a TypedDict is a dict. Fields may
be added within v1, none is taken away. Null means "not known" or "has none", never zero.
"""

from __future__ import annotations

from typing import NotRequired

from pydantic import with_config
from typing_extensions import TypedDict  # pydantic can not read those of Python 3.11

from mappers.model import RunStatus

described = with_config(use_attribute_docstrings=True)
"""Takes the texts below fields over into the schema."""

Time = str
"""RFC 3339 in UTC with nine decimals."""


class Usage(TypedDict):
    """Tokens of LLM calls. Input includes cache reads and writes, output includes reasoning."""

    input: int | None
    output: int | None
    total: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None
    embedding: int | None


class Error(TypedDict):
    """What went wrong."""

    type: str | None
    message: str | None


@described
class Counts(TypedDict):
    """How often what happened, twins counted once."""

    spans: int
    llm_calls: int
    llm_errors: int
    embeddings: int
    tool_calls: int
    tool_errors: int
    handoffs: int
    retries: int
    warnings: int
    """Loop warnings that are not retracted."""
    unpriced_calls: int
    """Model calls whose cost is not known: the run cost at least `cost_usd`."""


@described
class RunHealth(TypedDict):
    """How the run looks."""

    score: int | None
    """0 to 100."""
    label: str | None
    reasons: list[str]


class TopWarning(TypedDict):
    """The worst loop warning that stands."""

    type: str
    severity: str


@described
class Run(TypedDict):
    """One trace as a whole."""

    run_id: str
    """The trace id, 32 hex digits."""
    project: str
    name: str
    status: RunStatus
    started_at: Time
    ended_at: Time | None
    """Null while it runs."""
    duration_ms: float | None
    session_id: str | None
    user_id: str | None
    environment: str | None
    services: list[str]
    agents: list[str]
    models: list[str]
    """Those that answered, else those that were asked for."""
    tools: list[str]
    tags: list[str]
    """Of its spans, and those that people gave it."""
    note: str | None
    pinned: bool
    """It is kept, whatever its age."""
    usage: Usage
    usage_method: str
    """leaf_sum: the sum of its calls; root_reported: what its root says."""
    cost_usd: float | None
    cost_source: str | None
    """reported, override, computed or mixed."""
    counts: Counts
    error: Error | None
    health: RunHealth
    top_warning: TopWarning | None
    setup_only: bool
    """It only creates or configures something."""
    duplicate_of: str | None
    """Id of the run whose calls it repeats."""
    input: str | None
    """A preview of what its root read, or else its first model call; only for who may see content."""
    output: str | None
    """A preview of what its root wrote, or else of the last answer; only for who may see content."""


Handoff = TypedDict("Handoff", {"from": str | None, "to": str | None, "source": str})


class ToolRequest(TypedDict):
    """A tool that a model's answer asks for."""

    id: str | None
    name: str


class Prompt(TypedDict):
    """The template that an input was made from."""

    name: str | None
    version: str | None


class Document(TypedDict):
    """What a retriever or reranker gave back."""

    id: str | None
    score: float | None


class AudioTokens(TypedDict):
    """Parts of the tokens read and written."""

    input: int | None
    output: int | None


@described
class EventContent(TypedDict):
    """What was read and written; only when it is asked for, and of an entry that tells of a span also how."""

    input: NotRequired[str | None]
    output: NotRequired[str | None]
    response_id: NotRequired[str | None]
    parameters: NotRequired[dict[str, str]]
    """Of the request, by their usual names."""
    offered_tools: NotRequired[list[str]]
    tool_requests: NotRequired[list[ToolRequest]]
    prompt: NotRequired[Prompt | None]
    documents: NotRequired[list[Document]]
    embedding_dimensions: NotRequired[int | None]
    audio_tokens: NotRequired[AudioTokens]
    web_searches: NotRequired[int | None]
    """That the provider made within the call and charges for."""
    http_status: NotRequired[int | None]
    service_tier: NotRequired[str | None]
    cost_source: NotRequired[str | None]
    price_version: NotRequired[str | None]
    tags: NotRequired[list[str]]
    metadata: NotRequired[dict[str, str]]


@described
class Event(EventContent):
    """One moment of a run's timeline."""

    event_id: str
    """Unique within its run."""
    seq: NotRequired[int]
    """Number in the run's timeline, from 1; a span that comes late moves those after it."""
    type: str
    """What began, ended, or failed: `llm_call_started`, `tool_call_completed`, `handoff_started`, …"""
    run_id: str
    span_id: str | None
    parent_span_id: str | None
    time: Time
    kind: str | None
    name: str
    agent: str | None
    provider: str | None
    model: str | None
    operation: str | None
    tool: str | None
    tool_call_id: str | None
    status: str
    """ok, error or running."""
    usage: Usage | None
    cost_usd: float | None
    latency_ms: float | None
    """Of closing entries."""
    ttft_ms: float | None
    """Time to the first token."""
    finish_reasons: list[str]
    error: Error | None
    handoff: Handoff | None
    convention: str | None
    duplicate_of: str | None
    """Id of the span that is counted instead."""


class PartialRun(TypedDict, total=False):
    """A run with some groups of its fields."""


class PartialEvent(TypedDict, total=False):
    """An entry with some groups of its fields."""


PartialRun.__annotations__.update(Run.__annotations__)
PartialEvent.__annotations__.update(Event.__annotations__)


@described
class Warning(TypedDict):
    """A loop or waste that was found, with its evidence."""

    warning_id: str
    run_id: str
    type: str
    category: str
    """loop or waste."""
    severity: str
    """info, warning or critical."""
    state: str
    """active, resolved or retracted."""
    count: int
    message: str
    suggestion: str | None
    first_event_id: str | None
    onset_event_id: str | None
    last_event_id: str | None
    evidence: list[str]
    """Ids of events."""
    wasted_tokens: int | None
    wasted_cost_usd: float | None
    primary: bool
    """Leads its incident."""
    incident_id: str | None
    tool: str | None
    agent: str | None
    project: str
    session_id: str | None
    first_at: Time
    last_at: Time
    engine_version: str | None


class SpanStatus(TypedDict):
    """A span's own status."""

    code: str
    message: str | None


class SpanScope(TypedDict):
    """The instrumentation scope."""

    name: str
    version: str | None
    attributes: dict[str, str]


class SpanEvent(TypedDict):
    """An event of a span."""

    time: Time
    name: str
    attributes: dict[str, str]


class SpanLink(TypedDict):
    """A link of a span."""

    trace_id: str
    span_id: str
    attributes: dict[str, str]


class Span(TypedDict):
    """A span as received; attributes as text."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    trace_state: str | None
    name: str
    kind: str
    started_at: Time
    duration_ms: float
    status: SpanStatus
    project: str
    resource: dict[str, str]
    scope: SpanScope
    attributes: dict[str, str]
    events: list[SpanEvent]
    links: list[SpanLink]


class Paging(TypedDict):
    """The way to the next page; null on the last."""

    next_cursor: str | None


class ListMeta(TypedDict):
    """How much there is."""

    count: int


@described
class ProblemEntry(TypedDict):
    """One thing that is wrong."""

    parameter: str
    detail: str
    allowed: NotRequired[list[str]]
    at: NotRequired[int]
    """Character of the search text, from 0."""
    pointer: NotRequired[str]
    """JSON pointer into the body."""


class Problem(TypedDict):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: NotRequired[list[ProblemEntry]]
