"""The wire capture of one proxy: finished calls into its file."""

from __future__ import annotations

import logging
from typing import Any

from collector.config import LoggingSettings
from collector.proxy.capture import Policy
from collector.proxy.exchange import Exchange
from collector.proxy.wire.encoding import FORMATS
from collector.proxy.wire.file import WireFile
from collector.proxy.wire.records import Names, Rules, records_of
from collector.redaction import ProjectRules
from collector.telemetry import about

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
            rules = self._rules.of(exchange.tape.context.project or "default")
            allowed = Rules(
                rules.mask,
                policy.input and "input" not in rules.hidden,
                policy.output and "output" not in rules.hidden,
            )
            key = exchange.key_sources
            names = Names(session, policy.key_name(*key) or policy.key_hash(*key) or None)
            self._file.write(
                [self._encode(record) for record in records_of(exchange, names, allowed, exact=self._exact)]
            )
        except Exception:
            self.failed += 1
            context = exchange.tape.context
            log.exception(
                "a call of %s could not be captured",
                exchange.tape.upstream.name,
                extra=about(context.tenant, context.trace_id),
            )

    def close(self) -> None:
        """Writes what is held."""
        self._file.close()

    def document(self) -> dict[str, Any]:
        """For the status."""
        return self._file.document() | {"failed": self.failed}
