"""Work that is done every few seconds, beside everything else."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Repeating(ABC):
    """Looks, in a thread of its own, for what there is to do; for the first time when `every_s` have passed.

    Args:
        name: of the thread.
        every_s: seconds between the end of a look and the next.
    """

    def __init__(self, name: str, every_s: float) -> None:
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name)

    @abstractmethod
    def look(self) -> None:
        """Does what there is to do. Must not fail."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.look()
