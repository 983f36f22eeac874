"""What a tool's answer looks like at first sight: the cheap part of its fingerprint, stored with each event."""

from __future__ import annotations

import re
from enum import IntEnum

from mappers.messages.document import remembered

_FAILURE = re.compile(
    r"^\W{0,3}(?:\S{0,40}:\s*){0,3}(?:error|exception|traceback|fatal|usage:|failed|failure|unhandled)"
    r"(?!s?\"?\s*[:=]\s*(?:null|none|false|\"\"|\[\]|\{\}|0\b))"
    r"|\berror executing\b|command not found|no such file or directory|\bsyntax error|not recogni[sz]ed"
    r"|execution timed out|timed out after|exit ?code:? [1-9]|exited with (?:code|status) [1-9]"
    r"|permission denied|connection refused|unknown (?:language|command|tool|option)"
    r"|\"error\":(?!\s*(?:null|none|false|\"\"|\[\]|\{\}|0\b))"
    r"|unexpected eof|cannot access|too many requests|rate limit(?:ed)? exceeded"
    r"|\b(?:was|were|is) not a valid|\bis not a valid|no (?:sql )?code (?:block )?(?:was )?(?:found|detected)"
    r"|encountered an error|\bnot found$|^(?:file|directory) \S+ not found",
)
"""In lower case."""
_FAILURE_HINTS = (
    "err", "exception", "traceback", "fatal", "usage:", "fail", "unhandled", "not found", "no such", "not recogni",
    "timed out", "exit", "denied", "refused", "unknown ", "eof", "cannot access", "too many", "rate limit",
    "not a valid", "no sql", "no code",
)  # fmt: skip
"""One of them is in everything that `_FAILURE` finds, and looking for them costs a tenth."""
EXCEPTION_AT_END = re.compile(r"(?:^|\n)\s*[A-Za-z_.]{0,60}(?:Error|Exception)\b[^\n]*\s*$")
_EMPTY = re.compile(
    r"^\W*(?:no (?:\w+ ){0,2}(?:results?|match(?:es)?|documents?|records?|data|files?|rows?|entries|items)\b"
    r"|could not find|nothing (?:was )?found|0 (?:results?|match)|not found|none\W*$|null\W*$"
    r"|\[\s*\]\W*$|\{\s*\}\W*$)",
    re.IGNORECASE,
)
_NONE_LISTED = re.compile(
    r"^\W*.{0,60}\"?(?:results?|items|documents|matches|hits|rows)\"?:\s*(?:\[\s*\]|no results|\"\")",
    re.IGNORECASE | re.DOTALL,
)
"""Has a colon, which is looked for before."""
_ACKNOWLEDGES = re.compile(
    r"\b(?:ok|success|successful|successfully|updated|created|saved|written|done|sent|deleted|added|completed|accepted)\b"
    # Words of stories too, but for how they begin.
    r"|^\W*(?:\w+ ){0,4}(?:typed|clicked|entered|filled|inserted|removed|moved|logged|recorded|booked|scheduled|"
    r"submitted|uploaded|applied)\b"
)
_ASKS = re.compile(
    r"search|find|query|lookup|look_up|get|list|retriev|fetch|read|select|grep|scan|browse|sql", re.IGNORECASE
)
_POLLS = re.compile(r"status|poll|wait|progress|health|sleep|heartbeat|job", re.IGNORECASE)


class Sign(IntEnum):
    """Bits of `Event.signs`."""

    EMPTY = 1
    """It found nothing. What was not captured is not empty."""
    ACKNOWLEDGES = 2
    """It says that something was done, and no more."""
    FAILED = 4
    """It says in words that it failed."""
    POLLS = 8
    """The tool is one that is asked again on purpose."""


def signs_of(tool: str, result: str | None) -> int:
    """Bits of `Sign`.

    Args:
        result: None if it was not captured.
    """
    signs = int(Sign.POLLS) if polls(tool) else 0
    if result is None:
        return signs
    text = result.strip()
    if not text:
        return signs | (Sign.EMPTY if asks(tool) else 0)
    if looks_failed(text):
        return signs | Sign.FAILED
    if looks_empty(text):
        signs |= Sign.EMPTY
    if acknowledges(text):
        signs |= Sign.ACKNOWLEDGES
    return signs


@remembered(4_096)
def asks(tool: str) -> bool:
    """Whether a tool by its name looks something up, so that a blank answer of it means that nothing was found."""
    return _ASKS.search(tool) is not None


@remembered(4_096)
def polls(tool: str) -> bool:
    """Whether a tool by its name is one that is asked again on purpose."""
    return _POLLS.search(tool) is not None


def looks_empty(text: str) -> bool:
    """Whether a short answer, stripped, says at its head that nothing was found."""
    if len(text) >= 400:
        return False
    head = text[:300]
    return _EMPTY.match(head) is not None or (":" in head and _NONE_LISTED.match(head) is not None)


def acknowledges(text: str) -> bool:
    """Whether a short answer, stripped, says that something was done."""
    return len(text) < 300 and _ACKNOWLEDGES.search(text.lower()) is not None


def looks_failed(text: str) -> bool:
    """Whether an answer, stripped, is an error in words, at its head or in its last line: most tools of agents do
    not raise."""
    head = text[:200].lower()
    if any(map(head.__contains__, _FAILURE_HINTS)) and _FAILURE.search(head):
        return True
    if len(text) >= 6_000:
        return False
    tail = text[-400:]
    return ("Error" in tail or "Exception" in tail) and EXCEPTION_AT_END.search(tail) is not None
