"""A run as a short text, for people and for language models: what it cost, what it said and did, where it loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mappers.conversation import Said
from mappers.messages import Part
from mappers.model import Run, Warning

LONGEST_TEXT = 600
"""Characters of one part."""
MOST_MESSAGES = 200
MOST_WARNINGS = 20


def transcript(run: Run, status: str, warnings: Iterable[Warning], said: Iterable[Said] | None) -> str:
    """Markdown.

    Args:
        status: how the run stands now.
        said: its conversation, each message once; None: the reader may not see it.
    """
    return "\n".join([*_head(run, status), *_warned(warnings), *_conversation(said)]) + "\n"


def _head(run: Run, status: str) -> Iterator[str]:
    yield f"# {_line(run.name) or 'Run'}: {status}"
    yield ""
    counts, usage = run.counts, run.usage
    yield f"- run `{run.run_id}`, project {_line(run.project)}" + (
        f", session {_line(run.session_id)}" if run.session_id else ""
    )
    yield (
        f"- {max(0, run.end_ns - run.start_ns) / 1e9:.3f} s, "
        f"{_many(counts.llm_calls, 'LLM call')} ({counts.llm_errors} failed), "
        f"{_many(counts.tool_calls, 'tool call')} ({counts.tool_errors} failed), "
        f"{_many(counts.handoffs, 'handoff')}, {counts.retries} {'retry' if counts.retries == 1 else 'retries'}"
    )
    tokens = "unknown" if usage.total is None else f"{usage.input or 0} in, {usage.output or 0} out"
    cost = "unknown" if run.cost_usd is None else f"${run.cost_usd.normalize():f}"
    yield f"- tokens: {tokens}; cost: {cost}"
    for name, values in (("models", run.models), ("agents", run.agents), ("tools", run.tools)):
        if values:
            yield f"- {name}: {', '.join(map(_line, values))}"
    if run.error_type or run.error_message:
        yield f"- error: {_line(': '.join(filter(None, (run.error_type, run.error_message))))}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _warned(warnings: Iterable[Warning]) -> Iterator[str]:
    standing = list(warnings)
    if not standing:
        return
    yield from ("", "## Warnings", "")
    for warning in standing[:MOST_WARNINGS]:
        yield f"- {warning.severity}: {warning.type}, {warning.count} times. {_line(warning.message)}"
    if len(standing) > MOST_WARNINGS:
        yield f"- … {len(standing) - MOST_WARNINGS} more"


def _conversation(said: Iterable[Said] | None) -> Iterator[str]:
    yield from ("", "## Conversation")
    if said is None:
        yield from ("", "Not shown: the key lacks the scope `content`.")
        return
    count = 0
    for one in said:
        count += 1
        if count > MOST_MESSAGES:
            yield from ("", f"… more than {MOST_MESSAGES} messages; `/messages` has them all.")
            return
        yield from (
            "",
            f"### {count}. {one.role}" + (f" ({_line(one.call.agent)})" if one.call.agent else ""),
            "",
        )
        for part in one.parts:
            yield from _part(part)
    if not count:
        yield from ("", "Nothing that was said was captured.")


def _part(part: Part) -> Iterator[str]:
    match part.type:
        case "tool_call":
            yield f"calls `{_line(part.name)}` with"
            yield from _quoted(part.arguments)
        case "tool_result":
            yield "result" + (f" of `{_line(part.name)}`" if part.name else "")
            yield from _quoted(part.text)
        case "media":
            yield f"[{_line(part.text) or 'media'}]" + (f" {_line(part.id)}" if part.id else "")
        case "reasoning":
            yield "thinks"
            yield from _quoted(part.text)
        case _:
            yield from _quoted(part.text)


def _quoted(text: str) -> Iterator[str]:
    """As a quotation, so that nothing in it is taken for a heading of ours."""
    shown = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}… ({len(text)} characters)"
    for line in shown.splitlines() or [""]:
        yield f"> {line}"


def _line(text: str) -> str:
    return " ".join(text.split())
