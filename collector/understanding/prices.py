"""Prices of one's own: a YAML file that `pricing.overrides` names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from collector.config import ConfigError
from mappers.cost import Override, Prices, Rate, Rates


def _number(value: Any) -> Any:
    """YAML has floats; their shortest text is the amount that was written."""
    return str(value) if isinstance(value, float) else value


_Usd = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]


class _Entry(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    provider: str = ""
    since: date | None = None
    input: _Usd
    output: _Usd | None = None
    cache_read: _Usd | None = None
    cache_write: _Usd | None = None
    cache_write_1h: _Usd | None = None
    audio_input: _Usd | None = None
    audio_output: _Usd | None = None
    reasoning: _Usd | None = None
    request: _Usd = Decimal(0)
    web_search: _Usd | None = None

    def override(self) -> Override:
        rates: dict[str, Any] = {
            name: None if (amount := getattr(self, name)) is None else Rate.of(amount)
            for name in (
                "input",
                "output",
                "cache_read",
                "cache_write",
                "cache_write_1h",
                "audio_input",
                "audio_output",
                "reasoning",
            )
        }
        return Override(
            model=self.model,
            provider=self.provider,
            since=self.since,
            rates=Rates(
                **rates,
                request_nano=round(self.request * 10**9),
                search_nano=None if self.web_search is None else round(self.web_search * 10**9),
            ),
        )


_ENTRIES: TypeAdapter[Sequence[_Entry]] = TypeAdapter(list[_Entry])


def load_prices(file: Path | None) -> Prices:
    """List prices, and before them those of the file.

    Raises:
        ConfigError: the file can not be read or is wrong; the message names every place.
    """
    if file is None:
        return Prices()
    try:
        content = file.read_bytes()
        entries = _ENTRIES.validate_python(yaml.safe_load(content) or [])
    except OSError as error:
        raise ConfigError(f"pricing.overrides: {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"pricing.overrides: {file}: {error}") from None
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigError("\n".join(lines)) from None
    version = f"overrides {hashlib.sha256(content).hexdigest()[:12]}"
    return Prices([entry.override() for entry in entries], version)
