"""When the configuration is read anew."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from collector.config import ConfigError, Settings, files_among, load, sources
from collector.config.reload import Reloadable
from collector.config.sources import ConfigFiles
from tests.waiting import until

LOOK_S = 0.02


class Following:
    """The configuration of a file, followed; what was read, in order."""

    def __init__(self, file: Path, *, interval_s: float = LOOK_S) -> None:
        self.read: list[int | str] = []
        self._file = file
        self._interval_s = interval_s
        self.files = ConfigFiles([file])
        self.reloadable = Reloadable(self._load())
        self.files.named_by(self.reloadable.settings)

    def _load(self) -> Settings:
        try:
            settings = load([self._file], sets=[f"service.reload_interval={self._interval_s}"])
        except ConfigError:
            self.read.append("wrong")
            raise
        self.read.append(settings.sinks.clickhouse.batch.max_items)
        return settings

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[Following]:
        task = asyncio.create_task(self.files.follow(self.reloadable, self._load))
        yield self
        task.cancel()

    async def until_read(self, *expected: int | str) -> None:
        await asyncio.to_thread(until, lambda: self.read == list(expected), lambda: self.read)


def text(items: int) -> str:
    return f"sinks: {{clickhouse: {{batch: {{max_items: {items}}}}}}}\n"


def followed(file: Path, script: Callable[[Following], Awaitable[None]], **how: float) -> None:
    async def run() -> None:
        async with Following(file, **how).followed() as following:
            await script(following)

    asyncio.run(run())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "eddyline.yaml"
    file.write_text(text(1))
    return file


def test_a_file_that_changes_is_read_anew_and_a_wrong_one_keeps_the_old(file: Path) -> None:
    async def script(following: Following) -> None:
        file.write_text(text(22))
        await following.until_read(1, 22)
        file.write_text("sinks: {nonsense: 1}\n")
        await following.until_read(1, 22, "wrong")
        assert not following.reloadable.successful
        assert following.reloadable.settings.sinks.clickhouse.batch.max_items == 22
        file.unlink()
        await following.until_read(1, 22, "wrong", "wrong")
        file.write_text(text(333))
        await following.until_read(1, 22, "wrong", "wrong", 333)
        assert following.reloadable.successful
        await asyncio.sleep(5 * LOOK_S)
        await following.until_read(1, 22, "wrong", "wrong", 333)

    followed(file, script)


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """Kubernetes' ConfigMap: `eddyline.yaml` → `..data/eddyline.yaml`, and `..data` → a directory by its time."""
    for name, items in (("..first", 1), ("..second", 22)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "eddyline.yaml").write_text(text(items))
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "eddyline.yaml").symlink_to("..data/eddyline.yaml")

    async def script(following: Following) -> None:
        (tmp_path / "..data_tmp").symlink_to("..second")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await following.until_read(1, 22)

    followed(tmp_path / "eddyline.yaml", script)


def test_a_change_between_the_first_reading_and_the_first_look_is_noticed(file: Path) -> None:
    following = Following(file)
    file.write_text(text(22))

    async def run() -> None:
        async with following.followed():
            await following.until_read(1, 22)

    asyncio.run(run())


def test_the_file_of_prices_belongs_to_it(file: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("[]\n")

    async def script(following: Following) -> None:
        file.write_text(text(22) + f"pricing: {{overrides: '{prices}'}}\n")
        await following.until_read(1, 22)
        prices.write_text("[{model: ours, input: 1}]\n")
        await following.until_read(1, 22, 22)

    followed(file, script)


def test_what_is_being_written_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    read_at: list[int] = []

    async def script(following: Following) -> None:
        monkeypatch.setattr(sources, "_state_of", lambda file: min(next(looks), 10))
        await following.until_read(1, 1)
        read_at.append(next(looks))

    followed(file, script)
    assert read_at[0] > 10


def test_nobody_looks_unless_that_is_wanted_and_a_signal_reads_all_the_same(file: Path) -> None:
    async def script(following: Following) -> None:
        file.write_text(text(22))
        await asyncio.sleep(10 * LOOK_S)
        assert following.read == [1]
        following.files.ask()
        await following.until_read(1, 22)

    followed(file, script, interval_s=0)


def test_files_are_told_from_other_sources() -> None:
    given = ["a.yaml", "file:b.yaml", "env:C", "yaml:d: 1", Path("e:f.yaml")]
    assert files_among(given) == [Path("a.yaml"), Path("b.yaml"), Path("e:f.yaml")]


def test_a_fault_of_ours_keeps_the_old_configuration_too(caplog: pytest.LogCaptureFixture) -> None:
    reloadable = Reloadable(load())
    held: list[int] = []
    reloadable.tell(lambda settings: held.append(settings.journal.max_bytes), "journal.max_bytes")
    fault = OSError("out of luck")

    def fails(settings: Settings) -> None:
        if settings.journal.max_bytes == 5:
            raise fault

    reloadable.tell(fails)
    assert not reloadable.reload(lambda: load(sets=["journal.max_bytes=5"]))
    assert held == [5, 10 << 30]
    assert (reloadable.successful, reloadable.settings.journal.max_bytes) == (False, 10 << 30)
    [said] = caplog.records
    assert said.getMessage() == "the old configuration stays: out of luck"
    assert said.exc_info is not None
    assert reloadable.reload(lambda: load(sets=["journal.max_bytes=6"]))
    assert reloadable.successful
