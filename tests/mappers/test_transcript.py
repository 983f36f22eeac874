"""Runs as short texts."""

from __future__ import annotations

from mappers.model import Counts, Run
from mappers.transcript import transcript


def test_one_of_a_thing_is_named_as_one() -> None:
    run = Run(
        run_id="ab" * 16,
        project="shop",
        counts=Counts(llm_calls=1, tool_calls=2, handoffs=1, retries=1),
        error_type="RateLimitError",
        error_message="slow down",
    )
    told = transcript(run, "failed", [], [])
    assert "1 LLM call (0 failed), 2 tool calls (0 failed), 1 handoff, 1 retry\n" in told
    assert "- error: RateLimitError: slow down\n" in told
