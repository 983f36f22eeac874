"""What PromQL asks for, to be held against what a collector tells."""

from __future__ import annotations

import re

NOT_OURS = {"up": {"job", "instance"}}
"""What Prometheus tells by itself."""
BY_PROMETHEUS = {"job", "instance", "le"}


def asked(expression: str) -> dict[str, set[str]]:
    """Metrics in a PromQL expression, and the labels by which they are chosen or grouped."""
    grouped = {
        label for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r"[\s,]+", found)
    }
    bare = re.sub(r"\bby \([^)]*\)|\"[^\"]*\"", "", expression)
    metrics = {}
    for name, selector in re.findall(r"\b((?:eddyline|otelcol)_\w+|up\b)(\{[^}]*\})?", bare):
        metrics[name] = grouped | set(re.findall(r"(\w+)\s*[=!]", selector))
    return metrics
