"""Amounts of money as people read them."""

from __future__ import annotations

from decimal import Decimal


def dollars(usd: Decimal | float) -> str:
    """An amount for people: cents from a dollar on, below it two digits that count at least, so that nothing that was
    spent reads as none."""
    if usd >= 1:
        return f"${usd:,.2f}"
    if usd >= Decimal("0.001") or not usd:
        return f"${usd:.4f}"
    return f"${Decimal(f'{usd:.1e}'):f}"
