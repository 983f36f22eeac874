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
"""In lower case. Only what `_may_tell_failure` lets through is searched: that costs a tenth."""
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
)
"""In lower case. Only what `_may_acknowledge` lets through is searched."""
_ACKNOWLEDGES_AT_HEAD = re.compile(
    # Words of stories too, but for how they begin.
    r"^\W*(?:\w+ ){0,4}(?:typed|clicked|entered|filled|inserted|removed|moved|logged|recorded|booked|scheduled|"
    r"submitted|uploaded|applied)\b"
)
"""In lower case; all of them end in "ed"."""
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
    if len(text) >= 300:
        return False
    text = text.lower()
    if _may_acknowledge(text) and _ACKNOWLEDGES.search(text):
        return True
    return "ed" in text and _ACKNOWLEDGES_AT_HEAD.match(text) is not None


def looks_failed(text: str) -> bool:
    """Whether an answer, stripped, is an error in words, at its head or in its last line: most tools of agents do
    not raise."""
    head = text[:200].lower()
    if _may_tell_failure(head) and _FAILURE.search(head):
        return True
    if len(text) >= 6_000:
        return False
    tail = text[-400:]
    return ("Error" in tail or "Exception" in tail) and EXCEPTION_AT_END.search(tail) is not None


# Written out, since a chain of `in` takes half of what `any` over the words does.


def _may_tell_failure(text: str) -> bool:
    """Whether a text in lower case has a part of what `_FAILURE` finds."""
    return (
        "error" in text or "exception" in text or "traceback" in text or "fatal" in text or "usage:" in text
        or "fail" in text or "unhandled" in text or "not found" in text or "no such" in text
        or "not recogni" in text or "timed out" in text or "exit" in text or "denied" in text
        or "refused" in text or "unknown " in text or "eof" in text or "cannot access" in text
        or "too many" in text or "rate limit" in text or "not a valid" in text or "no sql" in text
        or "no code" in text
    )  # fmt: skip


def _may_acknowledge(text: str) -> bool:
    """Whether a text in lower case has a part of what `_ACKNOWLEDGES` finds."""
    return (
        "ok" in text or "success" in text or "updated" in text or "created" in text or "saved" in text
        or "written" in text or "done" in text or "sent" in text or "deleted" in text or "added" in text
        or "completed" in text or "accepted" in text
    )  # fmt: skip
