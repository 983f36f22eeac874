"""OpenAI Chat Completions, and the many who speak it: Azure, Groq, DeepSeek, Mistral, OpenRouter, vLLM, llama.cpp, …

Fields and chunk grammar: OpenAI API reference, "Chat" and "Streaming". Followers differ in where they put usage
(Groq: `x_groq.usage`; Moonshot: in the choice; llama.cpp: `timings`; some in every chunk: the last one counts), in
whether the output has its reasoning in it, in what they call reasoning, and in whether a tool call's fragments carry an
index of their own.
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
    cost_in,
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
    searches_in,
    string,
    text_part,
    uri_part,
    with_reasoning,
)
from collector.proxy.formats.stats import stats_in

PARAMETERS = {
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "stop": "gen_ai.request.stop_sequences",
    "seed": "gen_ai.request.seed",
    "reasoning_effort": "gen_ai.request.reasoning.level",
    "service_tier": "openai.request.service_tier",
    "user": "user.id",
}
_REASONING = ("reasoning_content", "reasoning")
_MODALITIES = {"image_url": "image", "input_image": "image", "input_audio": "audio", "video_url": "video"}


class Chat:
    api = "chat_completions"

    def asked(self, body: Document, path: str) -> Asked:
        return Asked(
            "chat",
            string(body.get("model")) or _deployment(path),
            body.get("stream") is True,
            request_parameters(body),
            messages=[read_message(message) for message in mappings(body.get("messages"))],
            tools=tool_names(body.get("tools")) + tool_names(body.get("functions")),
        )

    def answered(self, document: Document) -> Answered:
        choices = sorted(
            mappings(document.get("choices")), key=lambda choice: count(choice.get("index")) or 0
        )
        error_type, error_message = error_of(document)
        messages = []
        for choice in choices:
            message = read_message(mapped(choice.get("message")))
            message["finish_reason"] = finish_reason(choice.get("finish_reason"))
            messages.append(message)
        attributes: dict[str, Any] = {}
        for name in ("service_tier", "system_fingerprint"):
            if isinstance(document.get(name), str):
                attributes[f"openai.response.{name}"] = document[name]
        attributes |= stats_in(document)
        return Answered(
            string(document.get("id")),
            string(document.get("model")),
            [string(choice.get("finish_reason")) for choice in choices if choice.get("finish_reason")],
            messages,
            _usage_in(document, choices),
            error_type,
            error_message,
            attributes,
        )

    def assembler(self) -> Assembler:
        return _Assembler()


def request_parameters(body: Document) -> dict[str, Any]:
    found = parameters(body, PARAMETERS)
    if isinstance(body.get("agent_id"), str):  # Mistral's agents have a model of their own
        found["gen_ai.agent.id"] = body["agent_id"]
    if isinstance(body.get("n"), int) and body["n"] != 1:
        found["gen_ai.request.choice.count"] = body["n"]
    kind = mapped(body.get("response_format")).get("type")
    if kind in ("json_object", "json_schema"):
        found["gen_ai.output.type"] = "json"
    elif kind == "text":
        found["gen_ai.output.type"] = "text"
    return found


def tool_names(value: Any) -> list[Document]:
    """Type and name of each tool: schemas are long and repeat with every request. Those that the provider runs have
    only a type, which is their name, too."""
    found = []
    for tool in mappings(value):
        kind = string(tool.get("type")) or "function"
        named = mapped(tool.get("function")) or mapped(tool.get("custom")) or tool
        unnamed = "" if kind in ("function", "custom") else kind
        found.append({"type": kind, "name": string(named.get("name")) or unnamed})
    return found


def read_message(message: Document) -> Message:
    role = string(message.get("role")) or "assistant"
    if role in ("tool", "function"):
        content = message.get("content")
        name = message.get("name")
        return {
            "role": "tool",
            "parts": [result_part(message.get("tool_call_id"), _plain(content), name=name)],
        }
    parts: list[Part] = []
    for name in _REASONING:
        if isinstance(message.get(name), str) and message[name]:
            parts.append(reasoning_part(message[name]))
            break
    parts += read_content(message.get("content"))
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        parts.append(text_part(message["refusal"]))
    parts += read_content(message.get("images"))
    if isinstance(message.get("audio"), dict):
        audio = message["audio"]
        parts.append(media_part("audio", "", audio.get("data"), id=string(audio.get("id"))))
        if audio.get("transcript"):
            parts.append(text_part(audio["transcript"]))
    for made in mappings(message.get("tool_calls")):
        function = mapped(made.get("function")) or mapped(made.get("custom")) or made
        arguments = function.get("arguments", function.get("input", ""))
        parts.append(call_part(made.get("id"), function.get("name"), arguments))
    if isinstance(message.get("function_call"), dict):
        function = message["function_call"]
        parts.append(call_part("", function.get("name"), function.get("arguments", "")))
    return {"role": role, "parts": parts}


def read_content(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [text_part(content)] if content else []
    parts: list[Part] = []
    for block in listed(content):
        if isinstance(block, str):
            parts.append(text_part(block))
        elif isinstance(block, dict):
            parts.append(_read_block(block))
    return parts


def _read_block(block: Document) -> Part:
    kind = string(block.get("type"))
    if kind in ("text", "input_text", "output_text", "summary_text"):
        return text_part(block.get("text"))
    if kind == "refusal":
        return text_part(block.get("refusal"))
    if kind == "thinking":  # Mistral's
        return reasoning_part(_thought(block))
    if kind in _MODALITIES:
        modality = _MODALITIES[kind]
        inner = block.get(kind)
        if isinstance(inner, dict) and "data" in inner:
            return media_part(modality, f"{modality}/{string(inner.get('format'))}", inner["data"])
        url = inner.get("url") if isinstance(inner, dict) else inner or block.get("image_url")
        return (
            uri_part(modality, url)
            if url
            else {"type": "file", "modality": modality, "file_id": string(block.get("file_id"))}
        )
    if kind in ("file", "input_file"):
        file = mapped(block.get("file")) or block
        if file.get("file_data"):
            return media_part(
                "document",
                "",
                string(file["file_data"]).rpartition(",")[2],
                name=string(file.get("filename")),
            )
        return {
            "type": "file",
            "modality": "document",
            "file_id": string(file.get("file_id") or file.get("file_url")),
        }
    return generic_part(block)


def _thought(block: Document) -> str:
    return "".join(string(inner.get("text")) for inner in mappings(block.get("thinking")))


def _plain(content: Any) -> Any:
    """A tool's result as the text it is; media in it by size and hash."""
    if isinstance(content, list):
        parts = read_content(content)
        if all(part["type"] == "text" for part in parts):
            return "\n".join(part["content"] for part in parts)
        return parts
    return content


def finish_reason(value: Any) -> str:
    """The conventions' word for it."""
    return {"tool_calls": "tool_call", "function_call": "tool_call"}.get(string(value), string(value))


def read_usage(value: Any) -> Usage:
    usage = mapped(value)
    prompt = mapped(usage.get("prompt_tokens_details"))
    completion = mapped(usage.get("completion_tokens_details"))
    input_, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    reasoning = count(completion.get("reasoning_tokens", usage.get("reasoning_tokens")))
    cached = usage.get("prompt_cache_hit_tokens", usage.get("cached_tokens"))
    return Usage(
        input_,
        with_reasoning(input_, output, reasoning, count(usage.get("total_tokens"))),
        count(prompt.get("cached_tokens", cached)),
        count(prompt.get("cache_write_tokens")),
        reasoning,
        count(prompt.get("audio_tokens")) or None,
        count(completion.get("audio_tokens")) or None,
        cost_in(usage),
        searches_in(usage),
    )


def _usage_in(document: Document, choices: list[Document]) -> Usage:
    """The usage of an answer, wherever it stands in it."""
    given = document.get("usage") or mapped(document.get("x_groq")).get("usage")
    given = given or next((choice["usage"] for choice in choices if choice.get("usage")), None)
    timings = mapped(document.get("timings"))
    if given is None and timings:
        cached = count(timings.get("cache_n"))
        return Usage(added(count(timings.get("prompt_n")), cached), count(timings.get("predicted_n")), cached)
    usage = read_usage(given)
    if "gemini" in string(document.get("model")) and usage.reasoning is None:
        # Its compatible API tells of thoughts in the total alone.
        thought = (count(mapped(given).get("total_tokens")) or 0) - (usage.input or 0) - (usage.output or 0)
        if thought > 0 and usage.input is not None:
            usage.output, usage.reasoning = added(usage.output, thought), thought
    return usage


def _deployment(path: str) -> str:
    """Azure names the model in the path."""
    _, found, rest = path.partition("/deployments/")
    return rest.partition("/")[0] if found else ""


class _Assembler(Assembling):
    def __init__(self) -> None:
        super().__init__()
        self._head: Document = {}
        self._choices: dict[int, Document] = {}
        self._calls: dict[int, dict[Any, Document]] = {}
        self._images: dict[int, list[Any]] = {}
        self._audio: dict[int, Document] = {}

    @property
    def document(self) -> Document:
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = {
                name: "".join(value) if isinstance(value, list) else value
                for name, value in choice["message"].items()
            }
            calls = []
            for made in self._calls.get(index, {}).values():
                calls.append(
                    {
                        **made,
                        "function": {**made["function"], "arguments": "".join(made["function"]["arguments"])},
                    }
                )
            if calls:
                message["tool_calls"] = calls
            if index in self._images:
                message["images"] = self._images[index]
            if index in self._audio:
                audio = self._audio[index]
                message["audio"] = {
                    **audio,
                    "data": "".join(audio["data"]),
                    "transcript": "".join(audio["transcript"]),
                }
            choices.append({**choice, "index": index, "message": message})
        return {**self._head, "choices": choices}

    def feed(self, name: str, data: Any, at_ns: int) -> bool:
        if data == "[DONE]":
            self.finished = True
            return False
        if not isinstance(data, dict):
            return False
        for key in (
            "id",
            "model",
            "created",
            "service_tier",
            "system_fingerprint",
            "usage",
            "x_groq",
            "timings",
            "stats",
            "error",
        ):
            if data.get(key):
                self._head[key] = data[key]
        if "error" not in data and (name == "error" or data.get("object") == "error"):
            self._head["error"] = data  # llama.cpp and vLLM, of some versions
        said = False
        for choice in mappings(data.get("choices")):
            said |= self._add(choice, at_ns)
        return said

    def _add(self, choice: Document, at_ns: int) -> bool:
        index = count(choice.get("index")) or 0
        known = self._choices.setdefault(index, {"message": {"role": "assistant"}, "finish_reason": None})
        for key in ("finish_reason", "usage"):
            if choice.get(key):
                known[key] = choice[key]
        delta = mapped(choice.get("delta")) or mapped(choice.get("message"))
        message = known["message"]
        if isinstance(delta.get("role"), str) and delta["role"]:
            message["role"] = delta["role"]
        said = False
        for key in ("content", "refusal", *_REASONING):
            value = delta.get(key)
            if isinstance(value, list):  # Mistral's reasoning models send blocks
                blocks = mappings(value)
                if thought := "".join(_thought(block) for block in blocks if block.get("type") == "thinking"):
                    message.setdefault(_REASONING[0], []).append(thought)
                    said = True
                value = "".join(string(block.get("text")) for block in blocks)
            if isinstance(value, str) and value:
                message.setdefault(key, []).append(value)
                said = True
        if images := listed(delta.get("images")):
            self._images.setdefault(index, []).extend(images)
            said = True
        if isinstance(delta.get("audio"), dict):
            said |= self._add_audio(index, delta["audio"])
        made = delta.get("tool_calls") or (
            [{"index": -1, "function": delta["function_call"]}]
            if isinstance(delta.get("function_call"), dict)
            else []
        )
        for fragment in mappings(made):
            self._add_call(index, fragment, at_ns)
            said = True
        return said

    def _add_audio(self, choice: int, delta: Document) -> bool:
        audio = self._audio.setdefault(choice, {"data": [], "transcript": []})
        if delta.get("id"):
            audio["id"] = delta["id"]
        said = False
        for key in ("data", "transcript"):
            if isinstance(delta.get(key), str) and delta[key]:
                audio[key].append(delta[key])
                said = True
        return said

    def _add_call(self, choice: int, fragment: Document, at_ns: int) -> None:
        calls = self._calls.setdefault(choice, {})
        function = mapped(fragment.get("function")) or mapped(fragment.get("custom"))
        key: Any = fragment.get("index")
        if key is None:  # some servers leave the index out: the id tells, else it goes on with the last call
            key = fragment.get("id") or next(reversed(calls), 0)
            if key not in calls and not fragment.get("id") and calls:
                key = next(reversed(calls))
        known = calls.get(key)
        if known and fragment.get("id") and known["id"] not in ("", fragment["id"]) and function.get("name"):
            key = fragment["id"]  # Gemini's compatible API gives each of several calls the same index
        made = calls.setdefault(
            key, {"id": "", "type": "function", "function": {"name": "", "arguments": []}}
        )
        if fragment.get("id"):
            made["id"] = string(fragment["id"])
        if fragment.get("type"):
            made["type"] = fragment["type"]
        if function.get("name"):
            made["function"]["name"] = string(function["name"])
        arguments = function.get("arguments", function.get("input"))
        if isinstance(arguments, str):
            made["function"]["arguments"].append(arguments)
        elif isinstance(arguments, dict):  # Ollama's compatible API and some gateways send the object
            import orjson

            made["function"]["arguments"] = [orjson.dumps(arguments).decode()]
        if made["id"]:
            self._ended[made["id"]] = at_ns
