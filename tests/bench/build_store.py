"""Fills an embedded store with made-up history, so that queries can be timed on a store of real size.

    python -m tests.bench.build_store DIRECTORY [--spans 10_000_000] [--days 14]

A run has ten events (an agent, LLM calls, tool calls) and takes about a minute; half of the runs are of one project.
The engine makes the rows itself: ten million spans take two minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sinks.base import RetryableError
from sinks.clickhouse import Store
from sinks.clickhouse.errors import translated

EVENTS_PER_RUN = 10
RUNS_PER_INSERT = 4_000
PAUSE_S = 5.0
"""The engine's memory is bounded: where merges have taken it, the next insert waits for them."""

_RUN = """
    {first:UInt64} + number AS R,
    lower(hex(MD5(toString(R)))) AS RunId,
    toInt64({start_ns:Int64} + R * intDiv({span_ns:Int64}, {runs:UInt64})) AS At,
    ['shop', 'shop', 'shop', 'desk', 'lab', 'mail'][R % 6 + 1] AS Project,
    ['gpt-4o-mini', 'gpt-4o', 'claude-sonnet-4-5', 'gemini-2.5-flash', 'o3'][cityHash64(R) % 5 + 1] AS Model,
    ['web_search', 'fetch_page', 'get_weather', 'send_email', 'query_db'][cityHash64(R, 2) % 5 + 1] AS UsualTool,
    if(cityHash64(R, 1) % 5000 = 0, 'rare_tool', UsualTool) AS Tool,
    cityHash64(R, 3) % 40 = 0 AS Failed
"""

_EVENTS = f"""
INSERT INTO otel.run_events
(
    Project, RunId, TraceId, SpanId, ParentSpanId, Kind, Name, StartTime, EndTime, Status, ErrorMessage, IsRoot,
    Service, Scope, Source, Convention, Agent, SessionId, UserId, Provider, Operation, RequestModel, ResponseModel,
    InputTokens, OutputTokens, UsageSource, CostUsd, CostSource, Attempts, Tool, ArgsHash, Input, Output
)
SELECT
    Project, RunId, RunId, SpanId, if(E = 0, '', Root), Kind,
    multiIf(IsLlm, 'ChatCompletion', Kind = 'TOOL', Tool, 'support_agent'),
    fromUnixTimestamp64Nano(Began), fromUnixTimestamp64Nano(Began + 1000000000 + H % 4000000000),
    if(Failed AND E = 9, 'error', 'ok'), if(Failed AND E = 9, 'rate limit exceeded', ''), E = 0,
    'support', 'bench', 'otlp', 'openinference', 'support_agent',
    concat('s-', toString(intDiv(R, 4))), concat('u-', toString(R % 5000)),
    if(IsLlm, 'openai', ''), if(IsLlm, 'chat', ''), if(IsLlm, Model, ''), if(IsLlm, Model, ''),
    if(IsLlm, 500 + H % 4000, NULL), if(IsLlm, H % 800, NULL), if(IsLlm, 'reported', ''),
    if(IsLlm, toDecimal64((H % 4000) / 1e6, 9), NULL), if(IsLlm, 'computed', ''),
    1, if(Kind = 'TOOL', Tool, ''), H,
    concat('order ', toString(H % 100000), ' of ', ['Paris', '巴黎', 'باريس'][E % 3 + 1], randomPrintableASCII(100)),
    concat('the answer is ', toString(E), randomPrintableASCII(100))
FROM
(
    SELECT
        *,
        arrayJoin(range({EVENTS_PER_RUN})) AS E,
        cityHash64(R, E) AS H,
        lower(substring(hex(MD5(concat(toString(R), '/', toString(E)))), 1, 16)) AS SpanId,
        lower(substring(hex(MD5(concat(toString(R), '/0'))), 1, 16)) AS Root,
        multiIf(E = 0, 'AGENT', E % 2 = 1, 'LLM', 'TOOL') AS Kind,
        Kind = 'LLM' AS IsLlm,
        At + E * 5000000000 AS Began
    FROM (SELECT {_RUN} FROM numbers({{many:UInt64}}))
)
"""

_RUNS = f"""
INSERT INTO otel.runs
(
    Project, RunId, Start, End, Name, Status, HasRoot, ErrorMessage, SessionId, UserId, Services, Agents, Models,
    Tools, Tags, Conventions, InputTokens, OutputTokens, UsageMethod, CostUsd, CostSource, Spans, Events, LlmCalls,
    LlmErrors, ToolCalls, Errors, Warnings, Input, Output
)
SELECT
    Project, RunId, fromUnixTimestamp64Nano(At), fromUnixTimestamp64Nano(At + 45000000000 + H % 15000000000),
    'support_agent', if(Failed, 'failed', 'completed'), true, if(Failed, 'rate limit exceeded', ''),
    concat('s-', toString(intDiv(R, 4))), concat('u-', toString(R % 5000)),
    ['support'], ['support_agent'], [Model], [Tool], if(R % 10 = 0, ['test'], []), ['openinference'],
    5 * (500 + H % 4000), 5 * (H % 800), 'leaf_sum', toDecimal64((H % 20000) / 1e6, 9), 'computed',
    10, 10, 5, toUInt32(Failed), 4, toUInt32(Failed), toUInt32(R % 50 = 0),
    concat('what about order ', toString(R)), 'the answer'
FROM (SELECT {_RUN}, cityHash64(R) AS H FROM numbers({{many:UInt64}}))
"""


def build(directory: Path, spans: int, days: int) -> None:
    """Fills the store in `directory` with `spans` events of the last `days` days."""
    store = Store.open(directory)
    runs = spans // EVENTS_PER_RUN
    span_ns = days * 86_400 * 10**9
    start_ns = time.time_ns() - span_ns
    client = store._client({"max_partitions_per_insert_block": 1000})
    for first in range(0, runs, RUNS_PER_INSERT):
        many = min(RUNS_PER_INSERT, runs - first)
        values = {"first": first, "many": many, "runs": runs, "start_ns": start_ns, "span_ns": span_ns}
        for statement in (_EVENTS, _RUNS):
            while True:
                try:
                    with translated():
                        client.command(statement, parameters=values)
                    break
                except RetryableError:
                    time.sleep(PAUSE_S)
        print(f"{first + many} of {runs} runs", flush=True)
    store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--spans", type=lambda text: int(text.replace("_", "")), default=10_000_000)
    parser.add_argument("--days", type=int, default=14)
    given = parser.parse_args()
    build(given.directory, given.spans, given.days)
