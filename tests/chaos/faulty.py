"""`eddyline` with a store that fails as the file FAULT_FILE says; each try is noted in FAULT_FILE.tries.

(nothing, or no file)   as it is
down                    away
slow SECONDS            each insert takes so much longer
lost SHARE              so many inserts are stored and then said to have failed
flap SECONDS            away and there in turns
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from collector.cli import main
from sinks.base import Batch, RetryableError
from sinks.clickhouse import ClickHouseSink

CONTROL = Path(os.environ["FAULT_FILE"])
write = ClickHouseSink.write


def faulty(sink: ClickHouseSink, batch: Batch) -> None:
    with CONTROL.with_suffix(".tries").open("a") as tries:
        tries.write(f"{time.monotonic()}\n")
    fault, _, value = (CONTROL.read_text() if CONTROL.exists() else "").partition(" ")
    if fault == "down" or (fault == "flap" and time.monotonic() // float(value) % 2):
        raise RetryableError("Code: 210. The store is away")
    if fault == "slow":
        time.sleep(float(value))
    write(sink, batch)
    if fault == "lost" and random.random() < float(value):
        raise RetryableError("Code: 209. Timed out, after all was stored")


ClickHouseSink.write = faulty  # type: ignore[method-assign]  # the fault is put in

if __name__ == "__main__":
    main()
