"""The wire capture of one proxy: finished calls into its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from collector.config import LoggingSettings
from collector.pipeline.redaction import ProjectRules
from collector.proxy.capture import Policy
from collector.proxy.exchange import Exchange
from collector.proxy.framelog import FrameTape
from collector.proxy.headers import by_name
from collector.proxy.tape import Tape
from collector.proxy.wire.encoding import FORMATS
from collector.proxy.wire.file import WireFile
from collector.proxy.wire.messages import records_of_frames
from collector.proxy.wire.records import Names, Rules, records_of
from collector.telemetry.telemetry import about

log = logging.getLogger(__name__)


class WireCapture:
    """Writes down every call that it is told of.

    Args:
        rules: what is masked and left out, by project; as for everything that is stored.
    """

    def __init__(self, settings: LoggingSettings, rules: ProjectRules) -> None:
        self._rules = rules
        self._exact = settings.capture_format == "cbor"
        self._encode = FORMATS[settings.capture_format]
        self._file = WireFile(settings)
        self.failed = 0
        """Calls that could not be written down: a fault of ours."""

    def record(self, exchange: Exchange, session: str | None, policy: Policy) -> None:
        """Takes a call. Never raises: whatever goes wrong here is no reason to lose what else is made of it."""
        try:
            allowed = self._allowed(exchange.tape, policy)
            names = Names(session, _key_name(exchange.key_sources, policy))
            self._file.write(
                [self._encode(record) for record in records_of(exchange, names, allowed, exact=self._exact)]
            )
        except Exception:
            self._tell(exchange.tape)

    def record_frames(self, tape: FrameTape, policy: Policy) -> None:
        """Takes a stretch of a WebSocket's messages. Never raises, as above."""
        try:
            key = tape.key_sources(by_name(tape.request_headers))
            names = Names(tape.context.session or None, _key_name(key, policy))
            allowed = self._allowed(tape, policy)
            self._file.write(
                [
                    self._encode(record)
                    for record in records_of_frames(tape, names, allowed, exact=self._exact)
                ]
            )
        except Exception:
            self._tell(tape)

    def _allowed(self, tape: Tape, policy: Policy) -> Rules:
        rules = self._rules.of(tape.context.project or "default")
        return Rules(
            rules.mask,
            policy.input and "input" not in rules.hidden,
            policy.output and "output" not in rules.hidden,
        )

    def _tell(self, tape: Tape) -> None:
        self.failed += 1
        context = tape.context
        log.exception(
            "a call of %s could not be captured",
            tape.upstream.name,
            extra=about(context.tenant, context.trace_id),
        )

    def close(self) -> None:
        """Writes what is held."""
        self._file.close()

    def document(self) -> dict[str, Any]:
        """For the status."""
        return self._file.document() | {"failed": self.failed}


def _key_name(key: tuple[Mapping[bytes, str], str], policy: Policy) -> str | None:
    """A name for an API key that does not tell it."""
    return policy.key_name(*key) or policy.key_hash(*key) or None
