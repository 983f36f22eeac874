"""The outcome of a check in the forms that CI systems read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from collector.check.check import Outcome, Violation

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"info": "note", "warning": "warning", "critical": "error"}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no form for."""


def junit(outcomes: Sequence[Outcome]) -> bytes:
    """JUnit XML: a test case for each run, which fails if anything is wrong with it."""
    broken = [outcome for outcome in outcomes if outcome.violations]
    totals = {"tests": str(len(outcomes)), "failures": str(len(broken)), "errors": "0", "skipped": "0"}
    root = ET.Element("testsuites", {"name": "eddyline check", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": "runs", **totals})
    for outcome in outcomes:
        run = outcome.run
        case = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": _printable(f"eddyline.{run['project']}"),
                "name": _printable(f"{run['name']} ({run['run_id']})"),
                "time": f"{(run['duration_ms'] or 0) / 1000:.3f}",
            },
        )
        if outcome.violations:
            first = outcome.violations[0]
            failure = ET.SubElement(
                case, "failure", {"type": first.rule, "message": _printable(first.message)}
            )
            failure.text = _printable("\n".join(map(told, outcome.violations)))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def sarif(outcomes: Sequence[Outcome], version: str) -> dict[str, Any]:
    """SARIF 2.1.0: a result for each violation, located by the run it is in."""
    rules = dict.fromkeys(violation.rule for outcome in outcomes for violation in outcome.violations)
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "eddyline",
                        "semanticVersion": version,
                        "rules": [{"id": rule, "name": rule} for rule in rules],
                    }
                },
                "results": [
                    _result(outcome, violation) for outcome in outcomes for violation in outcome.violations
                ],
            }
        ],
    }


def _result(outcome: Outcome, violation: Violation) -> dict[str, Any]:
    run = outcome.run
    return {
        "ruleId": violation.rule,
        "level": _LEVELS[violation.severity],
        "message": {"text": told(violation)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": f"runs/{run['run_id']}"}},
                "logicalLocations": [
                    {"name": run["name"], "fullyQualifiedName": run["run_id"], "kind": "run"}
                ],
            }
        ],
        "partialFingerprints": {
            "eddylineRunRule/v1": f"{run['run_id']}:{violation.identity or violation.rule}"
        },
    }


def told(violation: Violation) -> str:
    """What is wrong and what to do about it."""
    return f"{violation.message} {violation.suggestion}".rstrip()


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)
