"""Counting of tokens, which each provider has and all answer alike: with one number."""

from __future__ import annotations

from collections.abc import Callable

from collector.proxy.formats.base import Answered, Asked, Assembler, Document, count, error_of

COUNTED = "eddyline.proxy.counted_tokens"


class CountTokens:
    """Counts what a request would cost; uses nothing itself, so its count is no usage.

    Args:
        model: of the request's body and path.
        member: of the answer, that has the number.
        attribute: that the span tells it by.
    """

    api = "count_tokens"

    def __init__(self, model: Callable[[Document, str], str], member: str, attribute: str = COUNTED) -> None:
        self._model = model
        self._member = member
        self._attribute = attribute

    def asked(self, body: Document, path: str) -> Asked:
        return Asked(self.api, self._model(body, path))

    def answered(self, document: Document) -> Answered:
        error_type, error_message = error_of(document)
        found = Answered(error_type=error_type, error_message=error_message)
        if (tokens := count(document.get(self._member))) is not None:
            found.attributes[self._attribute] = tokens
        return found

    def assembler(self) -> Assembler | None:
        return None
