"""A batch on its way to a server when the collector died comes again under its token: nothing is there twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clickhouse_front import Front
from tests.collector.receivers.test_http import post, request
from tests.server import Server, with_schema
from tests.waiting import until

RAW = r"INSERT INTO otel\.(requests|otel_traces)\b"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("tokens") / "store"
    with_schema(directory)
    running = Front(directory).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collector that is killed and started again by each test."""
    running = Server(
        tmp_path_factory.mktemp("token") / "data", "--set", f"sinks.clickhouse.url={front.url}"
    ).start()
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


@pytest.mark.parametrize("died", ["before it was told", "with half of it there"])
def test_what_a_crash_leaves_at_the_server_is_not_stored_again(
    front: Front, server: Server, died: str
) -> None:
    made = request(0x6700001 if died == "before it was told" else 0x6700002, spans=30)
    trace_id = made.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    rows = f"SELECT count() FROM otel.otel_traces WHERE TraceId = '{trace_id}'"
    earlier = len(front.seen(RAW))
    if died == "before it was told":
        front.fault(RAW, hang_up="after", times=1000)  # all is stored, and the answer is lost
    else:
        front.fault(r"INSERT INTO otel\.run_events\b", delay_s=20, times=1000)
    assert post(server, made.SerializeToString()).status_code == 200
    until(lambda: front.query(rows) == [[30]])
    server.kill()
    front.heal()

    server.start()
    server.settled()
    inserts = front.seen(RAW)[earlier:]
    assert len(inserts) >= 2
    assert len({told["settings"]["insert_deduplication_token"] for told in inserts}) == 1
    assert front.query(rows) == [[30]]  # not even before a merge
    assert server.get(f"/runs/{trace_id}")["counts"]["spans"] == 30
