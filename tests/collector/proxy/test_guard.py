"""Web pages are kept out; programs are not."""

from __future__ import annotations

import pytest

from collector.proxy.errors import RelayError
from collector.proxy.guard import Guard

NAMES = ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "localhost:31300"}, True),
        ({"host": "127.0.0.1"}, True),
        ({"host": "[::1]:31300"}, True),
        ({}, True),
        ({"host": "localhost:31300", "sec-fetch-mode": "cors"}, True),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, True),
        ({"host": "evil.com"}, False),
        ({"host": "localhost.evil.com:31300"}, False),
        ({"host": "localhost:31300", "origin": "https://evil.com"}, False),
        ({"host": "localhost:31300", "origin": "null"}, False),
        ({"host": "localhost:31300", "origin": "http://localhost:31300"}, False),
        ({"host": "localhost:31300", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_only_browsers_are_refused(headers: dict[str, str], passes: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    if passes:
        Guard(NAMES).check(raw)
    else:
        with pytest.raises(RelayError):
            Guard(NAMES).check(raw)


def test_names_and_origins_can_be_added() -> None:
    guard = Guard((*NAMES, "proxy.lan"), ["https://app.lan"])
    guard.check(
        [(b"host", b"proxy.lan:31300"), (b"origin", b"https://app.lan"), (b"sec-fetch-site", b"cross-site")]
    )
