"""What clients call themselves: which of them will lose data when they are asked to wait is a matter of the version."""

from __future__ import annotations

import re
from functools import lru_cache

_PRODUCT = re.compile(r"([A-Za-z][\w.+-]{0,39})/(\d[\w.+-]{0,19})")
OTHER = "other"


@lru_cache(1024)
def client_name(user_agent: str) -> str:
    """`name/version` of the first product in a User-Agent, `other` if there is none.

    Exporters: `OTel-OTLP-Exporter-Python/1.39.1`, `OTel-OTLP-Exporter-JavaScript/0.223.0`,
    `OpenTelemetry Collector/0.135.0 (linux/amd64)`.
    """
    found = _PRODUCT.search(user_agent[:200].replace("OpenTelemetry Collector", "OpenTelemetry-Collector"))
    return f"{found[1]}/{found[2]}" if found else OTHER
