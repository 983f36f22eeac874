"""The search language.

    model:gpt-4o* status:failed cost>0.05 dur>30s -tag:test (tool:search OR agent:planner) "exact words"

    query  = either                      terms side by side must all hold
    either = all { "OR" all }
    all    = not { ["AND"] not }
    not    = [ "-" | "NOT" ] ( "(" either ")" | term )
    term   = field operator value { "," value }  |  word  |  quoted

Operators are `:` and `=` (is), `!=`, `<`, `<=`, `>`, `>=`. A value in quotes is taken as it is; else `*` stands for
anything. A word or quoted text by itself is looked for in what the run read and wrote; a word that could be a run's id,
or how one begins, finds that run too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from collector.query.errors import QueryError
from collector.query.values import canonical, compare
from sinks.filter import Condition, Either, Every, Not

MAX_LENGTH = 4_000
MAX_TERMS = 200
MAX_DEPTH = 20
"""Characters, comparisons and nested parentheses of one query."""

_FIELD = re.compile(r"([A-Za-z_][\w.\-/]*)(:|!=|<=|>=|=|<|>)")
_BARE = re.compile(r"[^\s()\",]+")
_WORD = re.compile(r"[^\s()\"]+")
_ID = re.compile(r"[0-9a-f]{8,32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""A run's id, or enough of its beginning."""


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    quoted: bool
    at: int


def read_text(text: str) -> Condition:
    """The filter that a search text says; nothing but white space lets everything through.

    Raises:
        QueryError: with the place of the character at which it can not be understood.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"longer than {MAX_LENGTH} characters", at=MAX_LENGTH)
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def whole(self) -> Condition:
        self._skip()
        if self._at == len(self._text):
            return Every()
        found = self._either(0)
        if self._at < len(self._text):
            raise QueryError("nothing is open that ')' could close", at=self._at)
        return found

    # ------------------------------------------------------------------- grammar

    def _either(self, depth: int) -> Condition:
        parts = [self._all(depth)]
        while self._take_word("OR"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Either(parts)

    def _all(self, depth: int) -> Condition:
        parts = [self._not(depth)]
        while True:
            joined = self._take_word("AND")
            if not joined and (self._ended() or self._next_word() == "OR"):
                return parts[0] if len(parts) == 1 else Every(parts)
            parts.append(self._not(depth))

    def _not(self, depth: int) -> Condition:
        at = self._at
        if self._ended():
            raise QueryError("a term is missing here", at=at)
        if self._next_word() in ("AND", "OR"):
            raise QueryError(f"{self._next_word()} stands between two terms", at=at)
        if self._take_word("NOT"):
            return Not(self._not(self._deeper(depth, at)))
        if self._text[at] == "-" and at + 1 < len(self._text) and not self._text[at + 1].isspace():
            self._at += 1
            return Not(self._not(self._deeper(depth, at)))
        if self._text[at] == "(":
            self._advance(1)
            inner = self._either(self._deeper(depth, at))
            if not self._text.startswith(")", self._at):
                raise QueryError("this '(' is never closed", at=at)
            self._advance(1)
            return inner
        return self._term()

    def _term(self) -> Condition:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise QueryError(f"more than {MAX_TERMS} terms", at=self._at)
        at = self._at
        match = _FIELD.match(self._text, at)
        if match is None or self._text.startswith("//", match.end()):  # an address is no field
            value = self._value(_WORD)
            self._skip()
            said = _placed(at, "text", "=", value)
            if value.quoted or not _ID.fullmatch(value.text):
                return said
            begins = value.text.lower().replace("-", "") + "*"
            return Either([said, compare("id", "=", begins, pattern=True)])
        name, operator = match[1], match[2]
        try:
            canonical(name)
        except QueryError as error:
            raise QueryError(error.detail, at=at, allowed=error.allowed) from None
        self._at = match.end()
        values = list(self._values(name))
        self._skip()
        negated = operator == "!="
        operator = "=" if operator in (":", "!=") else operator
        parts = [_placed(value.at, name, operator, value) for value in values]
        found = parts[0] if len(parts) == 1 else Either(parts)
        return Not(found) if negated else found

    def _values(self, name: str) -> Iterator[_Value]:
        while True:
            if self._at == len(self._text) or self._text[self._at] in " \t\n),":
                raise QueryError(f"{name} is compared with nothing here", at=self._at)
            yield self._value(_BARE)
            if not self._text.startswith(",", self._at):
                return
            self._at += 1

    def _value(self, bare: re.Pattern[str]) -> _Value:
        at = self._at
        if self._text[at] == '"':
            return self._quoted()
        match = bare.match(self._text, at)
        if match is None:
            raise QueryError(f"{self._text[at]!r} is not expected here", at=at)
        self._at = match.end()
        return _Value(match[0], False, at)

    def _quoted(self) -> _Value:
        """A text in double quotes; a backslash takes the character after it as it is."""
        at = self._at
        characters: list[str] = []
        place = at + 1
        while place < len(self._text):
            character = self._text[place]
            if character == '"':
                self._at = place + 1
                if place == at + 1:
                    raise QueryError("these quotes hold nothing", at=at)
                return _Value("".join(characters), True, at)
            if character == "\\" and place + 1 < len(self._text):
                place += 1
                character = self._text[place]
            characters.append(character)
            place += 1
        raise QueryError("this quote is never closed", at=at)

    # ------------------------------------------------------------------- places

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _advance(self, characters: int) -> None:
        self._at += characters
        self._skip()

    def _ended(self) -> bool:
        return self._at == len(self._text) or self._text[self._at] == ")"

    def _next_word(self) -> str:
        match = _WORD.match(self._text, self._at)
        return match[0] if match else ""

    def _take_word(self, word: str) -> bool:
        if self._next_word() != word:
            return False
        self._advance(len(word))
        return True

    def _deeper(self, depth: int, at: int) -> int:
        if depth >= MAX_DEPTH:
            raise QueryError(f"nested deeper than {MAX_DEPTH}", at=at)
        return depth + 1


def _placed(at: int, name: str, operator: str, value: _Value) -> Condition:
    try:
        return compare(name, operator, value.text, pattern=not value.quoted)
    except QueryError as error:
        raise QueryError(error.detail, at=at, allowed=error.allowed) from None
