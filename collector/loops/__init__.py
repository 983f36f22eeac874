"""Watching runs and sessions for loops: those in memory step by step, the others by reading them back."""

from collector.loops.watch import LoopWatch, WarningKey, Watch, Watched

__all__ = ["LoopWatch", "WarningKey", "Watch", "Watched"]
