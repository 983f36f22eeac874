"""What a model call cost, from what it read and wrote.

Prices are those of the `genai-prices` package, which brings its data along: no network, and the price that held
when the call was made, not today's. A caller's own prices come before them. What has no price costs None, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from mappers.model import Event, Kind

_PER_TOKEN = Decimal(10**9)
"""From dollars for a million tokens to units of 1e-15 dollars for a token, so that a call is priced in integers."""
_UNITS_PER_NANO = 10**6
SLOT_NS = 1_800 * 10**9
"""Prices that depend on the time of day change at full or half hours."""
MAX_KNOWN = 4_096
"""Prices that are remembered, by provider, model and half hour."""
MAX_NAMES = 1_000
"""Longer names, in characters together, are looked up each time, lest they fill the memory."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a token costs, in 1e-15 dollars; from `steps` of (input tokens, amount) on for all tokens of a call."""

    base: int
    steps: Sequence[tuple[int, int]] = ()

    @staticmethod
    def of(usd: Decimal, *steps: tuple[int, Decimal]) -> Rate:
        """From US dollars for a million tokens."""
        return Rate(
            round(usd * _PER_TOKEN), tuple((start, round(above * _PER_TOKEN)) for start, above in steps)
        )

    def at(self, input_tokens: int) -> int:
        """The amount in a call that read so much."""
        amount = self.base
        for start, above in self.steps:
            if input_tokens > start:
                amount = above
        return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates of one model. What has no rate of its own is charged as input or output."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    """Of what is kept for an hour; None: not known, unless writes cost what input does."""
    audio_input: Rate | None = None
    audio_output: Rate | None = None
    reasoning: Rate | None = None
    request_nano: int = 0
    """For each call, whatever its size, in 1e-9 dollars."""
    search_nano: int | None = None
    """For each search of the web that the provider made within a call, in 1e-9 dollars; None: not known, but where
    each call has a price, which includes them."""
    preview_search_nano: int | None = None
    """The same, where the tool on offer was `web_search_preview`; None: it is charged like any other."""
    searches_as_one: bool = False
    """A call that searched is charged for one search, however many it made."""

    def of(self, event: Event) -> Decimal | None:
        """What a call cost; None if it can not be told from what is known of it."""
        read, written = event.input_tokens, event.output_tokens
        if written is None and event.kind != Kind.LLM:
            written = 0  # embeddings write none, and most libraries do not say so
        if read is None or written is None or self.input is None or (written and self.output is None):
            return None
        cached, added = event.cache_read_tokens or 0, event.cache_write_tokens or 0
        lasting = min(event.cache_write_1h_tokens or 0, added)
        if lasting and self.cache_write and not self.cache_write_1h:
            return None
        searches = event.web_searches or 0
        if searches and self.search_nano is None and not self.request_nano:
            return None
        plain = max(0, read - cached - added)
        total = 0
        if event.audio_input_tokens and self.audio_input:
            heard = min(event.audio_input_tokens, plain)
            plain -= heard
            total += heard * self.audio_input.at(read)
        if event.audio_output_tokens and self.audio_output:
            said = min(event.audio_output_tokens, written)
            written -= said
            total += said * self.audio_output.at(read)
        if event.reasoning_tokens and self.reasoning:
            thought = min(event.reasoning_tokens, written)
            written -= thought
            total += thought * self.reasoning.at(read)
        if cached:
            total += cached * (self.cache_read or self.input).at(read)
        if added:
            total += (added - lasting) * (self.cache_write or self.input).at(read)
            total += lasting * (self.cache_write_1h or self.input).at(read)
        total += plain * self.input.at(read)
        if self.output is not None:
            total += written * self.output.at(read)
        nano = (total + _UNITS_PER_NANO // 2) // _UNITS_PER_NANO + self.request_nano
        if searches:
            each = self.search_nano or 0
            if self.preview_search_nano is not None and _searched_in_preview(event):
                each = self.preview_search_nano
            nano += (min(searches, 1) if self.searches_as_one else searches) * each
        return Decimal(nano).scaleb(-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Prices of one's own for the models whose names match."""

    model: str
    """`*` stands for anything; letter case does not matter."""
    provider: str = ""
    """As spans name it; "" for all."""
    since: date | None = None
    """First day on which they hold."""
    rates: Rates


@dataclass(frozen=True, slots=True)
class _Found:
    rates: Rates
    source: str
    version: str


_UNPRICED_MODEL = _Found(Rates(), "", "")


_Call = tuple[str, str, str, str, int]
"""Provider, the response's model, the request's, service tier, slot of time."""


class Prices:
    """Prices calls. May be used from several threads.

    Args:
        overrides: the first that matches holds.
        overrides_version: what rows priced by them carry as the version of their prices.
    """

    def __init__(self, overrides: Sequence[Override] = (), overrides_version: str = "") -> None:
        self._table = _Table(overrides, overrides_version)

    @property
    def overrides_version(self) -> str:
        return self._table.overrides_version

    def take_over(self, other: Prices) -> None:
        """From now on calls are priced as by the other."""
        self._table = other._table

    def price(self, event: Event) -> None:
        """Sets `cost_usd`, `cost_source` and `price_version` of a model call that reports no cost, if a price is
        known and what it read and wrote is."""
        if event.input_tokens is None:
            return
        found = self._table.of(
            (
                event.provider,
                event.response_model,
                event.request_model,
                event.service_tier,
                event.start_ns // SLOT_NS,
            )
        )
        amount = found.rates.of(event)
        if amount is not None:
            event.cost_usd, event.cost_source, event.price_version = amount, found.source, found.version


class _Table:
    """Prices that hold together, and those that were found."""

    def __init__(self, overrides: Sequence[Override], overrides_version: str) -> None:
        self._overrides = overrides
        self.overrides_version = overrides_version
        self._known: dict[_Call, _Found] = {}

    def of(self, call: _Call) -> _Found:
        found = self._known.get(call)
        if found is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            found = self._find(*call)
            if sum(map(len, call[:4])) <= MAX_NAMES:
                self._known[call] = found
        return found

    def _find(
        self, provider: str, response_model: str, request_model: str, service_tier: str, slot: int
    ) -> _Found:
        """The response's model says more than the request's, which may be an alias or a deployment."""
        time = datetime.fromtimestamp(min(max(slot, 0) * SLOT_NS // 10**9, 32_503_680_000), UTC)
        models = [model for model in dict.fromkeys((response_model, request_model)) if model]
        for model in models:
            for override in self._overrides:
                if _applies(override, provider, model, time.date()):
                    return _Found(override.rates, "override", self.overrides_version)
        for model in models:
            rates = _listed(provider, model, service_tier, time)
            if rates is not None:
                return _Found(rates, "computed", _list_version())
        return _UNPRICED_MODEL


def _applies(override: Override, provider: str, model: str, day: date) -> bool:
    return (
        fnmatchcase(model.lower(), override.model.lower())
        and (not override.provider or override.provider.lower() == provider.lower())
        and (override.since is None or day >= override.since)
    )


# --------------------------------------------------------------------------- the price list


@lru_cache(maxsize=1)
def _price_list() -> Any:
    """Imported when the first price is asked for: it takes a third of a second."""
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


@lru_cache(maxsize=1)
def _list_version() -> str:
    from genai_prices import __version__

    return f"genai-prices {__version__}"


def load_price_list() -> str:
    """Reads the price list now, so that no call has to wait for it; returns its version."""
    _price_list()
    return _list_version()


_PROVIDERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure",
    "az": "azure",
    "azure_openai": "azure",
    "azure-openai": "azure",
    "aws": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "aws_bedrock": "aws",
    "amazon-bedrock": "aws",
    "amazon_bedrock": "aws",
    "gcp": "google",
    "google": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "google-vertex": "google",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "gemini": "google",
    "mistral": "mistral",
    "mistralai": "mistral",
    "mistral_ai": "mistral",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "perplexity": "perplexity",
    "together": "together",
    "together_ai": "together",
    "togetherai": "together",
    "fireworks": "fireworks",
    "fireworks_ai": "fireworks",
    "xai": "x-ai",
    "x_ai": "x-ai",
    "x-ai": "x-ai",
    "openrouter": "openrouter",
    "cerebras": "cerebras",
    "moonshot": "moonshotai",
    "moonshotai": "moonshotai",
    "novita": "novita",
    "voyage": "voyageai",
    "voyageai": "voyageai",
}
"""How spans, and LiteLLM before a model's name, call the providers of the list; longer names by their part before
the first dot (`openai.responses`, `aws.bedrock`, `gcp.gemini`)."""
_UNPRICED = frozenset(
    {
        "ollama",
        "ollama_chat",
        "vllm",
        "hosted_vllm",
        "llamafile",
        "llama_cpp",
        "llama.cpp",
        "lmstudio",
        "lm_studio",
        "xinference",
        "localai",
        "local",
        "triton",
    }
)
"""Servers of one's own: a model of theirs costs what no list says, even if a provider sells one of that name."""
_USUAL_TIERS = frozenset({"", "default", "standard", "standard_only", "auto", "on_demand", "unspecified"})
"""What providers call the processing that list prices are for; `auto` is a request that left it to them."""
_TIER_NAMES = ("service_tier", "processing", "speed")
"""How the list calls what distinguishes tiers; a tier that it does not know of a model costs what nobody says."""
_EMBEDDINGS_OF_OPENAI = re.compile(r"text-embedding-(?:3-|ada-)")
"""The list knows who sells a chat model by its name alone, and of these it has to be told."""
_DATED_AT = re.compile(r"@(?=\d{8}$)")
_CHARGED_BY_PROMPT = re.compile(r"gemini-[12]\b")
"""Gemini before 3 is charged for each prompt that was grounded in searches, later ones for each search (Gemini API,
"Pricing", grounding with Google Search). What is free of it in a day or a month is counted by account: nobody here
can know it."""

_PREVIEW_COSTS_MORE = re.compile(r"gpt-4")
_PREVIEW_SEARCH_NANO = 25_000_000
"""OpenAI's `web_search_preview` with models that do not reason: 25 dollars for a thousand calls, with what was found
free of charge; with those that do it costs what `web_search` does (OpenAI API, "Pricing", built-in tools). The list
knows the newer tool alone."""


def _listed(provider: str, model: str, service_tier: str, time: datetime) -> Rates | None:
    for listed_provider, name in _candidates(provider.strip().lower(), model.strip().lower()):
        try:
            _, info = _price_list().find_provider_model(name, None, listed_provider, None)
        except LookupError:
            continue
        tier = service_tier.strip().lower()
        if tier in _USUAL_TIERS:
            return _rates(info.get_prices(time), info.id)
        context = _context(info, tier, time)
        return _rates(info.get_prices(time, context), info.id) if context else None
    return None


def _context(info: Any, tier: str, time: datetime) -> dict[str, str]:
    """Under which name the list has prices of a tier for this model at that time; none if it has not."""
    for variant in info.price_variants or ():
        for name in _TIER_NAMES:
            if variant.when.get(name) == tier and (
                variant.constraint is None or variant.constraint.active(time)
            ):
                return {name: tier}
    return {}


def _candidates(provider: str, model: str) -> list[tuple[str | None, str]]:
    """(provider, model) as the list may know them, likeliest first. A provider that spans name and the list does
    not is a gateway or a framework: then the model's own name tells who sells it."""
    prefix, slash, rest = model.partition("/")
    if provider in _UNPRICED or (slash and prefix in _UNPRICED):
        return []
    listed = _PROVIDERS.get(provider) or _PROVIDERS.get(provider.partition(".")[0])
    named = _PROVIDERS.get(prefix) if slash else None
    found: list[tuple[str | None, str]] = []
    if named and named != "openrouter" and listed != "openrouter":
        # What stands before the slash routed the call: LiteLLM, gateways, LangWatch.
        found.append((named, rest))
    elif named == "openrouter":
        found.append((named, rest))
    found.append((listed, model))
    if slash:  # `models/gemini-2.0-flash`, `projects/…/models/x`, the ARN of a Bedrock model
        found.append((listed or named, model.rpartition("/")[2]))
    name = model.rpartition("/")[2]
    if not listed and not named and _EMBEDDINGS_OF_OPENAI.match(name):
        found.append(("openai", name))
    found += [(who, _DATED_AT.sub("-", name)) for who, name in found if "@" in name]
    return list(dict.fromkeys(found))


def _searched_in_preview(event: Event) -> bool:
    """Whether the searches were those of OpenAI's older tool, which some versions of have a date in their name."""
    return any(name.startswith("web_search_preview") for name in event.offered_tools)


def _rates(price: Any, model: str) -> Rates | None:
    """The list's prices in our terms; None if the model is not sold by tokens."""
    if price.input_mtok is None:
        return None
    has_preview = price.web_searches_kcount is not None and _PREVIEW_COSTS_MORE.match(model) is not None
    return Rates(
        input=_rate(price.input_mtok),
        output=_rate(price.output_mtok),
        cache_read=_rate(price.cache_read_mtok),
        cache_write=_rate(price.cache_write_mtok),
        cache_write_1h=_rate(price.cache_write_1h_mtok),
        audio_input=_rate(price.input_audio_mtok),
        audio_output=_rate(price.output_audio_mtok),
        reasoning=_rate(price.output_reasoning_mtok),
        request_nano=round((price.requests_kcount or 0) * 10**6),
        search_nano=None if price.web_searches_kcount is None else round(price.web_searches_kcount * 10**6),
        preview_search_nano=_PREVIEW_SEARCH_NANO if has_preview else None,
        searches_as_one=_CHARGED_BY_PROMPT.match(model) is not None,
    )


def _rate(price: Any) -> Rate | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return Rate.of(price)
    return Rate.of(price.base, *((tier.start, tier.price) for tier in price.tiers))
