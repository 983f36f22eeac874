"""Rows as a table for people, and as JSON, JSON lines, CSV or Markdown for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from collector.commands.options import Command
from mappers.dollars import dollars

FORMATS = ("table", "json", "jsonl", "csv", "md")

Row = dict[str, Any]


def shown_as(columns: Sequence[str]) -> Callable[[Command], Command]:
    """The options `--format`, `--json` and `-o`.

    Args:
        columns: what a table shows if nothing else is asked for, as paths into a row: `usage.total`.
    """

    def decorate(command: Command) -> Command:
        command = click.option(
            "-o",
            "--columns",
            metavar="FIELD,…",
            help=f"Fields of a table, CSV or Markdown, like `usage.total`. [{','.join(columns)}]",
            default=",".join(columns),
        )(command)
        command = click.option(
            "--format",
            "form",
            type=click.Choice(FORMATS),
            help="[default: table on a terminal, else jsonl]",
        )(command)
        return click.option("--json", "form", flag_value="json", help="The same as --format json.")(command)

    return decorate


def listing(default: int) -> Callable[[Command], Command]:
    """The options of a list."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--all", "everything", is_flag=True, help="All of them, however many."),
            click.option("--limit", type=click.IntRange(1), default=default, help=f"How many. [{default}]"),
            click.option("--until", default="", help="Before then."),
            click.option("--since", default="", help="From then on: an RFC 3339 time, or like -24h."),
        ):
            command = option(command)
        return command

    return decorate


def chosen(form: str | None) -> str:
    """The format that was asked for, else what suits who reads."""
    return form or ("table" if sys.stdout.isatty() else "jsonl")


def write_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def write_rows(rows: Iterable[Row], form: str | None, columns: str, *, empty: str) -> None:
    """Writes rows to the standard output, those of JSON lines and CSV as they come.

    Args:
        empty: said on the standard error if there are none.
    """
    names = [name.strip() for name in columns.split(",") if name.strip()]
    form = chosen(form)
    count = 0

    def counted() -> Iterable[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    if form == "json":
        write_json(list(counted()))
    elif form == "jsonl":
        for row in counted():
            click.echo(json.dumps(row, ensure_ascii=False))
    elif form == "csv":
        click.echo(_csv_line(names))
        for row in counted():
            click.echo(_csv_line([_plain(member(row, name)) for name in names]))
    elif form == "md":
        click.echo(_markdown_line(names))
        click.echo(_markdown_line(["---"] * len(names)))
        for row in counted():
            click.echo(_markdown_line([brief(member(row, name), name) for name in names]))
    else:
        context = click.get_current_context(silent=True)
        source = context.get_parameter_source("columns") if context else None
        _write_table(list(counted()), names, are_usual=source is ParameterSource.DEFAULT)
    if not count:
        click.echo(f"eddyline: {empty}", err=True)


def member(row: Any, path: str) -> Any:
    """What stands at a path of member names; None if nothing does."""
    for name in path.split("."):
        row = row.get(name) if isinstance(row, dict) else None
    return row


def brief(value: Any, name: str = "") -> str:
    """A value in a cell for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_at") and isinstance(value, str):
        return local_time(value)
    if name.endswith("_usd"):
        return dollars(value)
    if name.endswith("_ms") and isinstance(value, (int, float)):
        return duration(value)
    if isinstance(value, int):
        return f"{value:,}"
    return _plain(value)


def local_time(text: str) -> str:
    """An RFC 3339 time in the zone of this machine, to the second."""
    moment = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(value_ms: float) -> str:
    if value_ms < 1000:
        return f"{value_ms:.0f} ms"
    seconds = value_ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def counted(number: int, thing: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(map(_harmless, cells))
    return line.getvalue()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


SHORT = 16
"""Cells that a text is never narrowed below."""
LONG = 60
"""A text that is longer takes several lines; others are cut off."""
NARROW = 24
"""Cells that such lines have at least."""
BETWEEN = 2


def _write_table(rows: Sequence[Row], names: Sequence[str], *, are_usual: bool) -> None:
    """A table as wide as the terminal. What of the usual columns does not fit is left out, the last ones first: a
    number of which half is seen says less than none."""
    if not rows:
        return
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns = []
    for name in names:
        cells = [_in_table(member(row, name), name) for row in rows]
        heading = _heading(name)
        widest = max(map(cell_len, [*heading.split("\n"), *cells]))
        is_text = not name.endswith(("_id", "_at")) and any(
            isinstance(member(row, name), str) for row in rows
        )
        least = min(widest, NARROW if widest > LONG else SHORT) if is_text else widest
        number = any(isinstance(member(row, name), (int, float)) for row in rows)
        columns.append(_Column(heading, cells, number, least, widest))
    shown = list(columns)
    while are_usual and len(shown) > 1 and _width([one.least for one in shown]) > console.width:
        shown.pop()
    spare = console.width - _width([one.least for one in shown])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        width = min(column.widest, column.least + max(spare, 0))
        spare -= width - column.least
        table.add_column(
            column.heading,
            justify="right" if column.is_number else "left",
            no_wrap=column.widest <= LONG,
            overflow="ellipsis" if column.least < column.widest else "fold",
            width=width if are_usual else None,
        )
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)
    if left := [name for name, column in zip(names, columns, strict=True) if column not in shown]:
        click.echo(f"eddyline: a wider terminal, or -o, shows {', '.join(left)} too", err=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """Args:
    least, widest: cells of the terminal that it needs, and that it can use.
    """

    heading: str
    cells: Sequence[str]
    is_number: bool
    least: int
    widest: int


def _width(columns: Sequence[int]) -> int:
    return sum(columns) + BETWEEN * (len(columns) - 1)


def _heading(name: str) -> str:
    """The words of a path one below the other, without what the cells say themselves."""
    for end in ("_at", "_ms", "_usd"):
        name = name.removesuffix(end)
    return "\n".join(name.removeprefix("counts.").replace(".", "_").split("_"))


def _in_table(value: Any, name: str) -> str:
    if isinstance(value, str) and (name.endswith("_at") or name == "time"):
        at, now = local_time(value), datetime.now().astimezone().strftime("%Y-%m-%d")
        if at[:10] == now:
            return at[11:]
        return at[5:16] if at[:4] == now[:4] else at[:10]
    return " ".join(brief(value, name).split())
