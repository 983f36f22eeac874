"""Doors in processes of their own: what holds with them as without, and what their ends cost."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import grpc
import httpx
import pytest

from collector.config import ConfigError, load
from collector.doors.keys import Keys
from collector.doors.listening import ListenError
from collector.journal import SINK_CURSOR, Files, Journal
from collector.journal.places import SIGNALS, directory_of
from collector.process.interpreter import LOOK_AT_LOOP_S
from collector.receiving import left_behind
from collector.workers.crew import Crew
from tests import forked
from tests.collector.journal.test_journal import append
from tests.collector.receivers.test_http import request
from tests.collector.test_balance import balances
from tests.sending import TRACES
from tests.server import COMMAND, Server, dumped_bytes
from tests.waiting import PATIENCE_S, until

PROTOBUF = {"Content-Type": "application/x-protobuf"}
UNUSED = ssl.create_default_context()
"""Making one takes 20 ms."""
SPANS = 10
WORKERS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the whole module: its tests end its processes one after the other."""
    running = Server(tmp_path_factory.mktemp("workers") / "data", "--set", f"workers={WORKERS}").start()
    yield running
    if running.process.poll() is None:
        running.kill()


@pytest.fixture(scope="module")
def accepted(server: Server) -> Accepted:
    return Accepted(server)


class Accepted:
    """Sends requests of their own traces, and remembers what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._client = httpx.Client(timeout=20)
        self._lock = threading.Lock()
        self._number = 0x3070 << 32
        self.spans = 0

    def body(self) -> bytes:
        with self._lock:
            self._number += 1
        return request(self._number, spans=SPANS).SerializeToString()

    def over_http(self) -> None:
        response = self._client.post(self.url, content=self.body(), headers=PROTOBUF)
        if response.status_code == 200:
            self._count()

    @property
    def url(self) -> str:
        return f"{self._server.endpoints['http']}/v1/traces"

    def over_grpc(self, **metadata: str) -> None:
        # A channel of its own is a connection of its own: the port's owners share these.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self._server.endpoints["grpc"], options) as channel:
            channel.unary_unary(TRACES)(self.body(), metadata=list(metadata.items()), timeout=PATIENCE_S)
        self._count()

    def _count(self) -> None:
        with self._lock:
            self.spans += SPANS

    def while_(self, deed: Callable[[], None]) -> None:
        """Sends from several connections before, while and after something is done, until that is over."""
        ended = threading.Event()

        def send(deliver: Callable[[], None]) -> None:
            while not ended.is_set():
                with suppress(httpx.HTTPError, grpc.RpcError):  # its worker ended, or all did
                    deliver()
                time.sleep(0.02)

        senders = [
            threading.Thread(target=send, args=(deliver,))
            for deliver in (self.over_http, self.over_http, self.over_grpc)
        ]
        for sender in senders:
            sender.start()
        time.sleep(0.2)
        try:
            deed()
            time.sleep(0.2)
        finally:
            ended.set()
            for sender in senders:
                sender.join()


def waiting_in(directory: Path) -> int:
    """Records of the journal there that were not stored."""
    files = Files(directory)
    stored = files.cursors()[SINK_CURSOR].sequence
    return sum(record.sequence >= stored for record in files.records(lambda *damage: None))


def ready(server: Server) -> bool:
    return httpx.get(f"{server.endpoints['admin']}/readyz", verify=UNUSED).status_code == 200


def test_what_workers_take_is_stored_counted_and_told_of(server: Server, accepted: Accepted) -> None:
    assert len(server.workers()) == WORKERS
    assert [dumped_bytes(worker) for worker in server.workers()] == [0] * WORKERS
    for _ in range(20):
        accepted.over_grpc()
        accepted.over_http()
    status = server.settled()
    balances(status)
    assert status["pipeline"]["accepted"] == status["stored"]["spans"] == accepted.spans
    assert status["receivers"]["grpc"]["traces"]["accepted"] == accepted.spans // 2
    assert status["receivers"]["http"]["traces"]["accepted"] == accepted.spans // 2
    # Both had a share: each has a journal with something in it.
    journals = server.data_dir / "journal"
    for worker in range(1, WORKERS + 1):
        assert any(file.stat().st_size for file in (journals / f"worker-{worker}" / "traces").glob("*.seg"))
    metrics = httpx.get(f"{server.endpoints['admin']}/metrics").text
    line = f'otelcol_receiver_accepted_spans_total{{receiver="otlp",transport="grpc"}} {accepted.spans / 2}'
    assert line in metrics
    of_all = {line.split()[0]: float(line.split()[1]) for line in metrics.splitlines() if line[0] != "#"}
    pages = [
        int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for pid in (server.process.pid, *server.workers())
    ]
    assert of_all["otelcol_process_memory_rss"] == pytest.approx(
        sum(pages) * os.sysconf("SC_PAGE_SIZE"), rel=0.1
    )
    of_one = of_all["otelcol_process_uptime_total"] / LOOK_AT_LOOP_S
    assert of_all["eddyline_loop_lag_seconds_count"] > 1.5 * of_one


def test_workers_have_about_as_many_connections_each(server: Server, accepted: Accepted) -> None:
    def sockets(pid: int) -> int:
        return sum(
            os.path.realpath(file).startswith(f"/proc/{pid}/fd/socket:")
            for file in Path(f"/proc/{pid}/fd").iterdir()
        )

    before = [sockets(worker) for worker in server.workers()]
    with ExitStack() as clients:
        for _ in range(30):
            client = clients.enter_context(httpx.Client(verify=UNUSED))
            assert client.post(accepted.url, content=b"", headers=PROTOBUF).is_success
        after = [sockets(worker) for worker in server.workers()]
    gained = [more - less for more, less in zip(after, before, strict=True)]
    assert sum(gained) == 30
    assert abs(gained[0] - gained[1]) <= 4


def test_a_request_sent_again_is_a_duplicate_whichever_worker_gets_it(
    server: Server, accepted: Accepted
) -> None:
    before, body = server.settled()["pipeline"], accepted.body()
    for _ in range(8):
        # A connection each: whichever worker takes it.
        with httpx.Client(verify=UNUSED) as client:
            assert client.post(accepted.url, content=body, headers=PROTOBUF).is_success
    accepted.spans += SPANS
    after = server.settled()["pipeline"]
    assert after["stored"] - before["stored"] == SPANS
    assert after["duplicates"] - before["duplicates"] == 7 * SPANS


def test_keys_that_are_made_and_revoked_hold_in_every_worker(server: Server, accepted: Accepted) -> None:
    made = server.api.post("/api/v1/tokens", json={"name": "ci", "scopes": ["ingest"], "project": "p"}).json()
    key = {"authorization": f"Bearer {made['token']}"}

    def answers() -> list[int]:
        found = []
        for _ in range(6):
            with httpx.Client(verify=UNUSED) as client:
                found.append(client.post(accepted.url, content=b"", headers=PROTOBUF | key).status_code)
        return found

    assert answers() == [200] * 6
    accepted.over_grpc(**key)
    shown = server.get("/tokens")["data"]
    assert [one["last_used_at"] is not None for one in shown if one["name"] == "ci"] == [True]
    assert server.api.delete(f"/api/v1/tokens/{made['id']}").is_success
    assert answers() == [401] * 6
    with pytest.raises(grpc.RpcError) as refused:
        accepted.over_grpc(**key)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_who_looks_at_the_receiver_sees_what_workers_take(server: Server, accepted: Accepted) -> None:
    with server.api.stream("GET", "/api/v1/tap", params={"at": "receiver", "interval_ms": 100}) as response:
        lines = response.iter_lines()
        next(lines)
        accepted.over_http()
        assert f'"items":{SPANS}' in next(filter(None, lines))


def test_nothing_acknowledged_is_lost_with_a_worker_and_another_takes_its_place(
    server: Server, accepted: Accepted
) -> None:
    before = server.workers()

    def kill_one() -> None:
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(server.workers()) - set(before)) == 1)
        until(lambda: ready(server))

    accepted.while_(kill_one)
    status = server.settled()
    balances(status)
    # What was on the disk when it died counts, though nobody was told.
    assert status["stored"]["spans"] >= accepted.spans
    assert status["pipeline"]["stored"] == status["stored"]["spans"]


def test_all_but_workers_doors_and_journals_give_way(server: Server) -> None:
    """Those that took the place of others, too: a process inherits its niceness of the thread that begins it."""
    own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
    given = server.get("/config")["config"]["service"]["niceness"]

    def nicenesses(pid: int) -> list[int]:
        threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        return sorted(os.getpriority(os.PRIO_PROCESS, thread) - own for thread in threads)

    first = 1 + len(SIGNALS) + WORKERS  # the event loop, journals, one for each worker
    until(lambda: nicenesses(server.process.pid)[first:].count(0) == 0)
    found = nicenesses(server.process.pid)
    assert found == [0] * first + [given] * (len(found) - first)
    assert len(found) > first + len(SIGNALS) * (1 + WORKERS)
    assert [set(nicenesses(worker)) for worker in server.workers()] == [{0}] * WORKERS


def test_workers_end_with_their_collector_and_others_store_what_they_had(
    server: Server, accepted: Accepted
) -> None:
    orphans = server.workers()
    accepted.while_(server.kill)
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in orphans))
    server.arguments = ("--set", "workers=1")
    server.start()
    status = server.settled()
    balances(status)
    assert status["stored"]["spans"] >= accepted.spans
    assert len(server.workers()) == 1
    ended: list[int] = []
    accepted.while_(lambda: ended.append(server.stop()))
    assert ended == [0]
    for directory in (server.data_dir / "journal").glob("**/traces"):
        assert waiting_in(directory) == 0, directory


def test_what_keeps_workers_from_opening_their_doors_ends_the_collector(data_dir: Path) -> None:
    http = "receivers.otlp.protocols.http"
    sets = ["workers=1", f"{http}.tls.cert_file=/none", f"{http}.tls.key_file=/none"]
    doors = [
        part for door in ("grpc", "http", "api", "admin", "proxy") for part in (f"--{door}", "127.0.0.1:0")
    ]
    command = [*COMMAND, "serve", "--data-dir", str(data_dir), *doors]
    ended = forked.run([*command, *(part for one in sets for part in ("--set", one))])
    assert (ended.returncode, "http: " in ended.stderr) == (69, True), ended.stderr


def test_the_port_of_grpc_stays_the_workers_while_none_of_them_lives(data_dir: Path) -> None:
    def crew(endpoint: str) -> Crew:
        sets = [f"receivers.otlp.protocols.grpc.endpoint={endpoint}", "workers=1"]
        settings = load(sets=[*sets, "receivers.otlp.protocols.http.endpoint=off"])
        return Crew(settings, "token", Keys(data_dir / "keys.json"))

    first = crew("127.0.0.1:0")
    assert first.grpc is not None
    try:
        with pytest.raises(ListenError, match="Address already in use"):
            crew(first.grpc)
    finally:
        first.let_go()
    crew(first.grpc).let_go()


def test_an_acknowledgement_by_the_sink_is_for_the_collector_itself() -> None:
    with pytest.raises(ConfigError, match=r"workers: with journal\.ack: sink only the collector itself"):
        load(sets=["workers=1", "journal.ack=sink"])


def test_journals_of_workers_that_there_are_no_more_are_removed_once_they_are_stored(data_dir: Path) -> None:
    waiting, stored = (directory_of(data_dir, 2, signal) for signal in SIGNALS)
    for directory in (waiting, stored):
        journal = Journal(directory, followed=True)
        journal.open()
        cursor = journal.cursor(SINK_CURSOR)
        append(journal, b"a")
        if directory is stored:
            cursor.advance(journal.end)
        journal.close()

    def found(workers: int) -> list[str]:
        async def opened() -> list[str]:
            async with AsyncExitStack() as parts:
                settings = load(sets=[f"workers={workers}"], flags={"data_dir": data_dir})
                journals = left_behind(settings, parts)
                for journal in journals.values():
                    journal.cursor(SINK_CURSOR).advance(journal.end)
                return list(journals)

        return asyncio.run(opened())

    assert found(workers=2) == []  # its worker has it
    assert found(workers=1) == ["traces/worker-2"]
    assert (waiting.exists(), stored.exists()) == (True, False)
    assert found(workers=0) == []
    assert not waiting.parent.exists()
