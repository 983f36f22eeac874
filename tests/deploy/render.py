"""`python -m tests.deploy.render`: the examples of the chart, rendered, as they are committed beside their values."""

from __future__ import annotations

from pathlib import Path

import yaml

CHART = Path(__file__).parents[2] / "deploy/helm/eddyline"
EXAMPLES = sorted(file.parent for file in CHART.glob("examples/*/values.yaml"))
RELEASE, NAMESPACE = "eddyline", "observability"


def rendered(values: Path) -> str:
    """The manifests of the chart with these values, by the Helm SDK."""
    from helm_python import Chart

    with Chart.load(CHART) as chart:
        given = yaml.safe_load(values.read_text(encoding="utf-8"))
        chart.validate_schema(given)
        documents = chart.render(given, name=RELEASE, namespace=NAMESPACE)
    texts = [
        text.strip() for path, text in sorted(documents.items()) if path.endswith(".yaml") and text.strip()
    ]
    return "".join(f"---\n{text.removeprefix('---').lstrip()}\n" for text in texts)


if __name__ == "__main__":
    for example in EXAMPLES:
        (example / "rendered.yaml").write_text(rendered(example / "values.yaml"), encoding="utf-8")
