"""Vertex AI's `predict`, which asks any model: Google's embeddings and images, and texts of models from its garden.

Each takes `instances` and gives a prediction for each. Names: Vertex AI documentation, "Text embeddings API", "Imagen
API". Which of them it is the model's name tells, or that a text is asked with; others are calls whose API is not known.
"""

from __future__ import annotations

from typing import Any

from collector.proxy.formats.base import (
    Answered,
    Asked,
    Assembler,
    Document,
    Format,
    Message,
    Part,
    Usage,
    added,
    count,
    error_of,
    listed,
    mapped,
    mappings,
    media_part,
    parameters,
    text_part,
)
from collector.proxy.formats.gemini import model_in

_PARAMETERS = {
    "outputDimensionality": "gen_ai.embeddings.dimension.count",
    "maxOutputTokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "topP": "gen_ai.request.top_p",
    "topK": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
}
_TEXTS = ("prompt", "content", "text")
_VECTORS = ("embeddings", "textEmbedding", "imageEmbedding")


def predict_format(path: str) -> Format:
    """Of a path that ends in `:predict`."""
    return _EMBEDDINGS if "embedding" in model_in(path) else _PREDICT


class Predict:
    """Args:
    vectors: the model gives nothing else.
    """

    def __init__(self, api: str, *, vectors: bool = False) -> None:
        self.api = api
        self._vectors = vectors

    def asked(self, body: Document, path: str) -> Asked:
        model = model_in(path) or path.rpartition("/endpoints/")[2].partition(":")[0]
        instances = mappings(body.get("instances"))
        found = parameters(mapped(body.get("parameters")), _PARAMETERS)
        operation = "embeddings" if self._vectors else _operation(model, instances)
        if operation == "image_generation":
            found["gen_ai.output.type"] = "image"
            asks_for = mapped(body.get("parameters")).get("sampleCount")
            if isinstance(asks_for, int) and asks_for != 1:
                found["gen_ai.request.choice.count"] = asks_for
        messages: list[Message] = [
            {"role": "user", "parts": parts} for one in instances if (parts := _parts(one))
        ]
        return Asked(operation, model, parameters=found, messages=messages if operation else [])

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        predictions = listed(document.get("predictions"))
        found = Answered(error_type=error_type, error_message=error_message)
        found.usage = Usage(added(*(_counted(mapped(one)) for one in predictions)))
        for one in predictions:
            if (length := _vector_length(mapped(one))) and not found.attributes:
                found.attributes["gen_ai.embeddings.dimension.count"] = length
        parts = [part for one in predictions if (part := _said(one)) is not None]
        if parts:
            found.messages = [{"role": "assistant", "parts": parts}]
        return found

    def assembler(self) -> Assembler | None:
        return None


def _operation(model: str, instances: list[Document]) -> str:
    if model.startswith("image"):
        return "image_generation"
    return "text_completion" if any(isinstance(one.get("prompt"), str) for one in instances) else ""


def _parts(instance: Document) -> list[Part]:
    parts = [text_part(instance[name]) for name in _TEXTS if isinstance(instance.get(name), str)]
    image = mapped(instance.get("image"))
    if image.get("bytesBase64Encoded"):
        parts.append(media_part("image", image.get("mimeType"), image["bytesBase64Encoded"]))
    return parts


def _said(prediction: Any) -> Part | None:
    if isinstance(prediction, str):
        return text_part(prediction)
    told = mapped(prediction)
    if told.get("bytesBase64Encoded"):
        return media_part("image", told.get("mimeType"), told["bytesBase64Encoded"])
    return text_part(told["content"]) if isinstance(told.get("content"), str) else None


def _counted(prediction: Document) -> int | None:
    return count(mapped(mapped(prediction.get("embeddings")).get("statistics")).get("token_count"))


def _vector_length(prediction: Document) -> int:
    for name in _VECTORS:
        held = prediction.get(name)
        vector = held if isinstance(held, list) else mapped(held).get("values")
        if isinstance(vector, list):
            return len(vector)
    return 0


_PREDICT, _EMBEDDINGS = Predict("predict"), Predict("predict_embeddings", vectors=True)
