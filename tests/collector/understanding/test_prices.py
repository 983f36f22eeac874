from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from collector.config import ConfigError
from collector.understanding.prices import load_prices
from mappers.model import Event, Kind

README = (Path(__file__).parents[3] / "collector" / "README.md").read_text(encoding="utf-8")


def cost(file: Path, model: str, provider: str = "") -> tuple[Decimal | None, str]:
    event = Event(
        run_id="r",
        span_id="s",
        kind=Kind.LLM,
        provider=provider,
        request_model=model,
        start_ns=1_790_000_000 * 10**9,
        input_tokens=1_000_000,
        output_tokens=1_000_000,
        cache_read_tokens=500_000,
    )
    load_prices(file).price(event)
    return event.cost_usd, event.cost_source


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_example_of_the_reference_works(tmp_path: Path) -> None:
    example = README.partition("```yaml\n- model:")[2].partition("```")[0]
    file = written(tmp_path, "- model:" + example.replace("2026-10-01", "2026-01-01"))
    assert cost(file, "gpt-4o-mini", "azure") == (Decimal("9.5"), "override")
    assert cost(file, "meta/Llama-3.1-8b") == (Decimal("0.0001"), "override")
    assert cost(file, "gpt-4o-mini", "openai")[1] == "computed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- model: a\n", "0.input"),
        ("- model: a\n  input: -1\n", "0.input"),
        ("- model: a\n  input: .nan\n", "0.input"),
        ("- model: a\n  input: 1\n  inptu: 2\n", "0.inptu"),
        ("- model: ''\n  input: 1\n", "0.model"),
        ("model: a\n", "list"),
        ("- {", "prices.yaml"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_prices(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pricing\.overrides"):
        load_prices(tmp_path / "none.yaml")


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert cost(written(tmp_path, ""), "gpt-4o-mini", "openai")[1] == "computed"
