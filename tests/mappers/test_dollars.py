"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mappers.dollars import dollars


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (Decimal(1234), "$1,234.00"),
        (0.18, "$0.1800"),
        (0.0012, "$0.0012"),
        (Decimal("0.000036"), "$0.000036"),
        (0.0000000012, "$0.0000000012"),
        (0, "$0.0000"),
    ],
)
def test_nothing_that_was_spent_reads_as_none(usd: Decimal | float, shown: str) -> None:
    assert dollars(usd) == shown
