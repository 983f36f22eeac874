"""Gemini's Interactions API: what was said as steps, the provider's history by id, agents that work in the background.

Members and events: the schema that Google's SDKs are generated from. Before steps an answer had `outputs`, and a stream
`content.…` events; both are read alike.
"""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Assembling,
    Document,
    Message,
    Part,
    Usage,
    added,
    call_part,
    count,
    error_of,
    generic_part,
    listed,
    mapped,
    mappings,
    media_part,
    parameters,
    reasoning_part,
    result_part,
    string,
    text_part,
    uri_part,
    with_reasoning,
)

_PARAMETERS = {
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "thinking_level": "gen_ai.request.reasoning.level",
}
_MEDIA = frozenset({"image", "audio", "video", "document"})
_REASONS = {"completed": "stop", "requires_action": "tool_call", "incomplete": "length", "cancelled": "error"}
_ENDS = frozenset({"interaction.completed", "interaction.complete"})
_BEGINNINGS = frozenset({"step.start", "content.start"})
_PIECES = frozenset({"step.delta", "content.delta"})
_LASTS = frozenset({"step.stop", "content.stop"})


class Interactions:
    api = "interactions"

    def asked(self, body: Document, path: str) -> Asked:
        config = mapped(body.get("generation_config"))
        found = parameters(config, _PARAMETERS)
        if body.get("previous_interaction_id"):
            found["gen_ai.request.previous_response.id"] = string(body["previous_interaction_id"])
        if body.get("response_format") or body.get("response_mime_type") == "application/json":
            found["gen_ai.output.type"] = "json"
        given = body.get("input")
        steps = given if isinstance(given, list) else [given]
        system = body.get("system_instruction")
        return Asked(
            "generate_content",
            string(body.get("model")) or string(body.get("agent")),
            body.get("stream") is True,
            found,
            [text_part(system)] if isinstance(system, str) and system else [],
            _merged([_read_step(step, "user") for step in steps]),
            [
                {"type": string(tool.get("type")), "name": string(tool.get("name") or tool.get("type"))}
                for tool in mappings(body.get("tools"))
            ],
            previous_response=string(body.get("previous_interaction_id")),
        )

    def answered(self, document: Document) -> Answered:
        steps = mappings(document.get("steps") or document.get("outputs"))
        error_type, error_message = error_of(document)
        for step in steps:
            if not error_type and isinstance(step.get("error"), dict):
                error_type, error_message = error_of(step)
        status = string(document.get("status"))
        if status == "failed" and not error_type:
            error_type = status
        reason = _REASONS.get(status, "error" if error_type else "")
        read = _merged([_read_step(step, "assistant") for step in steps if step.get("type") != "user_input"])
        parts = [part for message in read for part in message["parts"]]
        usage = _read_usage(document.get("usage"))
        usage.web_searches = _searches(mapped(document.get("usage")), steps)
        return Answered(
            string(document.get("id")),
            string(document.get("model")),
            [reason] if reason else [],
            [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else [],
            usage,
            error_type,
            error_message,
        )

    def assembler(self) -> Assembler:
        return _Assembler()


def _merged(messages: list[Message]) -> list[Message]:
    """Steps of one role that follow one another are one message."""
    found: list[Message] = []
    for message in messages:
        if not message["parts"]:
            continue
        if found and found[-1]["role"] == message["role"]:
            found[-1]["parts"] += message["parts"]
        else:
            found.append(message)
    return found


def _read_step(step: Any, role: str) -> Message:
    """A step, a turn of a role, or a piece of content that stands for itself."""
    if isinstance(step, str):
        return {"role": role, "parts": [text_part(step)]}
    step = mapped(step)
    kind = string(step.get("type"))
    if "content" in step and kind in ("user_input", "model_output", ""):
        given = {"model_output": "assistant", "user_input": "user"}.get(kind) or string(step.get("role"))
        role = {"model": "assistant"}.get(given, given) or role
        content = step["content"]
        blocks = content if isinstance(content, list) else [content]
        return {"role": role, "parts": [part for block in blocks for part in _read_content(block)]}
    if kind == "function_result":
        failed = step.get("is_error") is True
        result = _plain(step.get("result"))
        part = result_part(step.get("call_id"), result, failed=failed, name=step.get("name"))
        return {"role": "tool", "parts": [part]}
    return {"role": role if kind in ("text", *_MEDIA) else "assistant", "parts": _read_content(step)}


def _read_content(block: Any) -> list[Part]:
    if isinstance(block, str):
        return [text_part(block)] if block else []
    block = mapped(block)
    kind = string(block.get("type"))
    if kind == "text":
        return [text_part(block.get("text"))] if block.get("text") else []
    if kind == "thought":
        texts = [string(one.get("text")) for one in mappings(block.get("summary"))]
        return [reasoning_part("\n".join(filter(None, texts)))] if any(texts) else []
    if kind in _MEDIA:
        media_type = string(block.get("mime_type"))
        data = block.get("data")
        return [media_part(kind, media_type, data) if data else uri_part(kind, block.get("uri"))]
    if kind == "function_call":
        return [call_part(block.get("id"), block.get("name"), block.get("arguments") or {})]
    if kind.endswith("_call"):
        name = string(block.get("name")) or kind.removesuffix("_call")
        return [call_part(block.get("id"), name, block.get("arguments") or {}, "server_tool_call")]
    if kind.endswith("_result"):
        failed = block.get("is_error") is True
        result = _plain(block.get("result"))
        type_ = "server_tool_call_response"
        return [result_part(block.get("call_id"), result, failed=failed, type_=type_)]
    return [generic_part(block)] if block else []


def _plain(result: Any) -> Any:
    """A tool's result; media in it by size and hash."""
    if not isinstance(result, list) or not any(isinstance(one, dict) and one.get("type") for one in result):
        return result
    parts = [part for block in result for part in _read_content(block)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["content"] for part in parts)
    return parts


def _read_usage(value: Any) -> Usage:
    """Thoughts stand beside the output, tool use beside the input: both belong in."""
    usage = mapped(value)
    thoughts = count(usage.get("total_thought_tokens"))
    input_, used = count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))
    output = count(usage.get("total_output_tokens"))
    read = added(input_, used)
    return Usage(
        read,
        with_reasoning(read, output, thoughts, count(usage.get("total_tokens"))),
        count(usage.get("total_cached_tokens")),
        None,
        thoughts,
        _of_modality(usage.get("input_tokens_by_modality"), "audio"),
        _of_modality(usage.get("output_tokens_by_modality"), "audio"),
    )


def _of_modality(details: Any, modality: str) -> int | None:
    found = [
        count(one.get("tokens"))
        for one in mappings(details)
        if string(one.get("modality")).lower() == modality
    ]
    return added(*found) or None


def _searches(usage: Document, steps: list[Document]) -> int | None:
    """Searches of the web that the provider made; None if it was not asked for any."""
    told = [
        count(one.get("count"))
        for one in mappings(usage.get("grounding_tool_count"))
        if one.get("type") == "google_search"
    ]
    if told:
        return added(*told)
    calls = [step for step in steps if step.get("type") == "google_search_call"]
    if not calls:
        return None
    return sum(
        bool(query) for call in calls for query in listed(mapped(call.get("arguments")).get("queries"))
    )


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._head: Document = {}
        self._steps: dict[int, Document] = {}

    @property
    def document(self) -> Document:
        steps = [step for _, step in sorted(self._steps.items())]
        return {**self._head, "steps": steps} if steps else self._head

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if not isinstance(data, dict):
            return False
        kind = string(data.get("event_type")) or name
        if kind.startswith("interaction."):
            told = mapped(data.get("interaction")) or data
            self._head |= {
                key: told[key]
                for key in ("id", "model", "status", "usage", "error", "steps", "outputs")
                if told.get(key)
            }
            self._head.setdefault("id", data.get("interaction_id"))
            self.finished = self.finished or kind in _ENDS
        elif kind == "error" or "error" in data:
            self._head["error"] = data.get("error") or {"message": "error"}
            self.finished = True
        elif (index := count(data.get("index"))) is not None:
            return self._step(kind, index, data, at_ns)
        return False

    def _step(self, kind: str, index: int, data: Document, at_ns: int) -> bool:
        if kind in _BEGINNINGS:
            step = self._steps[index] = dict(mapped(data.get("step") or data.get("content")))
            self._note(step, at_ns, begun=True)
            return False
        step = self._steps.setdefault(index, {})
        if kind in _PIECES:
            return _grow(step, mapped(data.get("delta")))
        if kind in _LASTS:
            self._note(step, at_ns, begun=False)
        return False

    def _note(self, step: Document, at_ns: int, *, begun: bool) -> None:
        """When a call had come, and from when until when a tool of the provider's ran: until its result began."""
        kind, call_id = string(step.get("type")), string(step.get("id"))
        if kind.endswith("_call") and not begun:
            self._ended[call_id] = self._ran_from[call_id] = at_ns
        elif kind.endswith("_result") and begun:
            self._ran_until[string(step.get("call_id"))] = at_ns


def _grow(step: Document, delta: Document) -> bool:
    """Adds a piece to a step; whether the model said something in it."""
    kind = string(delta.get("type"))
    if kind == "arguments_delta":
        known = step.get("arguments")
        step["arguments"] = (known if isinstance(known, str) else "") + string(delta.get("arguments"))
        return True
    if kind == "thought_summary":
        step.setdefault("type", "thought")
        step["summary"] = [*listed(step.get("summary")), mapped(delta.get("content"))]
        return True
    if kind == "text" or kind in _MEDIA:
        member = "text" if kind == "text" else "data"
        if step.get("type") == kind:  # the step is the content itself
            step[member] = string(step.get(member)) + string(delta.get(member))
            return bool(delta.get(member))
        step.setdefault("type", "model_output")
        content = step["content"] = listed(step.get("content"))
        if content and isinstance(content[-1], dict) and content[-1].get("type") == kind:
            content[-1] = {
                **content[-1],
                **delta,
                member: string(content[-1].get(member)) + string(delta.get(member)),
            }
        else:
            content.append(dict(delta))
        return bool(delta.get(member))
    if kind in ("thought_signature", "text_annotation_delta", "text_annotation"):
        return False
    step |= {key: value for key, value in delta.items() if value is not None}
    return kind.endswith("_call")
