"""A batch on its way: what it is made of (`Gathered`), what becomes of it (`Prepared`), and who does that (`Stage`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from collector.journal import NOWHERE, Position, Readable, Record, Stretch
from collector.pipeline.mapped import Finish, Item_co, Mapped
from collector.telemetry.operations import Doing
from mappers.model import Event
from sinks.base import Batch

Item = TypeVar("Item")


@dataclass(slots=True)
class Gathered(Generic[Item]):
    """What one batch is made of."""

    items: list[Item]
    begin: Position
    end: Position
    received_ns: int = 0
    """When the oldest of it came."""
    left_out: dict[int, int] = field(default_factory=dict)
    """Records that were kept aside whole: items by sequence."""
    damaged: int = 0
    """Items that should have been there and could not be read."""
    size: int = 0
    """Bytes of the journal that it takes."""
    is_full: bool = False
    """More may be waiting already."""
    begun_before: bool = False
    """It was being stored when the last process ended."""
    ahead: Stretch | None = None
    """What is stored ahead of the cursor by when it comes to the store."""
    after: tuple[Position, Stretch | None] = (NOWHERE, None)
    """Where the cursor is once it is stored, and what is ahead of that."""
    records: list[Record] = field(default_factory=list)
    """That are not decoded yet."""
    finish: Finish[Item] | None = None
    """Gives what they mean, if they are being mapped elsewhere."""
    doing: Doing = field(default_factory=Doing)
    decoding_s: float = 0.0
    handed_over_ns: int = 0

    @property
    def is_overtaken(self) -> bool:
        """Some that came later are stored by then."""
        return self.ahead is not None and bool(self.ahead.records) and self.end <= self.ahead.begin


@dataclass(slots=True)
class Prepared:
    """A batch on its way to the sink."""

    number: int
    batch: Batch
    before_write: Callable[[], None]
    """Completes the batch with what can only be read once all earlier batches are stored."""
    after_write: Callable[[], None]
    """Called once the batch is stored."""
    discard: Callable[[Sequence[Event]], None]
    """Told of events that are not stored after all."""
    items: int
    is_complete: bool = False


class Ahead(Protocol[Item_co]):
    """Where records are mapped while those before them are derived."""

    @property
    def depth(self) -> int:
        """So many batches may be under way; 0: none just now."""

    def begin(self, records: Sequence[Record]) -> Finish[Item_co] | None:
        """Has the records of a batch mapped; None if that is to be done here."""


class Stage(Protocol[Item]):
    """What happens to the records of one signal between the journal and the sink."""

    @property
    def ahead(self) -> Ahead[Item] | None:
        """Where else they can be mapped."""

    def decode(self, record: Record) -> Sequence[Item]:
        """Items of one record."""

    def map(self, items: Sequence[Item]) -> Mapped[Item]:
        """What items mean: all that were decoded since the last time."""

    def prepare(
        self, mapped: Mapped[Item], *, number: int, stored: int, pressed: bool, overtaken: bool
    ) -> Prepared:
        """A batch of what was mapped. `number` counts the batches of all pipelines in its order from 1; `stored` is the
        number of the newest one written; `pressed` says that more items may be waiting already, `overtaken` that some
        that came later are in batches before it."""

    def due_in_s(self) -> float:
        """After how many seconds a batch without items has something to write; infinite if it never has."""

    def hurry(self) -> None:
        """From now on nothing is to be left for a later batch."""


def read_again(journal: Readable, gathered: Gathered[Item]) -> Iterator[Record]:
    """The records of a batch that is not stored yet, but for those that were left out."""
    reader = journal.reader(gathered.begin)
    try:
        while reader.position < gathered.end and (record := reader.next()) is not None:
            if record.sequence not in gathered.left_out:
                yield record
    finally:
        reader.close()
