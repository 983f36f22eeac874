"""How each convention tells a tool call and an answer of a model: attributes of a span."""

from __future__ import annotations

import json
from typing import Any, Protocol


class Telling(Protocol):
    """`None` is what was not captured."""

    def tool(self, name: str, arguments: Any, result: str | None) -> dict[str, Any]: ...

    def says(self, text: str, told: str) -> dict[str, Any]: ...


def _known(**attributes: Any) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in attributes.items() if value is not None}


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


class GenAi:
    def tool(self, name: str, arguments: Any, result: str | None) -> dict[str, Any]:
        return _known(
            gen_ai__operation__name="execute_tool",
            gen_ai__tool__name=name,
            gen_ai__tool__call__arguments=_json(arguments),
            gen_ai__tool__call__result=result,
        )

    def says(self, text: str, told: str) -> dict[str, Any]:
        return _known(
            gen_ai__operation__name="chat",
            gen_ai__output__messages=_messages("assistant", text),
            gen_ai__input__messages=_messages("user", told),
        )


class OpenInference:
    def tool(self, name: str, arguments: Any, result: str | None) -> dict[str, Any]:
        return _known(
            openinference__span__kind="TOOL",
            tool__name=name,
            input__value=_json(arguments),
            output__value=result,
        )

    def says(self, text: str, told: str) -> dict[str, Any]:
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": text,
        }
        if told:
            attributes["llm.input_messages.0.message.role"] = "user"
            attributes["llm.input_messages.0.message.content"] = told
        return attributes


class Traceloop:
    def tool(self, name: str, arguments: Any, result: str | None) -> dict[str, Any]:
        return _known(
            traceloop__span__kind="tool",
            traceloop__entity__name=name,
            traceloop__entity__input=None if arguments is None else _json({"args": [], "kwargs": arguments}),
            traceloop__entity__output=None if result is None else _json({"output": result}),
        )

    def says(self, text: str, told: str) -> dict[str, Any]:
        attributes = {
            "llm.request.type": "chat",
            "gen_ai.system": "openai",
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": text,
        }
        if told:
            attributes["gen_ai.prompt.0.role"] = "user"
            attributes["gen_ai.prompt.0.content"] = told
        return attributes


class LlmKeys:
    def tool(self, name: str, arguments: Any, result: str | None) -> dict[str, Any]:
        # What has nothing captured is no more than a name: then the scope must say that it is a tool.
        kind = "TOOL" if arguments is None and result is None else None
        return _known(
            tool__name=name,
            llm__input=_json(arguments),
            llm__output=result,
            openinference__span__kind=kind,
        )

    def says(self, text: str, told: str) -> dict[str, Any]:
        return _known(llm__model_name="m", llm__output=text, llm__input=told or None)


TELLINGS: dict[str, Telling] = {
    "gen_ai": GenAi(),
    "openinference": OpenInference(),
    "traceloop": Traceloop(),
    "llm": LlmKeys(),
}


def _messages(role: str, text: str) -> str | None:
    return _json([{"role": role, "parts": [{"type": "text", "content": text}]}]) if text else None
