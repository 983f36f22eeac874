"""What a span costs to derive as its run grows, in microseconds of processor time.

    python -m tests.bench.runs [--batch N]

A run of a looping agent comes in batches of N spans (10), children first, as fast as it can be taken. Each size is
measured several times, in turn; the fastest counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from collector.deriver.deriver import Deriver
from collector.deriver.pace import Pace
from collector.loops import LoopWatch
from mappers.loops.evaluator import Engine
from mappers.model import Event, Kind
from tests.collector.stored import Stored

SIZES = (10, 100, 1_000, 10_000)
TAKEN = 20_000
"""Spans that are derived for each measurement."""
ROUNDS = 3


def agent_run(run_id: str, size: int) -> Iterator[Event]:
    """Model calls and tools in turn, then the agent that made them."""
    usual = {"run_id": run_id, "trace_id": run_id, "convention": "openinference", "agent": "weather_agent"}
    root = f"{0:016x}"
    for number in range(1, size):
        start = number * 1_000_000
        common = {**usual, "span_id": f"{number:016x}", "parent_span_id": root, "start_ns": start}
        common |= {"end_ns": start + 900_000, "args_hash": number, "result_hash": number}
        if number % 2:
            yield Event(
                **common,
                kind=Kind.LLM,
                name="chat",
                request_model="gpt-4o-mini",
                input_tokens=100,
                output_tokens=20,
                input=f"What is {number}?",
                output=f"It is {number}.",
            )
        else:
            yield Event(
                **common, kind=Kind.TOOL, name="get", tool="get", input=f"{number}", output=f"{number}"
            )
    yield Event(
        **usual, span_id=root, is_root=True, kind=Kind.AGENT, name="run", start_ns=0, end_ns=size * 1_000_000
    )


def cost(size: int, batch: int) -> float:
    """Microseconds of processor time for a span of runs of so many."""
    deriver = Deriver(store := Stored(), max_events=50_000, watch=LoopWatch(Engine(), store), pace=Pace())
    waiting: list[Event] = []
    runs = [list(agent_run(f"{number:032x}", size)) for number in range(TAKEN // size)]
    number = 0
    began = time.process_time()
    for events in runs:
        for event in events:
            waiting.append(event)
            if len(waiting) >= min(batch, size):
                number += 1
                deriver.derive(waiting, batch=number, stored=number - 1, pressed=True)
                waiting = []
    deriver.hurry()
    deriver.derive(waiting, batch=number + 1, stored=number)
    return (time.process_time() - began) / TAKEN * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=10, help="spans that come at once")
    arguments = parser.parse_args()
    fastest = {size: min(cost(size, arguments.batch) for _ in range(ROUNDS)) for size in SIZES}
    for size, spent in fastest.items():
        print(f"{size:6} spans a run: {spent:8.1f} µs a span, {spent / fastest[SIZES[0]]:5.2f} ×")


if __name__ == "__main__":
    main()
