"""`eddyline` that may remember a hundredth of what it otherwise may: what it knows of runs, sessions and requests is
full after seconds instead of an hour, so that memory which grows from then on is memory that nobody bounds."""

from __future__ import annotations

from collector import live
from collector.intake import resends
from collector.loops import LoopWatch, sessions, watch
from tests.chaos.weighed import weighed

SHARE = 100

for module, names in (
    (sessions, ("MAX_SESSIONS", "MAX_RUNS", "MAX_PLACES", "MAX_EVENTS", "MAX_TEXT_BYTES")),
    (watch, ("MAX_REMEMBERED",)),
    (live, ("MOST_KEPT", "MOST_KEPT_BYTES", "MOST_KNOWN_RUNS")),
    (resends, ("MOST",)),
):
    for name in names:
        setattr(module, name, getattr(module, name) // SHARE)
defaults = LoopWatch.__init__.__kwdefaults__
defaults["max_threads"] //= SHARE

if __name__ == "__main__":
    weighed()
