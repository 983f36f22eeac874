from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import collector.journal.room
from collector.journal import (
    Header,
    Journal,
    JournalError,
    JournalFullError,
    JournalLockedError,
    Position,
    Record,
)
from collector.otlp import decode_traces
from tests.corpus import select
from tests.waiting import PATIENCE_S, until

HEADER = Header(received_ns=7, tenant="t", project="π", transport="http")


def journal(directory: Path, **options: Any) -> Journal:
    opened = Journal(directory, **options)
    opened.open()
    return opened


def append(target: Journal, *bodies: bytes, header: Header = HEADER) -> list[Exception | None]:
    """Appends and waits; how each append ended."""
    ended: list[Exception | None] = []
    all_done = threading.Event()

    def done(error: Exception | None) -> None:
        ended.append(error)
        if len(ended) == len(bodies):
            all_done.set()

    for body in bodies:
        target.append(header, body, done)
    assert not bodies or all_done.wait(PATIENCE_S)
    return ended


def everything(target: Journal, position: Position | None = None) -> list[Record]:
    reader = target.reader(position or target.cursor("all").position)
    records = []
    while (record := reader.next()) is not None:
        records.append(record)
    return records


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def test_records_are_read_as_they_were_appended(tmp_path: Path) -> None:
    target = journal(tmp_path)
    assert append(target, b"one", b"", b"x" * 3_000_000) == [None, None, None]
    assert everything(target) == [
        Record(1, HEADER, b"one"),
        Record(2, HEADER, b""),
        Record(3, HEADER, b"x" * 3_000_000),
    ]
    target.close()


def test_a_segment_is_a_stream_of_otlp_requests(tmp_path: Path) -> None:
    """Any protobuf reader that knows OTLP reads our records: the header is only unknown fields to it."""
    body = next(select("openinference/openai/tools")).traces[0].read_bytes()
    target = journal(tmp_path)
    append(target, body)
    target.close()
    raw = segments(tmp_path)[0].read_bytes()
    length, at = 0, 0
    while True:
        length |= (raw[at] & 127) << 7 * at
        at += 1
        if raw[at - 1] < 128:
            break
    assert len(raw) == at + length
    assert [span.span_id for span in decode_traces(raw[at:])] == [
        span.span_id for span in decode_traces(body)
    ]


def test_sequences_go_on_after_a_restart_even_when_all_is_stored(tmp_path: Path) -> None:
    target = journal(tmp_path, segment_bytes=100)
    cursor = target.cursor("sink")
    append(target, b"a" * 90)
    append(target, b"b" * 90)
    reader = target.reader(cursor.position)
    while reader.next() is not None:
        cursor.advance(reader.position)
    target.close()
    again = journal(tmp_path, segment_bytes=100)
    assert again.next_sequence == 3
    assert everything(again, again.cursor("sink").position) == []
    append(again, b"c")
    assert [record.sequence for record in everything(again, again.cursor("sink").position)] == [3]
    again.close()


def test_nothing_stays_in_the_files_once_all_is_stored_and_the_journal_closed(tmp_path: Path) -> None:
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    append(target, b"sk-secret-one", b"sk-secret-two")
    reader = target.reader(cursor.position)
    assert reader.next() is not None
    cursor.advance(reader.position)
    target.close()
    assert b"sk-secret-two" in segments(tmp_path)[0].read_bytes()
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    reader = target.reader(cursor.position)
    while reader.next() is not None:
        cursor.advance(reader.position)
    target.close()
    assert [file.stat().st_size for file in segments(tmp_path)] == [0]
    again = journal(tmp_path)
    assert everything(again, again.cursor("sink").position) == []
    append(again, b"c")
    assert [record.sequence for record in everything(again, again.cursor("sink").position)] == [3]
    again.close()


@pytest.mark.parametrize("kept", [b"masked", b""])
def test_what_can_not_be_read_is_kept_as_the_mask_leaves_it(tmp_path: Path, kept: bytes) -> None:
    target = journal(tmp_path)
    append(target, b"sk-secret")
    target.close()
    with segments(tmp_path)[0].open("ab") as file:
        file.write(b"\xffsk-torn-secret")
    again = journal(tmp_path, mask=lambda damaged: kept)
    again.close()
    found = [file.read_bytes() for file in (tmp_path / "quarantine").iterdir()]
    assert found == ([kept] if kept else [])


def test_segments_are_let_go_once_every_cursor_has_passed(tmp_path: Path) -> None:
    target = journal(tmp_path, segment_bytes=1000)
    fast, slow = target.cursor("fast"), target.cursor("slow")
    append(target, *[bytes([65 + n]) * 600 for n in range(5)])
    assert len(segments(tmp_path)) == 5
    reader = target.reader(fast.position)
    while reader.next() is not None:
        fast.advance(reader.position)
    assert len(segments(tmp_path)) == 5
    slow.advance(fast.position)
    assert len(segments(tmp_path)) == 1
    target.close()


def test_a_record_larger_than_a_segment_gets_its_own(tmp_path: Path) -> None:
    target = journal(tmp_path, segment_bytes=100)
    append(target, b"a", b"b" * 5000, b"c")
    assert [record.body for record in everything(target)] == [b"a", b"b" * 5000, b"c"]
    target.close()


def test_however_much_waits_only_the_ends_are_read_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = journal(tmp_path, segment_bytes=100)
    target.cursor("sink")
    append(target, *(b"x" * 90 for _ in range(50)))
    target.close()
    assert len(list(tmp_path.glob("*.seg"))) > 40
    opened: set[str] = set()
    open_file = os.open

    def noted(path: Any, *arguments: Any, **options: Any) -> int:
        opened.add(Path(path).name)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", noted)
    again = journal(tmp_path, segment_bytes=100)
    again.cursor("sink")
    assert len([name for name in opened if name.endswith(".seg")]) <= 2
    assert (again.next_sequence, again.inherited_items) == (51, 50 * HEADER.items)
    again.close()


def test_a_second_process_is_told(tmp_path: Path) -> None:
    target = journal(tmp_path)
    with pytest.raises(JournalLockedError):
        Journal(tmp_path).open()
    target.close()
    journal(tmp_path).close()


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    target = journal(tmp_path / "journal")
    target.cursor("sink")
    append(target, b"a")
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "journal").iterdir())
    target.close()


def test_too_much_waiting_is_refused_and_a_closed_journal_too(tmp_path: Path) -> None:
    target = Journal(tmp_path, max_queue_bytes=10)
    held = threading.Event()
    target.open()
    target.append(HEADER, b"a", lambda _: held.wait(PATIENCE_S) and None)
    refused = 0
    for _ in range(4):
        try:
            target.append(HEADER, b"c" * 10, lambda _: None)
        except JournalFullError:
            refused += 1
    assert refused >= 2
    held.set()
    target.close()
    with pytest.raises(JournalError):
        target.append(HEADER, b"d", lambda _: None)


def test_a_record_larger_than_what_may_wait_is_taken_alone(tmp_path: Path) -> None:
    target = journal(tmp_path, max_queue_bytes=10)
    assert append(target, b"a" * 11) == [None]
    target.close()


@pytest.mark.parametrize("cut", [1, 3, 10, 40])
def test_T8_a_torn_tail_costs_only_itself(tmp_path: Path, cut: int) -> None:
    target = journal(tmp_path)
    append(target, b"first", b"second" * 10)
    target.close()
    file = segments(tmp_path)[0]
    os.truncate(file, file.stat().st_size - cut)
    again = journal(tmp_path)
    append(again, b"third")
    assert [record.body for record in everything(again)] == [b"first", b"third"]
    again.close()


def test_T8_a_missing_cursor_means_from_the_start(tmp_path: Path) -> None:
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    append(target, b"a", b"b")
    reader = target.reader(cursor.position)
    reader.next()
    cursor.advance(reader.position)
    target.close()
    (tmp_path / "sink.cursor").unlink()
    again = journal(tmp_path)
    assert [record.body for record in everything(again, again.cursor("sink").position)] == [b"a", b"b"]
    again.close()


def test_T8_a_torn_cursor_falls_back_to_the_one_before(tmp_path: Path) -> None:
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    append(target, b"a", b"b", b"c")
    reader = target.reader(cursor.position)
    for _ in range(2):
        reader.next()
        cursor.advance(reader.position)
    target.close()
    with (tmp_path / "sink.cursor").open("r+b") as file:
        file.seek(0)  # the second slot written: generation 2
        file.write(b"\xff" * 20)
    again = journal(tmp_path)
    assert [record.body for record in everything(again, again.cursor("sink").position)] == [b"b", b"c"]
    again.close()


def test_T8_swapped_segments_lose_nothing(tmp_path: Path) -> None:
    target = journal(tmp_path, segment_bytes=100)
    bodies = [bytes([number]) * 40 for number in range(6)]
    append(target, *bodies)
    target.close()
    first, second = segments(tmp_path)[1], segments(tmp_path)[3]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    again = journal(tmp_path, segment_bytes=100)
    append(again, b"goes on")
    reader = again.reader(again.cursor("sink").position)
    found = []
    while (record := reader.next()) is not None:
        found.append(record.body)
    assert sorted(found) == sorted([*bodies, b"goes on"])
    assert (reader.lost_items, reader.corrupt_ranges) == (0, 0)
    again.close()


def test_T8_lost_segments_do_not_hide_what_comes_after(tmp_path: Path) -> None:
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    append(target, b"a", b"b")
    reader = target.reader(cursor.position)
    while reader.next() is not None:
        cursor.advance(reader.position)
    target.close()
    for file in segments(tmp_path):
        file.unlink()
    again = journal(tmp_path)
    position = again.cursor("sink").position
    append(again, b"c")
    assert [record.body for record in everything(again, position)] == [b"c"]
    again.close()


def test_how_often_a_batch_was_begun_is_told_of_that_batch(tmp_path: Path) -> None:
    target = journal(tmp_path)
    append(target, b"a", b"b")
    cursor = target.cursor("sink")
    reader = target.reader(cursor.position)
    ends = [reader.position for _ in range(2) if reader.next() is not None]
    assert [cursor.begin(ends[number]) for number in (0, 0, 1, 1, 0)] == [1, 2, 1, 2, 1]
    target.close()


def test_T6_T7_a_full_disk_or_a_short_write_refuses_and_then_takes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = journal(tmp_path)
    append(target, b"before")
    write = os.writev

    def full(descriptor: int, pieces: list[bytes]) -> int:
        written = write(descriptor, [b"".join(pieces)[:5]])
        assert written == 5
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    [error] = append(target, b"refused")
    assert isinstance(error, JournalError)
    assert "No space left" in str(error)
    monkeypatch.setattr(os, "writev", write)
    assert append(target, b"after") == [None]
    assert [record.body for record in everything(target)] == [b"before", b"after"]
    target.close()
    again = journal(tmp_path)
    assert [record.body for record in everything(again)] == [b"before", b"after"]
    again.close()


def test_T7_what_could_not_be_synced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = journal(tmp_path)
    append(target, b"before")
    sync = os.fdatasync

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    [error] = append(target, b"refused")
    assert isinstance(error, JournalError)
    monkeypatch.setattr(os, "fdatasync", sync)
    assert append(target, b"after") == [None]
    assert [record.body for record in everything(target)] == [b"before", b"after"]
    target.close()
    again = journal(tmp_path)
    assert [record.body for record in everything(again)] == [b"before", b"after"], (
        "it was written, and refused"
    )
    again.close()


def test_a_journal_that_waits_for_the_disk_for_too_long_does_not_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.journal.journal.STUCK_S", 0.1)
    target = journal(tmp_path)
    assert target.is_moving()
    going, sync = threading.Event(), os.fdatasync
    ended = threading.Event()

    def stuck(descriptor: int) -> None:
        going.wait(PATIENCE_S)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", stuck)
    target.append(Header(1), b"a", lambda error: ended.set())
    until(lambda: not target.is_moving())
    going.set()
    assert ended.wait(PATIENCE_S)
    until(target.is_moving)
    time.sleep(0.2)  # idle is not stuck
    assert target.is_moving()
    target.close()


def test_with_ack_sink_done_means_stored(tmp_path: Path) -> None:
    target = journal(tmp_path, ack="sink")
    cursor = target.cursor("sink")
    ended: list[tuple[bytes, Exception | None]] = []
    for body in (b"a", b"b", b"c"):
        target.append(Header(1, items=2), body, lambda error, body=body: ended.append((body, error)))
    reader = target.reader(cursor.position)
    while reader.position.sequence < 3:
        reader.wait(PATIENCE_S)
        reader.next()
    assert ended == []
    with target.accounting:
        target.settled(2, reader.position.sequence)  # ahead of what came before it
    assert ended == [(b"b", None)]
    with target.accounting:
        target.settled(1, reader.position.sequence)
    assert ended == [(b"b", None), (b"a", None)]
    assert target.acknowledged_items == 4
    target.close()
    assert [body for body, _ in ended] == [b"b", b"a", b"c"]
    assert isinstance(ended[-1][1], JournalError)


def test_nothing_is_taken_above_the_bound_until_enough_is_stored(tmp_path: Path) -> None:
    target = journal(tmp_path, max_bytes=10_000)
    cursor = target.cursor("sink")
    while not target.room():
        append(target, b"x" * 900)
    with pytest.raises(JournalFullError, match="wait for the store"):
        append(target, b"too much")
    assert 9_000 < target.waiting_bytes <= 11_000
    reader = target.reader(cursor.position)
    reader.next()
    cursor.advance(reader.position)
    with pytest.raises(JournalFullError):
        append(target, b"not yet")
    while reader.next() is not None:
        cursor.advance(reader.position)
    assert append(target, b"again") == [None]
    assert target.size_bytes < 2_500  # what is stored has left the disk
    target.close()


def test_bounds_can_change_while_it_is_used(tmp_path: Path) -> None:
    target = journal(tmp_path, max_bytes=10_000)
    target.cursor("sink")
    while not target.room():
        append(target, b"x" * 900)
    target.bound(max_bytes=20_000, min_free_bytes=0, max_queue_bytes=1 << 20)
    while not target.room():
        append(target, b"x" * 900)
    assert 19_000 < target.waiting_bytes <= 21_000
    target.bound(max_bytes=0, min_free_bytes=0, max_queue_bytes=1 << 20)
    assert append(target, b"x" * 900) == [None]
    target.bound(max_bytes=5_000, min_free_bytes=0, max_queue_bytes=1 << 20)
    with pytest.raises(JournalFullError, match="wait for the store"):
        append(target, b"too much")
    target.close()


def test_a_disk_that_runs_low_refuses_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)

    def free(part: int) -> None:
        """So much of the disk is free, whatever else is on that of this machine."""
        left = real.f_blocks // part
        disk = os.statvfs_result((*real[:3], left, left, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: disk)

    monkeypatch.setattr(collector.journal.room, "LOOK_AGAIN_S", 0)
    free(2)
    target = journal(tmp_path, min_free_bytes=1 << 62)
    assert append(target, b"there is room") == [None]
    free(20)
    with pytest.raises(JournalFullError, match="are kept for the store"):
        append(target, b"no room")
    free(2)
    assert append(target, b"room again") == [None]
    target.close()


def test_T6_a_full_disk_is_gone_on_with_once_there_is_twice_what_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, write = os.statvfs(tmp_path), os.writev

    def full(descriptor: int, pieces: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def free(size: int) -> None:
        blocks = size // real.f_frsize
        disk = os.statvfs_result((*real[:3], blocks, blocks, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: disk)

    target = journal(tmp_path)
    given_up = (tmp_path / "reserve").stat().st_size
    monkeypatch.setattr(collector.journal.room, "LOOK_AGAIN_S", 0)
    monkeypatch.setattr(os, "writev", full)
    [error] = append(target, b"refused")
    assert isinstance(error, JournalError)
    monkeypatch.setattr(os, "writev", write)
    free(2 * given_up - real.f_frsize)
    with pytest.raises(JournalFullError, match="the disk is full"):
        append(target, b"too early")
    free(2 * given_up)
    assert append(target, b"taken") == [None]
    target.close()


def test_three_failures_in_a_row_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = journal(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(
            os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
        )
        for _ in range(3):
            assert target.room() == ""
            append(target, b"refused")
    assert target.room() == "the journal can not be written"
    append(target, b"taken")
    assert target.room() == ""
    target.close()


@pytest.mark.parametrize("why", [errno.EMFILE, errno.ENOSPC], ids=["no file handle", "full disk"])
def test_T6_T7_a_segment_that_can_not_be_begun_refuses_and_then_takes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    target = journal(tmp_path, segment_bytes=10)
    append(target, b"before")
    real = os.open
    with monkeypatch.context() as broken:

        def none_left(path: Any, *arguments: Any) -> int:
            if str(path).endswith(".seg"):
                raise OSError(why, os.strerror(why))
            return real(path, *arguments)

        broken.setattr(os, "open", none_left)
        [error] = append(target, b"refused")
    assert isinstance(error, JournalError)
    assert append(target, b"after") == [None]
    assert [record.body for record in everything(target)] == [b"before", b"after"]
    target.close()


def test_what_can_not_be_unlinked_stays_for_the_next_time_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = journal(tmp_path, segment_bytes=10)
    cursor = target.cursor("sink")
    append(target, b"stored", b"stored too")
    reader = target.reader(cursor.position)
    while reader.next() is not None:
        pass
    with monkeypatch.context() as broken:

        def kept(path: Any, **options: Any) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        broken.setattr(os, "unlink", kept)
        cursor.advance(reader.position)
        target.rotate()
        assert append(target, b"taken") == [None]
        assert target.is_moving()
        assert target.holds_before(2), "what was stored is still on the disk"
    target.rotate()
    until(lambda: not target.holds_before(3))
    assert [path.name for path in segments(tmp_path)] == ["00000000000000000003.seg"]
    assert [record.body for record in everything(target, cursor.position)] == [b"taken"]
    target.close()


def test_T6_a_segment_that_could_not_be_given_up_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = journal(tmp_path)
    with monkeypatch.context() as broken:

        def refused(*_: Any, **options: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for name in ("writev", "ftruncate", "unlink"):
            broken.setattr(os, name, refused)
        [error] = append(target, b"refused")
        assert isinstance(error, JournalError)
    until(lambda: not target.room())
    assert append(target, b"taken") == [None]
    assert [record.body for record in everything(target)] == [b"taken"]
    target.close()


def test_a_disk_that_says_nothing_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = journal(tmp_path)
    with monkeypatch.context() as broken:

        def silent(path: Any) -> os.statvfs_result:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        broken.setattr(os, "statvfs", silent)
        until(target.room)
        with pytest.raises(JournalFullError, match="does not say"):
            append(target, b"refused")
    until(lambda: not target.room())
    assert append(target, b"taken") == [None]
    target.close()


def test_a_fault_of_who_is_told_costs_nobody_else_anything(tmp_path: Path) -> None:
    target = journal(tmp_path)

    def faulty(error: Exception | None) -> None:
        raise ValueError("a fault of who is told")

    target.append(HEADER, b"told in vain", faulty)
    assert append(target, b"told") == [None]
    assert [record.body for record in everything(target)] == [b"told in vain", b"told"]
    target.close()


def test_a_record_that_can_not_be_written_costs_only_itself(tmp_path: Path) -> None:
    target = journal(tmp_path)
    [error] = append(target, b"refused", header=replace(HEADER, items="none"))  # type: ignore[arg-type]  # the fault
    assert isinstance(error, JournalError)
    assert append(target, b"taken") == [None]
    assert [record.body for record in everything(target)] == [b"taken"]
    target.close()


def test_a_journal_closes_whatever_the_disk_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = journal(tmp_path)
    cursor = target.cursor("sink")
    append(target, b"stored")
    reader = target.reader(cursor.position)
    assert reader.next() is not None
    cursor.advance(reader.position)
    with monkeypatch.context() as broken:

        def refused(*_: Any, **options: Any) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        for name in ("pwrite", "fdatasync", "fsync", "unlink"):
            broken.setattr(os, name, refused)
        target.close()
    again = journal(tmp_path)
    assert again.next_sequence == 2
    assert not everything(again, again.cursor("sink").position)
    again.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bodies=st.lists(st.binary(max_size=400), min_size=2, max_size=25),
    flips=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_T8_flipped_bits_cost_only_the_records_they_hit(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], flips: int, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("flips")
    target = journal(directory, segment_bytes=1500, ack="write")
    append(target, *bodies)
    whole = everything(target)
    assert [record.body for record in whole] == bodies
    target.close()
    chance = random.Random(seed)
    for _ in range(flips):
        file = chance.choice(segments(directory))
        content = bytearray(file.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
    again = journal(directory, segment_bytes=1500, ack="write")
    found = everything(again)
    assert all(record in whole for record in found)
    assert len(found) >= len(whole) - flips
    append(again, b"goes on")
    assert everything(again)[-1].body == b"goes on"
    again.close()


@settings(max_examples=40, deadline=None)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.lists(st.binary(max_size=300), min_size=1, max_size=5)),
            st.tuples(st.just("read"), st.integers(1, 6)),
            st.tuples(st.just("store"), st.none()),
            st.tuples(st.just("reopen"), st.none()),
        ),
        max_size=25,
    )
)
def test_it_behaves_like_a_list_with_a_bookmark(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, Any]]
) -> None:
    directory = tmp_path_factory.mktemp("model")
    model: list[bytes] = []
    read = stored = 0
    target = journal(directory, segment_bytes=700, ack="write")
    cursor = target.cursor("sink")
    reader = target.reader(cursor.position)
    for action, argument in actions:
        if action == "append":
            append(target, *argument)
            model += argument
        elif action == "read":
            for _ in range(argument):
                record = reader.next()
                assert (record.body if record else None) == (model[read] if read < len(model) else None)
                if record is not None:
                    assert record.sequence == read + 1
                    read += 1
        elif action == "store":
            cursor.advance(reader.position)
            stored = read
        else:
            target.close()
            target = journal(directory, segment_bytes=700, ack="write")
            cursor = target.cursor("sink")
            reader = target.reader(cursor.position)
            read = stored
    rest = []
    while (record := reader.next()) is not None:
        rest.append(record.body)
    assert rest == model[read:]
    target.close()


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    script = """
import os, sys, threading
from pathlib import Path
from collector.journal import Header, Journal
journal = Journal(Path(sys.argv[1]), segment_bytes=20_000)
journal.open()
def work(worker):
    for number in range(10_000):
        done = threading.Event()
        body = b"%d:%d" % (worker, number)
        journal.append(Header(0), body * 20, lambda error: done.set())
        done.wait()
        os.write(1, body + b"\\n")
for worker in range(4):
    threading.Thread(target=work, args=(worker,), daemon=True).start()
threading.Event().wait()
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(400)]
    process.kill()
    acknowledged += [
        line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")
    ]
    process.wait()
    target = journal(tmp_path)
    bodies = {record.body for record in everything(target)}
    assert {body * 20 for body in acknowledged} <= bodies
    target.close()


def test_a_reader_waits_for_what_comes(tmp_path: Path) -> None:
    target = journal(tmp_path)
    reader = target.reader(target.cursor("sink").position)
    threading.Timer(0.05, lambda: append(target, b"late")).start()
    reader.wait(PATIENCE_S)
    record = reader.next()
    assert record is not None
    assert record.body == b"late"
    target.close()


def test_a_full_journal_gives_up_the_oldest_if_it_may(tmp_path: Path) -> None:
    target = journal(tmp_path, max_bytes=8000, on_full="drop_oldest")
    cursor = target.cursor("sink")
    reader = target.reader(cursor.position)
    assert reader.next() is None
    header = replace(HEADER, items=1)
    for number in range(26):
        assert append(target, bytes([65 + number]) * 900, header=header) == [None]
    assert target.waiting_bytes <= 8000
    left = []
    while (record := reader.next()) is not None:
        left.append(record.sequence)
    assert left == list(range(27 - len(left), 27))  # the newest, without a gap
    assert 5 <= len(left) < 10
    assert target.dropped_segments == 26 - len(left)
    assert reader.lost_items == 26 - len(left)
    target.close()
    again = journal(tmp_path, max_bytes=8000, on_full="drop_oldest")
    assert [record.sequence for record in everything(again, again.cursor("sink").position)] == left
    again.close()


def test_a_full_journal_refuses_unless_it_may_give_up_the_oldest(tmp_path: Path) -> None:
    target = journal(tmp_path, max_bytes=8000)
    target.cursor("sink")
    taken = 0
    with suppress(JournalFullError):
        while taken < 26:
            append(target, b"x" * 900)
            taken += 1
    assert taken < 10
    assert target.dropped_segments == 0
    target.close()
