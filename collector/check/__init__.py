"""`eddyline check`: whether runs keep within what a build allows, for people and for CI."""

from collector.check.check import Budgets, CheckError, Outcome, Selection, check
from collector.check.reports import junit, sarif

__all__ = ["Budgets", "CheckError", "Outcome", "Selection", "check", "junit", "sarif"]
