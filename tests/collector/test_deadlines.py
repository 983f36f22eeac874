"""Waits that share a timer."""

from __future__ import annotations

import asyncio

from collector.deadlines import Deadlines


def test_a_wait_is_over_after_its_time_and_no_other_is() -> None:
    async def waits() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(0.05)
        ended: list[str] = []
        first = deadlines.begin(loop, lambda: ended.append("first"))
        deadlines.begin(loop, lambda: ended.append("cancelled")).cancel()
        await asyncio.sleep(0.03)
        second = deadlines.begin(loop, lambda: ended.append("second"))
        await asyncio.sleep(0.03)
        assert (ended, first.expired, second.expired) == (["first"], True, False)
        await asyncio.sleep(0.04)
        assert (ended, second.expired) == (["first", "second"], True)
        second.cancel()

    asyncio.run(waits())


def test_a_wait_may_end_or_begin_others() -> None:
    async def waits() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(0.01)
        ended: list[str] = []
        later = []

        def first() -> None:
            ended.append("first")
            second.cancel()
            later.append(deadlines.begin(loop, lambda: ended.append("third")))

        deadlines.begin(loop, first)
        second = deadlines.begin(loop, lambda: ended.append("second"))
        await asyncio.sleep(0.05)
        assert ended == ["first", "third"]
        assert later[0].expired

    asyncio.run(waits())
