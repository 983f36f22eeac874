"""What `eddyline top` shows: rates between two looks at the status, and what stands now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mappers.dollars import dollars

if TYPE_CHECKING:
    from rich.table import Table

SIGNALS = ("traces", "logs")


@dataclass(frozen=True, slots=True)
class Readings:
    """One signal in one interval. Rates are items a second."""

    signal: str
    accepted: float
    stored: float
    queued: int
    waiting_bytes: int
    lag_s: float
    refused: float
    """Requests a second that were asked to come back."""
    rejected: float
    """Items a second that can never be stored."""
    duplicates: int
    dead_lettered: int
    error: str
    """What the store says, if it does not take the newest batch."""


@dataclass(frozen=True, slots=True)
class Shown:
    """All of one interval. Spending is of the last hour, None where it is not known."""

    signals: list[Readings]
    runs: float
    """New runs a second."""
    stored_runs: int
    cost_usd: float | None
    llm_calls: int
    tokens: int


class Gauges:
    """Remembers the status before."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, Any]] | None = None

    def read(self, status: dict[str, Any], spend: dict[str, Any], now: float) -> Shown | None:
        """What to show; None at the first look, which has nothing to compare with."""
        before, self._before = self._before, (now, status)
        if before is None or now <= before[0]:
            return None
        seconds = now - before[0]
        if status["uptime_s"] < before[1]["uptime_s"]:  # it began anew: everything counts from 0
            return None
        signals = [_signal(name, before[1], status, seconds) for name in SIGNALS]
        runs = status["stored"]["runs"]
        return Shown(
            signals,
            (runs - before[1]["stored"]["runs"]) / seconds,
            runs,
            spend.get("cost_usd"),
            spend.get("llm_calls") or 0,
            (spend.get("input_tokens") or 0) + (spend.get("output_tokens") or 0),
        )


def _signal(name: str, before: dict[str, Any], now: dict[str, Any], seconds: float) -> Readings:
    def rate(count: Callable[[dict[str, Any]], int]) -> float:
        return max(0.0, (count(now) - count(before)) / seconds)

    balance, journal, sink = _balance(now, name), now["journal"][name], now["sink"][name]
    return Readings(
        name,
        rate(lambda status: _balance(status, name)["accepted"]),
        rate(lambda status: _balance(status, name)["stored"]),
        balance["queued"],
        journal["waiting_bytes"],
        sink["lag_s"],
        rate(lambda status: _at_doors(status, name, "refused_requests")),
        rate(lambda status: _at_doors(status, name, "rejected")),
        balance["duplicates"],
        balance["dead_lettered"],
        journal["refuses"] or sink["last_error"] or "",
    )


def _balance(status: dict[str, Any], signal: str) -> dict[str, int]:
    pipeline = status["pipeline"]
    found: dict[str, int] = pipeline if signal == "traces" else pipeline[signal]
    return found


def _at_doors(status: dict[str, Any], signal: str, name: str) -> int:
    return sum(door[signal][name] for door in status["receivers"].values() if signal in door)


# --------------------------------------------------------------------------- for people

COLUMNS = (
    ("signal", 8),
    ("accepted/s", 11),
    ("stored/s", 9),
    ("queued", 8),
    ("waiting", 9),
    ("lag", 7),
    ("refused/s", 10),
    ("rejected/s", 11),
    ("duplicates", 11),
    ("dead", 6),
)


def headings() -> str:
    return "".join(name.rjust(width) for name, width in COLUMNS) + "  spent in the last hour"


def as_line(shown: Shown) -> str:
    """The interval for a terminal that is none: a line for each signal that anything came of, at least one."""
    first, *others = shown.signals
    lines = [_row(first) + f"  {_spent(shown)}"]
    lines += [_row(reading) for reading in others if reading.accepted or reading.queued]
    return "\n".join(lines)


def _row(reading: Readings) -> str:
    texts = "".join(text.rjust(width) for text, (_, width) in zip(_texts(reading), COLUMNS, strict=True))
    return f"{texts}  {reading.error}".rstrip()


def as_table(shown: Shown, address: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"eddyline at {address}",
        caption=f"{shown.stored_runs} runs stored, {shown.runs:.1f} new a second; {_spent(shown)} in the last hour",
    )
    (heading, _), *rows = COLUMNS
    table.add_column(heading)
    columns = [_texts(reading) for reading in shown.signals]
    for signal, *_ in columns:
        table.add_column(signal, justify="right", min_width=10)
    for number, (name, _) in enumerate(rows, start=1):
        table.add_row(name, *(texts[number] for texts in columns))
    for reading in shown.signals:
        if reading.error:
            table.add_section()
            table.add_row(f"[red]{reading.signal}[/red]", escape(reading.error[:100]))
    return table


def _texts(reading: Readings) -> list[str]:
    return [
        reading.signal,
        f"{reading.accepted:.0f}",
        f"{reading.stored:.0f}",
        str(reading.queued),
        _size(reading.waiting_bytes),
        f"{reading.lag_s:.1f}s",
        f"{reading.refused:.1f}",
        f"{reading.rejected:.1f}",
        str(reading.duplicates),
        str(reading.dead_lettered),
    ]


def _spent(shown: Shown) -> str:
    cost = "an unknown sum" if shown.cost_usd is None else dollars(shown.cost_usd)
    return f"{cost}, {shown.llm_calls} LLM calls, {shown.tokens} tokens"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f}{unit}" if unit == "B" else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f}GB"
