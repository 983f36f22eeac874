"""What of the configuration can change while the collector runs (SIGHUP, or a file of it that changes): who takes
something over says so, and of all else the log says that it needs a restart.

API keys and certificates need no signal: their files are looked at by themselves.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from collector.config import ConfigError, Settings

log = logging.getLogger(__name__)


class Reloadable:
    """The configuration that holds, and who is to be told of another."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._started = settings
        """Of what nobody takes over, this holds."""
        self._takers: list[Callable[[Settings], None]] = []
        self._taken: set[str] = set()
        """Settings, and sections of them, that are taken over."""
        self.successful = True
        """Whether the newest configuration was taken over."""

    def tell(self, taker: Callable[[Settings], None], *taken: str) -> None:
        """Calls `taker` with every new configuration, of which it takes these settings or sections over. It raises
        ConfigError if it can not be used."""
        self._takers.append(taker)
        self._taken.update(taken)

    def reads(self, *names: str) -> None:
        """These settings, and sections of them, are looked up in `settings` when they are needed."""
        self._taken.update(names)

    def takes(self, name: str) -> bool:
        """Whether a setting is taken over."""
        parts = name.split(".")
        return any(".".join(parts[:length]) in self._taken for length in range(1, len(parts) + 1))

    @property
    def outstanding(self) -> list[str]:
        """Names of settings that are others than at the start, and that only a restart takes over."""
        return [name for name in _changed(self._started, self.settings) if not self.takes(name)]

    def reload(self, read: Callable[[], Settings]) -> bool:
        """Takes over what `read` returns; the old configuration stays if it is wrong."""
        before = self.settings
        try:
            settings = read()
            self._give(settings)
        except Exception as error:
            self.successful = False
            # Each reason is one of its own to who reads.
            log.error(f"the old configuration stays: {error}", exc_info=not isinstance(error, ConfigError))
            for taker in self._takers:
                with contextlib.suppress(Exception):  # keys may be gone that it needs, too
                    taker(before)
            return False
        self.settings = settings
        self.successful = True
        said = (
            f"the configuration is reloaded: {', '.join(_changed(before, settings)) or 'nothing has changed'}"
        )
        if later := self.outstanding:
            log.warning(f"{said}; only a restart takes over: {', '.join(later)}")
        else:
            log.info(said)
        return True

    def renew(self, settings: Settings) -> None:
        """Takes over settings that were found right elsewhere.

        Raises: ConfigError, if they are not.
        """
        self._give(settings)
        self.settings = settings

    def _give(self, settings: Settings) -> None:
        """Raises: ConfigError."""
        for taker in self._takers:
            taker(settings)


def _changed(before: Settings, after: Settings) -> list[str]:
    """Names of settings that differ."""
    return sorted({name for name, _ in dict(_leaves(before)).items() ^ dict(_leaves(after)).items()})


def _leaves(settings: Settings) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[str, Any]] = list(settings.model_dump().items())
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [(f"{name}.{key}", item) for key, item in value.items()]
        else:
            yield name, repr(value)
