"""The files of the configuration, and when they are read anew: on SIGHUP, or when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.config import Settings
from collector.config.reload import Reloadable


class ConfigFiles:
    """Reads the configuration anew when somebody asks for it and, with `service.reload_interval`, when files change.

    A change is taken over once it stands for one interval, so that nothing is read of which only half is written. A
    file counts as another when its name leads elsewhere, too: Kubernetes replaces the files of a ConfigMap by changing
    a link above them.

    Args:
        files: what the configuration is read from; not those that it names itself.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._read: dict[Path, object] = {file: _state_of(file) for file in files}
        """How they were when they were last read."""
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Has them read, whether they have changed or not."""
        self._asked.set()

    def named_by(self, settings: Settings) -> None:
        """Notes how files are that the configuration names, and that are about to be read for the first time."""
        self._read = self._look(settings) | self._read

    async def follow(self, reloadable: Reloadable, read: Callable[[], Settings]) -> None:
        """Reloads, with what `read` returns, until it is cancelled."""
        reloadable.reads("service.reload_interval")
        seen = self._read
        while True:
            try:
                interval_s = reloadable.settings.service.reload_interval
                await asyncio.wait_for(self._asked.wait(), interval_s or None)
            except TimeoutError:
                before, seen = seen, await asyncio.to_thread(self._look, reloadable.settings)
                if seen != before or all(self._read.get(file) == state for file, state in seen.items()):
                    continue
            self._asked.clear()
            self._read = seen = self._look(reloadable.settings)
            reloadable.reload(read)
            self.named_by(reloadable.settings)

    def _look(self, settings: Settings) -> dict[Path, object]:
        """What tells each file from another, and from what it was before it was written to."""
        prices = settings.pricing.overrides
        return {file: _state_of(file) for file in (*self._files, *([prices] if prices else []))}


def _state_of(file: Path) -> object:
    """None if it is not there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return file.resolve(), status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
