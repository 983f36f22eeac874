"""What every format is read into: a request, an answer, and the pieces of a conversation.

Messages have the form of the GenAI conventions, `{"role", "parts": [{"type", …}]}`, whatever they came in; spans,
sessions and tool calls are made of this form alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, TypeGuard

Document = dict[str, Any]
Part = dict[str, Any]
Message = dict[str, Any]

MAX_BLOB = 4096
"""Characters of base64 from which on media are kept as size and hash only."""


@dataclass(slots=True)
class Usage:
    """What a call is charged for. Tokens as our convention counts them: input includes cache reads and writes, output
    includes reasoning. None: the provider did not say."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    cost_usd: float | None = None
    web_searches: int | None = None
    """That the provider made within the call."""

    @property
    def known(self) -> bool:
        return self.input is not None or self.output is not None


@dataclass(slots=True)
class Asked:
    """What a request says."""

    operation: str
    model: str = ""
    stream: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    """Attributes of the GenAI conventions."""
    system: list[Part] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    tools: list[Document] = field(default_factory=list)
    """Type and name of each."""
    conversation: str = ""
    """The provider's id of the conversation that is continued."""
    previous_response: str = ""
    session: str = ""
    """`metadata.session_id`, which some clients send."""
    cache_key: str = ""
    """`prompt_cache_key`"""


@dataclass(slots=True)
class Answered:
    """What an answer says."""

    id: str = ""
    model: str = ""
    finish_reasons: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    error_type: str = ""
    error_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    conversation: str = ""
    """The provider's id of the conversation that this answer is in, where it says so first."""


class Assembler(Protocol):
    """Puts the events of a stream together to the document that would have come without streaming."""

    @property
    def finished(self) -> bool:
        """The event that ends the stream has come."""

    @property
    def document(self) -> Document:
        """As much of it as has come."""

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        """Takes an event; whether the model said something in it."""

    def call_ended_ns(self, call_id: str) -> int | None:
        """When the last piece of a tool call came."""

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        """From when until when a tool ran that the provider runs itself; None if the stream does not tell."""


class Assembling:
    """What assemblers have in common: whether the end has come, and when each tool call had. Times are by call id."""

    def __init__(self) -> None:
        self.finished = False
        self._ended: dict[str, int] = {}
        self._ran_from: dict[str, int] = {}
        self._ran_until: dict[str, int] = {}

    def call_ended_ns(self, call_id: str) -> int | None:
        return self._ended.get(call_id)

    def ran_ns(self, call_id: str) -> tuple[int, int] | None:
        began, ended = self._ran_from.get(call_id), self._ran_until.get(call_id)
        return (began, ended) if began is not None and ended is not None else None


class Format(Protocol):
    """One API."""

    api: str
    """Its name in `eddyline.proxy.api`."""

    def asked(self, body: Document, path: str) -> Asked:
        """What the request says. Any member may be of any type."""

    def answered(self, document: Document) -> Answered:
        """What the answer says, errors included."""

    def assembler(self) -> Assembler | None:
        """None if the API does not stream."""


# --------------------------------------------------------------------------- parts


def text_part(text: Any) -> Part:
    return {"type": "text", "content": string(text)}


def reasoning_part(text: Any) -> Part:
    return {"type": "reasoning", "content": text if isinstance(text, str) else ""}


def call_part(id_: Any, name: Any, arguments: Any, type_: str = "tool_call") -> Part:
    """`arguments`: as sent, a text or a document."""
    return {"type": type_, "id": string(id_), "name": string(name), "arguments": arguments}


def result_part(
    id_: Any, result: Any, *, failed: bool = False, name: Any = None, type_: str = "tool_call_response"
) -> Part:
    part = {"type": type_, "id": string(id_), "response": result}
    if failed:
        part["is_error"] = True
    if name:
        part["name"] = string(name)
    return part


def media_part(modality: str, media_type: Any, data: Any, **more: Any) -> Part:
    """Media as what they are and how large, by their hash; the data itself is not kept."""
    part: Part = {"type": "blob", "modality": modality, "mime_type": string(media_type)}
    if isinstance(data, str) and data:
        part |= {"bytes": len(data) * 3 // 4, "sha256": sha256(data.encode(errors="replace")).hexdigest()}
    return part | more


def uri_part(modality: str, url: Any) -> Part:
    """A reference; `data:` URLs hold the media themselves."""
    text = string(url)
    if text.startswith("data:"):
        head, _, data = text[5:].partition(",")
        return media_part(modality, head.partition(";")[0], data)
    return {"type": "uri", "modality": modality, "uri": text[:2048]}


def generic_part(block: Document) -> Part:
    """A block of a type that is not known here: its type and its scalars."""
    kept = {
        key: value
        for key, value in block.items()
        if isinstance(value, (int, float, bool)) or (isinstance(value, str) and len(value) < MAX_BLOB)
    }
    return {**kept, "type": string(block.get("type")) or "generic"}


# --------------------------------------------------------------------------- careful reading


def string(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def mapped(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[Document]:
    return [item for item in listed(value) if isinstance(item, dict)]


def count(value: Any) -> int | None:
    """A token count; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**48:
        return None
    return int(value)


def added(*counts: int | None) -> int | None:
    """Sum of what is known; None if nothing is."""
    known = [one for one in counts if one is not None]
    return sum(known) if known else None


def with_reasoning(
    input_: int | None, output: int | None, reasoning: int | None, total: int | None
) -> int | None:
    """The output with its reasoning. xAI counts it beside: the total is the sum of all three. Others do so where it is
    more than all of the output."""
    if input_ is None or output is None or not reasoning:
        return output
    return output + reasoning if reasoning > output or total == input_ + output + reasoning else output


def cost_in(usage: Document) -> float | None:
    """US dollars that a provider says a call cost: OpenRouter as a number, and apart from it what a key of one's own is
    charged elsewhere; Perplexity as the sum of its parts; xAI in ticks of 1e-10."""
    cost = usage.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    elif cost is None and isinstance(ticks := usage.get("cost_in_usd_ticks"), int):
        cost = ticks / 1e10
    if not _is_number(cost):
        return None
    if usage.get("is_byok") is True:
        elsewhere = mapped(usage.get("cost_details")).get("upstream_inference_cost")
        return round(cost + elsewhere, 12) if _is_number(elsewhere) else None
    return cost


def searches_in(usage: Document) -> int | None:
    """Searches of the web that a provider says it made: Anthropic and OpenRouter, LiteLLM in front of others,
    Perplexity."""
    told = mapped(usage.get("server_tool_use")).get("web_search_requests")
    if told is None:
        told = mapped(usage.get("prompt_tokens_details")).get("web_search_requests")
    return count(usage.get("num_search_queries") if told is None else told)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def parameters(body: Document, names: dict[str, str]) -> dict[str, Any]:
    """Attributes by the request's own names for them, for scalars and lists of texts."""
    found: dict[str, Any] = {}
    for name, attribute in names.items():
        value = body.get(name)
        if isinstance(value, (str, int, float, bool)) or (
            isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        ):
            found.setdefault(attribute, value)
    for attribute in ("gen_ai.request.stop_sequences", "gen_ai.request.encoding_formats"):
        if isinstance(found.get(attribute), str):
            found[attribute] = [found[attribute]]
    return found


def error_of(document: Document) -> tuple[str, str]:
    """(type, message) of an error in the shapes of all providers; empty if there is none."""
    error = document.get("error")
    if isinstance(error, str) and error:
        return "error", error
    if isinstance(error, dict):
        kind = next(
            (
                error[name]
                for name in ("type", "status", "code")
                if isinstance(error.get(name), (str, int)) and error.get(name)
            ),
            "error",
        )
        return str(kind), string(error.get("message"))
    if document.get("object") == "error" or (
        isinstance(document.get("message"), str)
        and "detail" not in document
        and set(document) <= {"message", "id", "request_id", "statusCode"}
    ):
        return string(document.get("type")) or "error", string(document.get("message"))
    detail = document.get("detail")
    return ("error", string(detail)) if isinstance(detail, str) else ("", "")
