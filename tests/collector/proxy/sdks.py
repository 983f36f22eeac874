"""LLM SDKs by name, imported once a test uses them: that takes one to two seconds, and every process collects every
test."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return importlib.import_module(name)
