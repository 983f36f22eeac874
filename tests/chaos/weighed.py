"""`eddyline` that says, in the file that `HEAP_FILE` names, how many bytes are allocated on the heap of Python and of
the libraries that share it, once what nobody can reach any more is gone.

The engine has a heap of its own, which takes and gives back a hundred MiB with each merge. In what the whole process
takes, a leak of ours is not to be seen for hours.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from pathlib import Path

from collector.cli import main

EVERY_S = 1.0


class _Allocated(ctypes.Structure):
    """`struct mallinfo2` of glibc (malloc/malloc.h)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",  # bytes of allocations that have a mapping of their own
            "usmblks",
            "fsmblks",
            "uordblks",  # bytes of the others
            "fordblks",
            "keepcost",
        )
    )


def weigh(file: Path) -> None:
    """Notes the heap's size as long as the process lives."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Allocated
    beside = file.with_suffix(".new")
    while True:
        time.sleep(EVERY_S)
        gc.collect()
        found = mallinfo()
        beside.write_text(str(found.uordblks + found.hblkhd), encoding="ascii")
        beside.rename(file)


def weighed() -> None:
    """Runs `eddyline` beside the scales."""
    threading.Thread(target=weigh, args=(Path(os.environ["HEAP_FILE"]),), daemon=True).start()
    main()


if __name__ == "__main__":
    weighed()
